// @ts-check
import { h } from '../dom.js';

/** @param {any} view */
export function schedule(view) {
  return { title: 'schedule', node: h('div', { class: 'page' }, h('h1', { tabindex: '-1' }, 'schedule')) };
}
