// @ts-check
import { h } from '../dom.js';

/** @param {any} view */
export function finding(view) {
  return { title: 'finding', node: h('div', { class: 'page' }, h('h1', { tabindex: '-1' }, 'finding')) };
}
