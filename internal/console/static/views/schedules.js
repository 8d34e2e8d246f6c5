// @ts-check
import { h } from '../dom.js';

/** @param {any} view */
export function schedules(view) {
  return { title: 'schedules', node: h('div', { class: 'page' }, h('h1', { tabindex: '-1' }, 'schedules')) };
}
