// @ts-check
// A year of slots on a grid: a row for each month, a column for each day of it.
import { h, put } from './dom.js';
import { dayAfter, monthAfter, sayDay, sayVerdicts, verdictOf, verdicts } from './slots.js';
import { icon, word } from './words.js';

const monthDays = Array.from({ length: 31 }, (_, i) => i + 1);

/**
 * @param {{from: string, today: string, zone: string, chosen: string, label: string, choose: (day: string) => void}} options
 *   from: the first day, which begins a month
 */
export function calendar({ from, today, zone, chosen, label, choose }) {
  const end = dayAfter(`${monthAfter(today, 1).slice(0, 7)}-01`, -1);
  /** @type {Map<string, any>} */
  const cells = new Map();
  const months = [];
  for (let month = `${today.slice(0, 7)}-01`; month >= from; month = monthAfter(month, -1)) months.push(month);
  const rows = months.map((month) => h('tr', null, h('th', { scope: 'row' }, sayDay(month, 'month')), monthDays.map((n) => {
    const day = `${month.slice(0, 8)}${String(n).padStart(2, '0')}`;
    if (dayAfter(month, n - 1) !== day) return h('td', { class: 'no-day' });
    const cell = h('td', { 'data-day': day, tabindex: '-1', 'aria-selected': 'false', 'aria-current': day === today ? 'date' : null });
    cells.set(day, cell);
    return cell;
  })));
  const table = h('table', { class: 'cal', role: 'grid', 'aria-label': label },
    h('thead', null, h('tr', null, h('th', { scope: 'col' }, h('span', { class: 'unseen' }, 'Month')),
      monthDays.map((n) => h('th', { scope: 'col' }, n)))), h('tbody', null, rows));

  let at = cells.has(chosen) ? chosen : today;
  /** @param {string} day @param {boolean} focus */
  function select(day, focus) {
    for (const each of [at, day]) {
      cells.get(each)?.setAttribute('tabindex', each === day ? '0' : '-1');
      cells.get(each)?.setAttribute('aria-selected', String(each === day));
    }
    at = day;
    if (focus) cells.get(day)?.focus();
  }
  select(at, false);

  /** @param {string} day */
  function move(day) {
    const to = day < from ? from : day > end ? end : day;
    select(to, true);
    choose(to);
  }
  table.addEventListener('click', (/** @type {Event} */ event) => {
    const cell = event.target instanceof Element ? event.target.closest('[data-day]') : null;
    if (cell) move(cell.getAttribute('data-day') ?? at);
  });
  table.addEventListener('keydown', (/** @type {KeyboardEvent} */ event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const to = {
      ArrowRight: () => dayAfter(at), ArrowLeft: () => dayAfter(at, -1),
      // The newest month is the first row: down is back.
      ArrowUp: () => monthAfter(at, 1), ArrowDown: () => monthAfter(at, -1),
      PageUp: () => monthAfter(at, 3), PageDown: () => monthAfter(at, -3),
      Home: () => `${at.slice(0, 8)}01`, End: () => dayAfter(`${monthAfter(at, 1).slice(0, 8)}01`, -1),
      Enter: () => at, ' ': () => at,
    }[event.key];
    if (!to) return;
    event.preventDefault();
    move(to());
  });

  return {
    node: h('div', { class: 'cal-box', 'data-zone': zone }, table),
    select,
    /** Paints the days that look other than before. @param {Map<string, any[]>} days */
    paint(days) {
      for (const [day, cell] of cells) {
        const slots = days.get(day);
        const verdict = verdictOf(slots) ?? 'none';
        const several = slots && slots.length > 1 ? slots.length : 0;
        const says = `${sayDay(day, 'long')}: ${several ? `${several} entries, ` : ''}${sayVerdicts(slots)}`;
        if (cell.getAttribute('aria-label') === says) continue;
        cell.setAttribute('aria-label', says);
        cell.title = says;
        cell.className = `slot v-${verdict}`;
        put(cell, mark(verdict), several ? h('span', { class: 'several', 'aria-hidden': 'true' }, several) : null);
      }
    },
  };
}

/** The shape in a day's cell. What went well needs none. @param {string} verdict */
export function mark(verdict) { return verdict === 'none' || verdict === 'on_time' ? null : icon(verdict); }

/** What the shapes mean. @param {Set<string>} [seen] only these */
export function legend(seen) {
  return h('ul', { class: 'legend', 'aria-label': 'What the marks mean' }, verdicts.filter((v) => !seen || seen.has(v)).map((verdict) =>
    h('li', null, h('span', { class: `slot v-${verdict}`, 'aria-hidden': 'true' }, mark(verdict)), word(verdict))));
}
