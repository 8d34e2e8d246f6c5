// @ts-check
// What states are called and how they look: a shape, a colour and a word each, never a colour alone.
import { h, s } from './dom.js';

/** The shapes, on a field of 16 by 16. */
const shapes = {
  check: () => [disc(), s('path', { class: 'cut', d: 'M4.8 8.3l2.2 2.2 4.3-4.8' })],
  cross: () => [s('path', { class: 'solid', d: 'M5 1h6l4 4v6l-4 4H5l-4-4V5z' }), s('path', { class: 'cut', d: 'M5.4 5.4l5.2 5.2M10.6 5.4l-5.2 5.2' })],
  half: () => [ring(), s('path', { class: 'solid', d: 'M8 1.5a6.5 6.5 0 0 1 0 13z' })],
  bar: () => [s('rect', { class: 'solid', x: 1.5, y: 1.5, width: 13, height: 13, rx: 2 }), s('path', { class: 'cut', d: 'M4.5 8h7' })],
  slash: () => [ring(), s('path', { class: 'line', d: 'M3.6 12.4l8.8-8.8' })],
  dots: () => s('circle', { class: 'line dashed', cx: 8, cy: 8, r: 6 }),
  arc: () => [s('circle', { class: 'track', cx: 8, cy: 8, r: 6 }), s('path', { class: 'line turning', d: 'M8 2a6 6 0 0 1 6 6' })],
  alarm: () => [s('path', { class: 'solid', d: 'M8 1l7.4 13.5H.6z' }), s('path', { class: 'cut', d: 'M8 5.6v4M8 11.6v.6' })],
  hole: () => [s('rect', { class: 'line', x: 2, y: 2, width: 12, height: 12, rx: 1.5 }), s('path', { class: 'line', d: 'M8 4.8v3.8M8 10.6v.7' })],
  clock: () => [ring(), s('path', { class: 'line', d: 'M8 4.5V8l2.5 1.8' })],
  skip: () => [s('path', { class: 'line', d: 'M3 4l4 4-4 4M9 4l4 4-4 4' })],
  twice: () => [s('rect', { class: 'line', x: 2, y: 2, width: 8, height: 8, rx: 1 }), s('rect', { class: 'solid', x: 6, y: 6, width: 8, height: 8, rx: 1 })],
  pause: () => [ring(), s('path', { class: 'line', d: 'M6.3 5.5v5M9.7 5.5v5' })],
  open: () => ring(),
  hand: () => [s('path', { class: 'line', d: 'M2.5 8h10M8.5 4l4 4-4 4' })],
  back: () => [s('path', { class: 'line', d: 'M6 3L2.5 6.5 6 10M3 6.5h6a4 4 0 0 1 0 8H6' })],
  query: () => [ring(), s('path', { class: 'line', d: 'M6.2 6.4a1.8 1.8 0 1 1 2.5 1.7c-.5.2-.7.5-.7 1M8 11.2v.4' })],
  low: () => s('path', { class: 'line', d: 'M4 6l4 4 4-4' }),
  medium: () => s('path', { class: 'line', d: 'M3.5 8h9' }),
  high: () => s('path', { class: 'line', d: 'M4 10l4-4 4 4' }),
  critical: () => s('path', { class: 'line', d: 'M4 8l4-4 4 4M4 13l4-4 4 4' }),
};

function disc() { return s('circle', { class: 'solid', cx: 8, cy: 8, r: 7 }); }
function ring() { return s('circle', { class: 'line', cx: 8, cy: 8, r: 6.2 }); }

/** By key: the shape, the tone (a colour of the style sheet) and the word. @type {Record<string, [keyof typeof shapes, string, string]>} */
const looks = {
  succeeded: ['check', 'good', 'Succeeded'],
  partially_succeeded: ['half', 'warn', 'Partially succeeded'],
  failed: ['cross', 'bad', 'Failed'],
  blocked: ['bar', 'block', 'Blocked'],
  cancelled: ['slash', 'calm', 'Cancelled'],
  queued: ['dots', 'calm', 'Queued'],
  running: ['arc', 'live', 'Running'],
  stopping: ['arc', 'warn', 'Stopping'],
  stalled: ['alarm', 'warn', 'Stalled'],
  recalled: ['back', 'block', 'Recalled'],
  on_time: ['check', 'good', 'On time'],
  late: ['clock', 'warn', 'Late'],
  missed: ['hole', 'miss', 'Missed'],
  skipped: ['skip', 'warn', 'Skipped'],
  duplicate: ['twice', 'warn', 'Ran twice'],
  paused: ['pause', 'calm', 'Paused'],
  upcoming: ['open', 'calm', 'Upcoming'],
  manual: ['hand', 'live', 'Started by hand'],
  ok: ['check', 'good', 'All right'],
  failing: ['cross', 'bad', 'Failing'],
  missing: ['hole', 'miss', 'Missing'],
  never_ran: ['dots', 'calm', 'Never ran'],
  deleted: ['slash', 'calm', 'Deleted'],
  new: ['alarm', 'warn', 'New'],
  acknowledged: ['check', 'good', 'Acknowledged'],
  low: ['low', 'calm', 'Low'],
  medium: ['medium', 'warn', 'Medium'],
  high: ['high', 'bad', 'High'],
  critical: ['critical', 'bad', 'Critical'],
};

/** The shape of a state alone; a word has to stand beside it. @param {string} key */
export function icon(key) {
  const [shape, tone] = looks[key] ?? ['query', 'calm'];
  return s('svg', { class: `icon-${shape} tone-${tone} mark`, viewBox: '0 0 16 16', 'aria-hidden': 'true', focusable: 'false' }, shapes[shape]());
}

/** @param {string} key */
export function tone(key) { return looks[key]?.[1] ?? 'calm'; }

/** @param {string} key */
export function word(key) { return looks[key]?.[2] ?? sentence(key); }

/** A state: its shape and its word. @param {string} key @param {string} [text] */
export function state(key, text = word(key)) {
  return h('span', { class: `state tone-${tone(key)}` }, icon(key), h('span', null, text));
}

/** "graph_timeout" as "Graph timeout". @param {string} key */
export function sentence(key) {
  const text = String(key ?? '').replaceAll('_', ' ');
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** The one key for where a run is and how it ended. @param {any} run */
export function keyOf(run) {
  if (run.status === 'completed') return run.outcome;
  if (run.stalled_at || run.stalled) return 'stalled';
  if (run.cancel_requested_at) return 'stopping';
  return run.status;
}

/** A run's state. @param {any} run */
export function runState(run) {
  const key = keyOf(run);
  const text = key === 'stalled' && run.stalled === 'no_progress' ? 'Stalled, no progress' : word(key);
  return h('span', { class: 'states' }, state(key, text), run.recalled ? state('recalled') : null);
}

/** Whether a run still goes on. @param {any} run */
export function active(run) { return run.status === 'queued' || run.status === 'running'; }

const ranks = ['readonly', 'operator', 'manager', 'owner'];

/** Whether a role is at least another one. @param {string} role @param {string} least */
export function atLeast(role, least) {
  return ranks.indexOf(role) >= ranks.indexOf(least);
}

/**
 * How far a run is: parts of its total, null if it does not say.
 * @param {any} counts
 */
export function progressOf(counts) {
  if (!counts || typeof counts !== 'object' || Array.isArray(counts)) return null;
  const number = (/** @type {string} */ key) => (typeof counts[key] === 'number' && counts[key] >= 0 ? counts[key] : 0);
  const succeeded = number('succeeded');
  const failed = number('failed');
  const processed = Math.max(number('processed'), succeeded + failed);
  const total = Math.max(number('total'), processed);
  if (total === 0) return null;
  return { total, processed, succeeded, failed };
}

/** A bar of a run's progress. @param {any} run */
export function progressBar(run) {
  const p = progressOf(run.summary_counts);
  if (!p) return h('span', { class: 'none' }, '–');
  const part = (/** @type {number} */ n) => `${(n / p.total) * 100}`;
  const other = p.processed - p.succeeded - p.failed;
  const width = { good: part(p.succeeded), rest: part(other), bad: part(p.failed) };
  const bar = s('svg', { class: 'bar', viewBox: '0 0 100 6', preserveAspectRatio: 'none', 'aria-hidden': 'true' },
    s('rect', { class: 'bar-track', width: 100, height: 6 }),
    s('rect', { class: 'bar-good', width: width.good, height: 6 }),
    s('rect', { class: 'bar-rest', x: width.good, width: width.rest, height: 6 }),
    s('rect', { class: 'bar-bad', x: Number(width.good) + Number(width.rest), width: width.bad, height: 6 }));
  const text = `${number(p.processed)} of ${number(p.total)}`;
  return h('span', { class: 'progress-cell', title: `${text}: ${number(p.succeeded)} succeeded, ${number(p.failed)} failed` },
    bar, h('span', { class: 'num' }, text, p.failed ? h('span', { class: 'tone-bad failed-count' }, ` · ${number(p.failed)} failed`) : null));
}

const grouped = new Intl.NumberFormat('en-GB');

/** A number with its thousands apart. @param {number | string} n */
export function number(n) { return typeof n === 'number' ? grouped.format(n) : String(n); }

/** "1 run", "2 runs". @param {number} n @param {string} one @param {string} [many] */
export function count(n, one, many = `${one}s`) { return `${number(n)} ${n === 1 ? one : many}`; }
