// @ts-check
// Times on the page that stay true: relative ones age, running durations grow.
import { h } from './dom.js';
import { absolute, between, duration, relative } from './time.js';
import { settings } from './settings.js';

/**
 * An instant, relative or written out, with the other and UTC on hover.
 * @param {string | null | undefined} iso @param {{full?: boolean, none?: string}} [options]
 */
export function when(iso, { full = false, none = '–' } = {}) {
  if (!iso) return h('span', { class: 'none' }, none);
  const element = h('time', { datetime: iso, 'data-at': iso, 'data-full': full || null });
  paint(element, Date.now());
  return element;
}

/** A duration: of what ended, or growing while it runs. @param {string | null} from @param {string | null} to */
export function took(from, to) {
  if (!from) return h('span', { class: 'none' }, '–');
  if (to) return h('span', { class: 'num' }, duration(between(from, to)));
  const element = h('span', { class: 'num growing', 'data-since': from });
  paintSince(element, Date.now());
  return element;
}

/** @param {HTMLElement} element @param {number} now */
function paint(element, now) {
  const date = new Date(element.dataset.at ?? '');
  const text = element.dataset.full !== undefined || settings.utc
    ? absolute(date, settings.utc) : relative(date.getTime(), now);
  if (element.textContent !== text) element.textContent = text;
  const title = settings.utc ? `${relative(date.getTime(), now)} · ${absolute(date, true)}`
    : `${absolute(date, false)} · ${absolute(date, true)}`;
  if (element.title !== title) element.title = title;
}

/** @param {HTMLElement} element @param {number} now */
function paintSince(element, now) {
  const text = duration(Math.max(0, Math.floor((now - Date.parse(element.dataset.since ?? '')) / 1000)));
  if (element.textContent !== text) element.textContent = text;
}

/** Paints every time on the page anew. */
export function repaint() {
  const now = Date.now();
  for (const element of document.querySelectorAll('time[data-at]')) paint(/** @type {HTMLElement} */ (element), now);
  for (const element of document.querySelectorAll('[data-since]')) paintSince(/** @type {HTMLElement} */ (element), now);
}

window.setInterval(() => { if (!document.hidden) repaint(); }, 1000);
document.addEventListener('visibilitychange', () => { if (!document.hidden) repaint(); });
