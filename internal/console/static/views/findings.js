// @ts-check
import { h } from '../dom.js';

/** @param {any} view */
export function findings(view) {
  return { title: 'findings', node: h('div', { class: 'page' }, h('h1', { tabindex: '-1' }, 'findings')) };
}
