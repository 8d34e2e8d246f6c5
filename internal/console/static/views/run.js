// @ts-check
import { h } from '../dom.js';

/** @param {any} view */
export function run(view) {
  return { title: 'run', node: h('div', { class: 'page' }, h('h1', { tabindex: '-1' }, 'run')) };
}
