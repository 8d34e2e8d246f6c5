// @ts-check
import { h } from '../dom.js';

/** @param {any} view */
export function inventory(view) {
  return { title: 'inventory', node: h('div', { class: 'page' }, h('h1', { tabindex: '-1' }, 'inventory')) };
}
