// @ts-check
import { h } from '../dom.js';

/** @param {any} view */
export function overview(view) {
  return { title: 'overview', node: h('div', { class: 'page' }, h('h1', { tabindex: '-1' }, 'overview')) };
}
