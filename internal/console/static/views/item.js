// @ts-check
import { h } from '../dom.js';

/** @param {any} view */
export function item(view) {
  return { title: 'item', node: h('div', { class: 'page' }, h('h1', { tabindex: '-1' }, 'item')) };
}
