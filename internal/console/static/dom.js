// @ts-check
// Elements without markup: whatever comes from data becomes text, never HTML.

const SVG = 'http://www.w3.org/2000/svg';

/** @typedef {Node | string | number | null | undefined | false | Array<any>} Child */

/** The elements that listen; what they do hangs on the data that they were made of. @type {WeakSet<Element>} */
const listening = new WeakSet();

/**
 * Sets attributes; "on…" members are listeners, true is an empty attribute, null and false are none.
 * @param {Element} element
 * @param {Record<string, any>} attributes
 */
function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on') && typeof value === 'function') {
      element.addEventListener(name.slice(2), value);
      listening.add(element);
    } else element.setAttribute(name, value === true ? '' : String(value));
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

/**
 * Makes an element hold what another one holds, and keeps what is the same in both: what one is about
 * to click stays under the pointer, the focus stays, what was folded stays so.
 * @param {Element} element @param {...Child} children
 */
export function renew(element, ...children) {
  morph(element, put(document.createElement('div'), ...children));
  return element;
}

/** What tells a row or link from its siblings. @param {Node | null} node */
function keyOf(node) {
  if (!(node instanceof Element)) return '';
  return node.getAttribute('data-id') ?? node.getAttribute('href')
    ?? (/^(LI|TR)$/.test(node.tagName) ? node.querySelector('a[href]')?.getAttribute('href') ?? '' : '');
}

/** @param {Element} from @param {Element} to */
function morph(from, to) {
  let at = from.firstChild;
  for (const next of [...to.childNodes]) {
    const key = keyOf(next);
    let same = at;
    if (key) while (same && keyOf(same) !== key) same = same.nextSibling;
    if (!same || !alike(same, next)) {
      from.insertBefore(next, at);
      // What it stands for goes, unless it is wanted further on.
      if (at && !keyOf(at) && !key) { const gone = at; at = at.nextSibling; gone.remove(); }
      continue;
    }
    if (same !== at) from.insertBefore(same, at);
    else at = at.nextSibling;
    if (same instanceof Element) {
      attributes(same, /** @type {Element} */ (next));
      morph(same, /** @type {Element} */ (next));
    } else if (same.nodeValue !== next.nodeValue) same.nodeValue = next.nodeValue;
  }
  while (at) { const gone = at; at = at.nextSibling; gone.remove(); }
}

/** @param {Node} one @param {Node} other */
function alike(one, other) {
  return one.nodeName === other.nodeName && keyOf(one) === keyOf(other)
    && !(one instanceof Element && listening.has(one)) && !(other instanceof Element && listening.has(other));
}

/** @param {Element} from @param {Element} to */
function attributes(from, to) {
  for (const { name } of [...from.attributes]) if (name !== 'open' && !to.hasAttribute(name)) from.removeAttribute(name);
  for (const { name, value } of to.attributes) if (name !== 'open' && from.getAttribute(name) !== value) from.setAttribute(name, value);
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
