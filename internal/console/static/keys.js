// @ts-check
// The keyboard: rows by j and k, places by g and a letter, help by ?.
import { dialog } from './dialog.js';
import { h } from './dom.js';
import { setShortcuts, settings } from './settings.js';

const places = { o: 'overview', r: 'runs', s: 'schedules', f: 'findings', i: 'inventory', w: 'workspaces' };

/** @type {[string[], string][]} */
const table = [
  [['j', 'k'], 'Next and previous row'],
  [['Enter'], 'Open the row'],
  [['/'], 'To the filters'],
  [['n', 'p'], 'Next and previous page'],
  [['.'], 'Show what is new'],
  [['g', 'o'], 'Overview'], [['g', 'r'], 'Runs'], [['g', 's'], 'Schedules'],
  [['g', 'f'], 'Findings'], [['g', 'i'], 'Inventory'], [['g', 'w'], 'Workspaces'],
  [['u'], 'Times in UTC or in your zone'],
  [['t'], 'Dark or light'],
  [['?'], 'This help'],
];

let waiting = 0; // until when, after a g, a letter is a place

/** @param {KeyboardEvent} event */
function typing(event) {
  const at = /** @type {HTMLElement} */ (event.target);
  return at.closest?.('input, textarea, select, [contenteditable], dialog') !== null;
}

/**
 * Listens to keys.
 * @param {{go: (place: string) => void, utc: () => void, theme: () => void}} does
 */
export function listen(does) {
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (event.key === 'Escape') { escape(event); return; }
    if (!settings.shortcuts || typing(event)) return;
    if (act(event.key, does)) event.preventDefault();
  });
}

/** @param {KeyboardEvent} event */
function escape(event) {
  const open = document.querySelector('details.menu[open]');
  if (open instanceof HTMLDetailsElement) {
    open.open = false;
    open.querySelector('summary')?.focus();
    event.preventDefault();
    return;
  }
  if (typing(event) && event.target instanceof HTMLElement && !event.target.closest('dialog')) event.target.blur();
}

/** @param {string} key @param {{go: (place: string) => void, utc: () => void, theme: () => void}} does */
function act(key, does) {
  if (Date.now() < waiting) {
    waiting = 0;
    const place = places[/** @type {keyof typeof places} */ (key)];
    if (place) { does.go(place); return true; }
  }
  switch (key) {
    case 'g': waiting = Date.now() + 1500; return true;
    case 'j': return step(1);
    case 'k': return step(-1);
    case '/': return first('[data-search]');
    case 'n': return press('[data-next]');
    case 'p': return press('[data-previous]');
    case '.': return press('[data-news]');
    case 'u': does.utc(); return true;
    case 't': does.theme(); return true;
    case '?': help(); return true;
    default: return false;
  }
}

/** @param {number} by */
function step(by) {
  const rows = /** @type {HTMLElement[]} */ ([...document.querySelectorAll('main [data-row]')]);
  if (!rows.length) return false;
  const at = rows.findIndex((row) => row === document.activeElement || row.closest('tr, li')?.contains(document.activeElement));
  const to = at < 0 ? (by > 0 ? 0 : rows.length - 1) : Math.min(rows.length - 1, Math.max(0, at + by));
  rows[to].focus();
  rows[to].scrollIntoView({ block: 'nearest' });
  return true;
}

/** @param {string} selector */
function first(selector) {
  const element = document.querySelector(`main ${selector}`);
  if (!(element instanceof HTMLElement)) return false;
  element.focus();
  return true;
}

/** @param {string} selector */
function press(selector) {
  const element = document.querySelector(`main ${selector}`);
  if (!(element instanceof HTMLElement)) return false;
  element.click();
  return true;
}

/** Shows what the keys do, and lets one turn them off. */
export function help() {
  if (document.querySelector('dialog[open]')) return;
  const on = h('input', { type: 'checkbox', id: 'shortcuts-on', onchange: () => setShortcuts(on.checked) });
  on.checked = settings.shortcuts;
  dialog({
    title: 'Keyboard',
    body: [h('dl', { class: 'keys' }, table.map(([keys, what]) =>
      h('div', null, h('dt', null, keys.map((key) => h('kbd', null, key))), h('dd', null, what)))),
    h('p', { class: 'check' }, on, h('label', { for: 'shortcuts-on' }, 'Single keys do these things'))],
  });
}
