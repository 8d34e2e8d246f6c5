// @ts-check
// Modal dialogs. The browser keeps the focus inside and gives it back.
import { h } from './dom.js';

let count = 0;

/**
 * Opens a dialog. One that must be answered cannot be closed with Escape.
 * @param {{title: string, body: any[], actions?: any[], must?: boolean, wide?: boolean, onclose?: () => void}} options
 * @returns {{element: any, close: () => void}}
 */
export function dialog({ title, body, actions = [], must = false, wide = false, onclose = () => {} }) {
  const id = `dialog-${++count}`;
  const close = () => element.close();
  const element = h('dialog', { 'aria-labelledby': id, class: wide ? 'wide' : null },
    h('div', { class: 'dialog-head' },
      h('h2', { id }, title),
      must ? null : h('button', { class: 'icon', 'aria-label': 'Close', onclick: close }, '×')),
    h('div', { class: 'dialog-body', tabindex: wide ? '0' : null }, body),
    actions.length ? h('div', { class: 'dialog-actions' }, actions) : null);
  element.addEventListener('cancel', (/** @type {Event} */ event) => { if (must) event.preventDefault(); });
  element.addEventListener('keydown', (/** @type {KeyboardEvent} */ event) => {
    // A browser lets the second Escape through even where the first was refused.
    if (must && event.key === 'Escape') event.preventDefault();
  });
  element.addEventListener('close', () => { element.remove(); onclose(); });
  document.body.append(element);
  element.showModal();
  return { element, close };
}
