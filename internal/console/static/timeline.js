// @ts-check
// What happened to a run, in order. Signs of life that follow each other are one line.
import { get } from './api.js';
import { when } from './clock.js';
import { h, name } from './dom.js';
import { empty, region } from './region.js';
import { runHref } from './runrow.js';
import { icon, number, progressOf, sentence, word } from './words.js';

/** How many events are read at once, and how many are shown. */
const size = 200;
const most = 4000;

/** @param {any} view @param {string} path of the run */
export function timeline(view, path) {
  /** The full pages, which do not change any more, and where the one behind them begins. */
  let known = { events: /** @type {any[]} */ ([]), cursor: '' };
  /** Each time an event comes only the last page is read again. @param {AbortSignal} signal */
  async function load(signal) {
    for (let { events, cursor } = known; ;) {
      const answer = await get(`${path}/events`, { limit: size, cursor }, signal);
      events = [...events, ...answer.data];
      if (!answer.next_cursor || events.length >= most) return { events, more: Boolean(answer.next_cursor) };
      cursor = answer.next_cursor;
      known = { events, cursor };
    }
  }
  return region(view, {
    label: 'timeline', load,
    render: ({ events, more }) => (events.length ? [h('ol', { class: 'timeline' }, gathered(events).map((e) => entry(view, e))),
      more ? h('p', { class: 'pad soft' }, `There are more events than these first ${number(events.length)}. All of them: GET `, h('code', null, `${path}/events`)) : null]
      : empty('Nothing was recorded', 'Runs from older stores have no timeline.')),
  });
}

/** Events, of which more than two signs of life in a row are one with a count. @param {any[]} events */
function gathered(events) {
  const lines = [];
  for (let i = 0; i < events.length;) {
    let end = i + 1;
    const quiet = (/** @type {any} */ e) => e.kind === 'heartbeat' || e.kind === 'reported';
    if (quiet(events[i])) while (end < events.length && events[end].kind === events[i].kind) end++;
    if (end - i > 2) lines.push({ ...events[end - 1], times: end - i });
    else lines.push(...events.slice(i, end));
    i = end;
  }
  return lines;
}

/** @param {any} view @param {any} e */
function entry(view, e) {
  const { mark, text } = told(view, e, e.data && typeof e.data === 'object' ? e.data : {});
  return h('li', null, icon(mark), h('div', null, text, e.times ? h('span', { class: 'dim' }, `, ${number(e.times)} times`) : null),
    h('div', { class: 'at' }, when(e.at, { full: true }), e.actor ? [' · ', name(e.actor)] : null));
}

/** The shape and the words of an event. @param {any} view @param {any} e @param {any} data @returns {{mark: string, text: any}} */
function told(view, e, data) {
  const run = (/** @type {any} */ id) => h('a', { href: runHref(view, id), class: 'mono' }, `#${id}`);
  switch (e.kind) {
    case 'created':
      return { mark: 'queued', text: data.retry_of_id ? ['Recorded, to try ', run(data.retry_of_id), ' again'] : 'Recorded' };
    case 'started': return { mark: 'running', text: 'Started' };
    case 'reported': {
      const p = progressOf(data.summary_counts);
      return { mark: 'upcoming', text: p ? `Reported ${number(p.processed)} of ${number(p.total)}` : 'Reported' };
    }
    case 'heartbeat': return { mark: 'upcoming', text: 'Said that it lives' };
    case 'cancel_requested': return { mark: 'stopping', text: 'Asked to stop' };
    case 'stalled': return data.stalled === 'no_progress'
      ? { mark: 'stalled', text: ['Stalled: its counts last moved ', data.progressed_at ? when(data.progressed_at) : 'long ago'] }
      : { mark: 'stalled', text: ['Stalled: its worker was last heard of ', data.heartbeat_at ? when(data.heartbeat_at) : 'long ago'] };
    case 'completed': return { mark: data.outcome ?? 'query',
      text: data.verdict === 'run_stalled' ? 'Given up, after a long silence'
        : [word(data.outcome ?? 'completed'), data.overruled ? ', as its worker said after all' : ''] };
    case 'recalled': return { mark: 'recalled', text: data.operation_run_id ? ['Recalled with ', run(data.operation_run_id)]
      : ['Recalled: ', h('bdi', null, data.reason ?? '')] };
    case 'replaced': return { mark: 'succeeded', text: data.operation_run_id ? ['Replaced by ', run(data.operation_run_id)] : 'Replaced' };
    case 'retried': return { mark: 'manual', text: data.retried_by_run_id ? ['Tried again as ', run(data.retried_by_run_id)] : 'Tried again' };
    default: return { mark: 'query', text: sentence(e.kind) };
  }
}
