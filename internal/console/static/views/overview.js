// @ts-check
import { all, get } from '../api.js';
import { buckets, columns, numbers, rates, spark } from '../chart.js';
import { took, when } from '../clock.js';
import { h, name } from '../dom.js';
import { card, empty, lines, region } from '../region.js';
import { href } from '../router.js';
import { failures, runHref, typeLabel } from '../runrow.js';
import { settings } from '../settings.js';
import { duration } from '../time.js';
import { count, icon, number, progressBar, runState, state, word } from '../words.js';

const notGood = 'failed,partially_succeeded,blocked';
/** A run that has ended stays marked as having stalled; only one that goes on is to be looked at. */
const stalledNow = { status: 'queued,running', stalled: 'true' };
const day = 86_400_000;

/** By word in the address: what it is called, the size of a bucket and how many. @type {Record<string, [string, 'hour' | 'day' | 'week', number]>} */
const ranges = { day: ['24 hours', 'hour', 24], month: ['30 days', 'day', 30], half: ['26 weeks', 'week', 26] };

/** Whether everything is all right, and where to look if not. @param {any} view */
export function overview(view) {
  const runs = `${view.base}/operation-runs`;
  const list = (/** @type {Record<string, any>} */ query) => href(`${view.base}/runs`, query);
  const dayAgo = () => new Date(Date.now() - day).toISOString();
  const lately = () => ({ outcome: notGood, completed_from: dayAgo() });

  const now = region(view, {
    label: 'now', skeleton: h('div', { class: 'tiles' }, Array.from({ length: 5 }, () => h('div', { class: 'tile' }, lines(2)))),
    load: async (signal) => {
      const failedQuery = lately();
      const many = (/** @type {any} */ query) => get(`${runs}/count`, query, signal);
      const [running, queued, stalled, failed, oldest] = await Promise.all([
        many({ status: 'running' }), many({ status: 'queued' }), many(stalledNow), many(failedQuery),
        get(runs, { status: 'queued,running', order: 'created_at', limit: 1 }, signal)]);
      return { running, queued, stalled, failed, failedQuery, oldest: oldest.data[0] ?? null };
    },
    render: ({ running, queued, stalled, failed, failedQuery, oldest }) => h('div', { class: 'tiles' },
      tile('running', 'Running now', running, list({ status: 'running' }), '', 'a worker has it'),
      tile('queued', 'Waiting', queued, list({ status: 'queued' }), '', 'for a worker'),
      tile(stalled.count ? 'stalled' : 'succeeded', 'Stalled', stalled, list(stalledNow), stalled.count ? 'warn' : '', 'silent, or without progress'),
      tile(failed.count ? 'failed' : 'succeeded', 'Not succeeded', failed, list(failedQuery), failed.count ? 'bad' : '', 'in the last day'),
      oldest ? h('a', { class: 'tile', href: runHref(view, oldest.id) }, h('b', null, took(oldest.created_at, null)),
        h('span', { class: 'label' }, icon('late'), 'Oldest active run'), h('span', { class: 'hint' }, typeLabel(view, oldest.type), ` #${oldest.id}`))
        : h('div', { class: 'tile' }, h('b', null, '–'), h('span', { class: 'label' }, icon('succeeded'), 'Oldest active run'), h('span', { class: 'hint' }, 'Nothing is active'))),
  });

  const active = region(view, {
    label: 'active',
    load: (signal) => get(runs, { status: 'queued,running', limit: 8 }, signal),
    render: (page) => (page.data.length ? [h('ul', { class: 'rows' }, page.data.map((/** @type {any} */ r) => h('li', null,
      h('span', { class: 'row-state' }, runState(r)), h('a', { class: 'grow', href: runHref(view, r.id), 'data-row': true },
        typeLabel(view, r.type), ' ', h('span', { class: 'mono dim' }, `#${r.id}`)),
      progressBar(r), h('span', { class: 'num row-took' }, r.started_at ? took(r.started_at, null) : ['waits ', took(r.created_at, null)])))),
    h('a', { class: 'more', href: list({ status: 'queued,running' }) }, 'All active runs')]
      : empty('Nothing runs now', 'Runs appear here as soon as a worker records them.')),
  });

  const failed = region(view, {
    label: 'failed',
    load: async (signal) => {
      const query = lately();
      return { query, page: await get(runs, { ...query, limit: 8 }, signal) };
    },
    render: ({ query, page }) => (page.data.length ? [h('ul', { class: 'rows' }, page.data.map((/** @type {any} */ r) => {
      const [first] = failures(r);
      return h('li', null, h('span', { class: 'row-state' }, runState(r)),
        h('span', { class: 'grow' }, h('a', { href: runHref(view, r.id), 'data-row': true }, typeLabel(view, r.type), ' ', h('span', { class: 'mono dim' }, `#${r.id}`)),
          first ? h('span', { class: 'why' }, h('code', { class: 'tone-bad' }, h('bdi', null, String(first.code ?? ''))), ' ', h('bdi', null, String(first.message ?? ''))) : null),
        h('span', { class: 'soft row-took' }, when(r.completed_at)));
    })), h('a', { class: 'more', href: list(query) }, 'All of them')]
      : empty('Nothing failed in the last day', 'What ended otherwise than succeeded within 24 hours stands here.')),
  });

  const health = region(view, {
    label: 'health',
    load: (signal) => all(`${view.base}/backup-schedules/health`, { limit: 1000 }, signal),
    render: (rows) => schedules(view, rows),
  });

  const range = ranges[view.query.get('range') ?? ''] ? view.query.get('range') : 'month';
  const [, size, n] = ranges[range];
  const stats = region(view, {
    label: 'stats', skeleton: lines(9),
    load: async (signal) => {
      const axis = buckets(size, n, new Date(), settings.utc);
      const zone = settings.utc ? 'UTC' : Intl.DateTimeFormat().resolvedOptions().timeZone;
      return { axis, stats: await get(`${runs}/stats`, { bucket: size, timezone: zone, from: axis[0].at.toISOString() }, signal) };
    },
    render: ({ axis, stats: s }) => charts(view, axis, s, list),
  });

  const soon = later(view, () => { now.reload({ quiet: true }); active.reload({ quiet: true }); failed.reload({ quiet: true }); }, 400, 1500);
  const slow = later(view, () => { stats.reload({ quiet: true }); health.reload({ quiet: true }); }, 2000, 30_000);
  const utc = () => stats.reload({ quiet: true });
  window.addEventListener('runledger:utc', utc, { signal: view.signal });
  // What is a day old goes, also while nothing happens.
  const timer = window.setInterval(() => { if (!document.hidden) soon(); }, 60_000);
  view.signal.addEventListener('abort', () => window.clearInterval(timer));

  return {
    title: 'Overview',
    node: h('div', { class: 'page' },
      h('div', { class: 'page-head' }, h('h1', { tabindex: '-1' }, 'Overview')), now.node,
      h('div', { class: 'grid' },
        h('div', { class: 'stack span8' }, card('Active now', active.node), card('Not succeeded in the last day', failed.node)),
        h('div', { class: 'stack span4' }, card('Backup schedules', health.node, h('a', { href: href(`${view.base}/schedules`) }, 'All'))),
        h('section', { class: 'card' }, h('div', { class: 'card-head' }, h('h2', null, 'Over time'),
          h('nav', { class: 'tabs', 'aria-label': 'Range' }, Object.entries(ranges).map(([key, [label]]) => h('a', {
            href: href(view.base, { range: key === 'month' ? '' : key }), 'aria-current': key === range ? 'page' : null }, label)))), stats.node))),
    event: (/** @type {any} */ event) => {
      if (event.run_id === null || event.kind === 'completed') slow();
      if (event.run_id !== null && event.kind !== 'heartbeat') soon();
    },
    resync: () => { soon(); slow(); },
  };
}

/**
 * Does something a moment after it is asked for, and not more often than each so many milliseconds.
 * @param {any} view @param {() => void} work @param {number} wait @param {number} least
 */
function later(view, work, wait, least) {
  let timer = 0;
  let last = 0;
  return () => {
    if (timer || view.signal.aborted) return;
    timer = window.setTimeout(() => {
      timer = 0;
      last = Date.now();
      if (!view.signal.aborted) work();
    }, Math.max(wait, last + least - Date.now()));
  };
}

/**
 * @param {string} key @param {string} label @param {{count: number, relation: string}} n @param {string} to
 * @param {string} [tone] @param {string} [hint]
 */
function tile(key, label, n, to, tone = '', hint = '') {
  return h('a', { class: 'tile', href: to }, h('b', { class: tone ? `tone-${tone}` : null }, n.relation === 'gte' ? `${number(n.count)}+` : number(n.count)),
    h('span', { class: 'label' }, icon(key), label), h('span', { class: 'hint' }, hint));
}

/** Schedules by state, and the ones to look at. @param {any} view @param {any[]} rows */
function schedules(view, rows) {
  if (!rows.length) return empty('No backup schedules', 'A manager plans one with POST ', h('code', null, `${view.base}/backup-schedules`), '.');
  const states = ['missing', 'failing', 'never_ran', 'late', 'ok', 'paused'];
  const of = (/** @type {string} */ key) => rows.filter((r) => r.state === key).length;
  const bad = rows.filter((r) => r.state === 'missing' || r.state === 'failing').length;
  return [
    h('ul', { class: 'states-list' }, states.filter(of).map((key) => h('li', null,
      h('a', { href: href(`${view.base}/schedules`, { state: key }) }, state(key), h('b', { class: 'num' }, number(of(key))))))),
    bad ? null : h('p', { class: 'pad soft' }, 'None is missing or failing.'),
    h('ul', { class: 'rows' }, rows.slice(0, 6).map((r) => h('li', null,
      h('span', { class: 'grow' }, h('a', { href: href(`${view.base}/schedules/${r.backup_schedule_id}`), 'data-row': true }, name(r.name)),
        h('span', { class: 'why' }, icon(r.state), ' ', streak(r))),
      h('span', { class: 'soft row-took', title: 'Its last backup' }, h('span', { class: 'unseen' }, 'Last backup '), when(r.last_success_at, { none: 'no backup' }))))),
  ];
}

/** @param {any} r */
function streak(r) {
  if (r.plan_fault) return 'Its plan cannot be read';
  const { missed, failed } = r.streak;
  const parts = [missed ? `${number(missed)} missed` : '', failed ? `${number(failed)} failed` : ''].filter(Boolean);
  return parts.length ? `${parts.join(', ')} in a row` : word(r.state);
}

/** The outcomes that a chart tells apart, what stands above the line first. @type {[string, string, 'up' | 'down'][]} */
const parts = [
  ['succeeded', 'fill-good', 'up'], ['partially_succeeded', 'fill-warn', 'up'], ['pending', 'fill-live', 'up'],
  ['failed', 'fill-bad', 'down'], ['blocked', 'fill-block', 'down'], ['cancelled', 'fill-calm', 'down'],
];

/** @param {any} view @param {import('../chart.js').Bucket[]} axis @param {any} stats @param {(query: any) => string} list */
function charts(view, axis, stats, list) {
  if (!stats.totals.length) return empty('Nothing ran in this time', 'Choose a longer one, or look at ', h('a', { href: list({}) }, 'all runs'), '.');
  const at = new Map(axis.map((b, i) => [b.at.getTime(), i]));
  const outcomes = axis.map(() => /** @type {Record<string, number>} */ ({}));
  /** @type {Map<string, any[]>} */
  const types = new Map();
  for (const row of stats.data) {
    const i = at.get(Date.parse(row.bucket_at));
    if (i === undefined) continue;
    for (const o of row.outcomes) outcomes[i][o.outcome] = (outcomes[i][o.outcome] ?? 0) + o.count;
    if (!types.has(row.type)) types.set(row.type, axis.map(() => null));
    /** @type {any[]} */ (types.get(row.type))[i] = row;
  }
  const days = axis.map((bucket, i) => {
    const o = outcomes[i];
    const total = Object.values(o).reduce((a, b) => a + b, 0);
    const ended = total - (o.pending ?? 0);
    const rate = ended ? (o.succeeded ?? 0) / ended : null;
    const query = { created_from: bucket.at.toISOString(), created_before: bucket.before.toISOString() };
    return { ...bucket, o, total, ended, rate, query };
  });
  const total = days.reduce((n, d) => n + d.total, 0);
  const ended = days.reduce((n, d) => n + d.ended, 0);
  const good = days.reduce((n, d) => n + (d.o.succeeded ?? 0), 0);
  const used = parts.filter(([key]) => days.some((d) => d.o[key]));
  return h('div', { class: 'over-time' },
    h('div', { class: 'pad' },
      h('div', { class: 'chart-head' }, h('h3', null, 'Runs and how they ended'),
        h('p', { class: 'soft' }, h('a', { href: list({ created_from: axis[0].at.toISOString() }) }, count(total, 'run')), `, ${percent(ended ? good / ended : null)} succeeded`)),
      h('ul', { class: 'legend' }, used.map(([key, fill, side]) => h('li', null, swatch(fill), key === 'pending' ? 'Active' : word(key), side === 'down' ? ' (below the line)' : ''))),
      columns(days.map((d) => ({
        label: d.label, href: list(d.query),
        title: `${d.label}: ${count(d.total, 'run')}${used.filter(([key]) => d.o[key]).map(([key]) => `, ${number(d.o[key])} ${key === 'pending' ? 'active' : word(key).toLowerCase()}`).join('')}`,
        up: used.filter(([, , side]) => side === 'up').map(([key, fill]) => /** @type {[string, number]} */ ([fill, d.o[key] ?? 0])),
        down: used.filter(([, , side]) => side === 'down').map(([key, fill]) => /** @type {[string, number]} */ ([fill, d.o[key] ?? 0])),
      }))),
      h('h3', null, 'Success rate'), rates(days),
      numbers('Runs and success rate as a table', ['From', 'Runs', ...used.map(([key]) => (key === 'pending' ? 'Active' : word(key))), 'Success rate'],
        days.filter((d) => d.total).reverse().map((d) => [d.label, h('a', { href: list(d.query) }, number(d.total)),
          ...used.map(([key]) => (d.o[key] ? h('a', { href: list({ ...d.query, outcome: key }) }, number(d.o[key])) : '0')), percent(d.rate)]))),
    durations(view, axis, stats, types, list));
}

/** @param {any} view @param {any[]} axis @param {any} stats @param {Map<string, any[]>} types @param {(query: any) => string} list */
function durations(view, axis, stats, types, list) {
  const from = axis[0].at.toISOString();
  const rows = stats.totals.filter((/** @type {any} */ t) => types.has(t.type));
  const curve = (/** @type {string} */ type, /** @type {string} */ key) => /** @type {any[]} */ (types.get(type)).map((r) => r?.[key] ?? null);
  return h('div', { class: 'pad' },
    h('div', { class: 'chart-head' }, h('h3', null, 'How long they took')),
    h('ul', { class: 'legend' }, h('li', null, h('span', { class: 'swatch-line' }), 'Median'), h('li', null, h('span', { class: 'swatch-line dashed' }), '95 % took at most')),
    h('div', { class: 'scroll', role: 'group', 'aria-label': 'Durations by operation', tabindex: '0' }, h('table', { class: 'nested' },
      h('caption', { class: 'unseen' }, 'Runs, success rate and durations by operation over the range'),
      h('thead', null, h('tr', null, [['Operation', ''], ['Runs', 'num'], ['Succeeded', 'num'], ['Median', 'num'], ['95 %', 'num'], ['Over time', '']].map(([t, kind]) =>
        h('th', { scope: 'col', class: kind || null }, t)))),
      h('tbody', null, rows.map((/** @type {any} */ t) => h('tr', null,
        h('th', { scope: 'row' }, typeLabel(view, t.type)),
        h('td', { class: 'num' }, h('a', { href: list({ type: t.type, created_from: from }) }, number(t.count))),
        h('td', { class: 'num' }, percent(t.success_rate)),
        h('td', { class: 'num' }, duration(t.p50_duration_seconds)), h('td', { class: 'num' }, duration(t.p95_duration_seconds)),
        h('td', null, spark(curve(t.type, 'p50_duration_seconds'), curve(t.type, 'p95_duration_seconds')))))))),
    numbers('Durations over time as a table', ['From', ...rows.map((/** @type {any} */ t) => typeLabel(view, t.type))],
      axis.map((b, i) => [b.label, ...rows.map((/** @type {any} */ t) => {
        const row = /** @type {any[]} */ (types.get(t.type))[i];
        return row ? duration(row.p50_duration_seconds) : '–';
      })]).reverse()));
}

/** @param {string} fill */
function swatch(fill) { return h('span', { class: `swatch ${fill.replace('fill-', 'back-')}`, 'aria-hidden': 'true' }); }

/** @param {number | null} rate */
function percent(rate) {
  if (rate === null) return '–';
  const text = rate * 100;
  return `${text === 100 || text === 0 ? text : text.toFixed(1)} %`;
}
