// @ts-check
// Elements without markup: whatever comes from data becomes text, never HTML.

const SVG = 'http://www.w3.org/2000/svg';

/** @typedef {Node | string | number | null | undefined | false | Array<any>} Child */

/**
 * Sets attributes; "on…" members are listeners, true is an empty attribute, null and false are none.
 * @param {Element} element
 * @param {Record<string, any>} attributes
 */
function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on') && typeof value === 'function') element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? '' : String(value));
  }
}

/**
 * Makes an HTML element.
 * @param {string} tag @param {Record<string, any> | null} [attributes] @param {...Child} children
 * @returns {any}
 */
export function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  if (attributes) set(element, attributes);
  fill(element, children);
  return element;
}

/**
 * Makes an SVG element.
 * @param {string} tag @param {Record<string, any> | null} [attributes] @param {...Child} children
 * @returns {any}
 */
export function s(tag, attributes, ...children) {
  const element = document.createElementNS(SVG, tag);
  if (attributes) set(element, attributes);
  fill(element, children);
  return element;
}

/** @param {Element} element @param {Child[]} children */
function fill(element, children) {
  for (const child of children) {
    if (Array.isArray(child)) fill(element, child);
    else if (child !== null && child !== undefined && child !== false) {
      element.append(child instanceof Node ? child : String(child));
    }
  }
}

/** Replaces what an element holds. @param {Element} element @param {...Child} children */
export function put(element, ...children) {
  element.replaceChildren();
  fill(element, children);
  return element;
}

/** A text direction of its own for names, which may be of any script. @param {any} text @param {string} [kind] */
export function name(text, kind = '') {
  return h('bdi', { class: kind || null, title: String(text ?? '').length > 40 ? text : null }, text);
}

let announced = 0;

/** Tells a screen reader something, without moving the focus. @param {string} text */
export function announce(text) {
  const place = document.getElementById('polite');
  if (!place) return;
  place.textContent = '';
  window.clearTimeout(announced);
  announced = window.setTimeout(() => { place.textContent = text; }, 60);
}
