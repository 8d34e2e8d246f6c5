// @ts-check
import { again } from '../again.js';
import { all, get } from '../api.js';
import { when } from '../clock.js';
import { mark } from '../calendar.js';
import { announce, h, name, put } from '../dom.js';
import { bar, values } from '../filters.js';
import { planText } from '../plan.js';
import { empty, lines, region } from '../region.js';
import { go, here, href } from '../router.js';
import { byDay, dayAfter, has, knownZone, lacks, sayDay, verdictOf } from '../slots.js';
import { dayOf } from '../time.js';
import { number, state, word } from '../words.js';

const states = ['missing', 'failing', 'never_ran', 'late', 'ok', 'paused'];
const stripDays = 14;
const atOnce = 100;
const heads = ['State', 'Schedule', `Last ${stripDays} days`, 'Without a backup', 'Last backup', 'Next slot'];

/** All schedules, the worst first. @param {any} view */
export function schedules(view) {
  const place = `${view.base}/schedules`;
  /** @type {import('../filters.js').Filter[]} */
  const filters = [
    { key: 'state', label: 'State', kind: 'many', options: [...states, 'deleted'].map((key) => [key, word(key)]) },
    { key: 'tenant_id', label: 'Tenant', kind: 'text', pattern: '[1-9][0-9]{0,18}' },
    { key: 'is_enabled', label: 'Enabled', kind: 'one', options: [['true', 'Enabled'], ['false', 'Paused or deleted']] },
  ];
  const chosen = values(filters, view.query);
  const strips = stripLoader(view);
  const news = h('div', { class: 'news', hidden: true });
  const tabs = h('nav', { class: 'tabs', 'aria-label': 'Schedules by state' });
  /** @type {Map<string, {row: any, element: any}>} */
  const rows = new Map();

  const page = region(view, { label: 'schedules', skeleton: lines(10), load, render: (found) => {
    rows.clear();
    paintTabs(found);
    if (!found.length) {
      return empty('There are no backup schedules yet', 'A manager makes one with POST ', h('code', null, `${view.base}/backup-schedules`),
        '; from then on each slot without a backup is told of here.');
    }
    const shown = found.filter(fits);
    if (!shown.length) return empty('No schedules match', 'Take a filter away, or ', h('a', { href: href(place) }, 'look at all of them'), '.');
    const body = h('tbody', null);
    const rest = h('p', { class: 'pager' });
    const more = () => {
      for (const row of shown.slice(rows.size, rows.size + atOnce)) {
        const element = h('tr', { 'data-id': row.id });
        rows.set(String(row.id), { row, element });
        paint(row, element);
        body.append(element);
        strips.watch(element, row);
      }
      put(rest, rows.size < shown.length ? h('button', { 'data-next': true, onclick: more }, `${number(shown.length - rows.size)} more`) : null);
    };
    more();
    return [h('div', { class: 'table-box' }, h('table', { class: 'schedules' }, h('caption', { class: 'unseen' }, 'Backup schedules, the worst first'),
      h('thead', null, h('tr', null, heads.map((t) => h('th', { scope: 'col' }, t)))), body)), rest];
  } });

  /** Every schedule with its health: one row each. @param {AbortSignal} signal */
  async function load(signal) {
    const [health, plans] = await Promise.all([
      all(`${view.base}/backup-schedules/health`, { limit: 1000 }, signal, 10),
      all(`${view.base}/backup-schedules`, { limit: 200 }, signal, 25)]);
    const byID = new Map(plans.map((plan) => [String(plan.id), plan]));
    const living = health.flatMap((row) => {
      const plan = byID.get(String(row.backup_schedule_id));
      return plan ? [{ ...plan, health: row, state: row.state }] : [];
    });
    return [...living, ...plans.filter((plan) => plan.deleted_at).map((plan) => ({ ...plan, health: null, state: 'deleted' }))];
  }

  /** @param {any} row */
  function fits(row) {
    const wanted = chosen.state?.split(',');
    return (wanted ? wanted.includes(row.state) : row.state !== 'deleted' || chosen.is_enabled === 'false')
      && (!chosen.tenant_id || String(row.tenant_id) === chosen.tenant_id)
      && (!chosen.is_enabled || String(row.is_enabled && !row.deleted_at) === chosen.is_enabled);
  }

  /** @param {any[]} found */
  function paintTabs(found) {
    const rest = Object.fromEntries(Object.entries(chosen).filter(([key]) => key !== 'state'));
    const among = found.filter((row) => (!chosen.tenant_id || String(row.tenant_id) === chosen.tenant_id));
    const tab = (/** @type {string} */ text, /** @type {string} */ key, /** @type {number} */ n) => h('a', {
      href: href(place, { ...rest, state: key }), 'aria-current': (chosen.state ?? '') === key ? 'page' : null }, text, ' ', h('span', { class: 'num dim' }, number(n)));
    put(tabs, tab('All', '', among.filter((row) => row.state !== 'deleted').length), [...states, 'deleted'].map((key) => {
      const n = among.filter((row) => row.state === key).length;
      return n || chosen.state === key ? tab(word(key), key, n) : null;
    }));
  }

  /** @param {any} row @param {any} element */
  function paint(row, element) {
    const held = element.contains(document.activeElement);
    const strip = element.querySelector('.strip') ?? h('div', { class: 'strip' }, h('span', { class: 'bone w2', 'aria-hidden': 'true' }));
    const { health } = row;
    const streak = health ? health.streak.failed + health.streak.missed : 0;
    const none = h('span', { class: 'none' }, '–');
    put(element,
      h('td', { class: 'col-state' }, state(row.state)),
      h('td', { class: 'col-main' }, h('a', { href: href(`${place}/${row.id}`), 'data-row': true, class: 'strong' }, name(row.name)), ' ',
        h('span', { class: 'mono dim' }, `#${row.id}`),
        h('div', { class: 'sub soft' }, planText(row), ', ', h('bdi', null, row.timezone))),
      h('td', { class: 'col-strip' }, strip),
      h('td', { class: 'col-streak' }, streak ? [h('span', { class: `strong tone-${health.streak.missed ? 'miss' : 'bad'}` }, [
        health.streak.missed ? `${number(health.streak.missed)} missed` : '', health.streak.failed ? `${number(health.streak.failed)} failed` : '']
        .filter(Boolean).join(', ')), h('div', { class: 'sub soft' }, 'since ', sayDay(dayOf(new Date(health.streak.since), knownZone(row.timezone)), 'short'))] : none),
      h('td', { class: 'col-when' }, health?.last_success_run_id ? h('a', { href: href(`${view.base}/runs/${health.last_success_run_id}`) }, when(health.last_success_at))
        : h('span', { class: 'none' }, row.state === 'deleted' ? '–' : 'None yet')),
      h('td', { class: 'col-when' }, health?.plan_fault ? h('span', { class: 'tone-miss' }, h('bdi', null, health.plan_fault)) : when(health?.next_slot_at)));
    element.className = ['missing', 'failing'].includes(row.state) ? 'row-bad' : '';
    if (held) element.querySelector('[data-row]')?.focus();
  }

  let timer = 0;
  const persist = again(view.signal, () => refresh());
  async function refresh() {
    let found;
    try { found = await load(view.signal); } catch (error) { persist.failed(error); return; }
    persist.had();
    let moved = false;
    paintTabs(found);
    for (const row of found.filter(fits)) {
      const known = rows.get(String(row.id));
      if (!known) { moved = true; continue; }
      if (JSON.stringify(known.row) === JSON.stringify(row)) continue;
      moved ||= known.row.state !== row.state;
      known.row = row;
      paint(row, known.element);
      strips.again(known.element, row);
    }
    if (moved && news.hidden) {
      put(news, h('button', { 'data-news': true, onclick: () => go(here().path + location.search, { replace: true }) }, 'States have changed – sort anew'));
      news.hidden = false;
      announce('States of schedules have changed');
    }
  }

  return {
    title: 'Schedules',
    node: h('div', { class: 'page' }, h('div', { class: 'page-head' }, h('h1', { tabindex: '-1' }, 'Schedules'), tabs),
      h('div', { class: 'list' }, bar(filters, view.query), news, page.node)),
    event: (/** @type {any} */ event) => {
      if (timer || !(event.kind === 'completed' || event.kind === 'started' || event.kind?.startsWith?.('schedule_'))) return;
      timer = window.setTimeout(() => { timer = 0; if (!view.signal.aborted && rows.size) refresh(); }, 1500);
    },
    resync: () => { if (rows.size) refresh(); else page.reload({ quiet: true }); },
  };
}

/** Loads the last days of each row that comes into view, a few at a time. @param {any} view */
function stripLoader(view) {
  /** @type {Map<any, any>} */
  const waiting = new Map();
  let running = 0;
  const seen = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      seen.unobserve(target);
      if (waiting.has(target)) fill(target);
    }
  }, { rootMargin: '200px' });
  view.signal.addEventListener('abort', () => seen.disconnect());

  /** @type {any[]} */
  const queue = [];
  /** @type {Set<any>} */
  const failed = new Set();
  const persist = again(view.signal, () => {
    for (const element of failed) fill(element);
    failed.clear();
  });
  /** @param {any} element */
  function fill(element) {
    queue.push(element);
    next();
  }
  async function next() {
    while (running < 3 && queue.length) {
      running++;
      const element = queue.shift();
      await one(element).catch(() => {});
      running--;
    }
  }
  /** @param {any} element */
  async function one(element) {
    const row = waiting.get(element);
    const strip = element.querySelector('.strip');
    try {
      const zone = knownZone(row.timezone);
      const today = dayOf(new Date(), zone);
      const first = dayAfter(today, 1 - stripDays);
      const answer = await get(`${view.base}/backup-schedules/${row.id}/slots`,
        { from: `${dayAfter(first, -1)}T00:00:00Z`, before: `${dayAfter(today, 2)}T00:00:00Z` }, view.signal);
      put(strip, drawStrip(view, row, byDay(answer.data, zone), first));
      if (!failed.size) persist.had();
    } catch (error) {
      if (persist.failed(error)) failed.add(element);
      if (!view.signal.aborted) put(strip, h('span', { class: 'none' }, 'could not be read'));
    }
  }
  return {
    /** @param {any} element @param {any} row */
    watch(element, row) { waiting.set(element, row); seen.observe(element); },
    /** @param {any} element @param {any} row */
    again(element, row) { waiting.set(element, row); seen.unobserve(element); seen.observe(element); },
  };
}

/** @param {any} view @param {any} row @param {Map<string, any[]>} days @param {string} first */
function drawStrip(view, row, days, first) {
  const all = Array.from({ length: stripDays }, (_, i) => dayAfter(first, i));
  const bad = all.filter((day) => days.get(day)?.some(lacks)).reverse();
  const says = (/** @type {string} */ day) => `${sayDay(day, 'weekday')}: ${word(verdictOf(days.get(day)) ?? 'nothing due')}`;
  return [
    h('span', { class: 'strip-days', 'aria-hidden': 'true' }, all.map((day) => {
      const verdict = verdictOf(days.get(day)) ?? 'none';
      return h('span', { class: `slot v-${verdict}`, title: says(day) }, mark(verdict));
    })),
    h('div', { class: 'sub' }, bad.length ? [bad.slice(0, 2).map((day, i) => [i ? ', ' : '', h('a', {
      href: href(`${view.base}/schedules/${row.id}`, { day }), class: `tone-${verdictOf(days.get(day)) === 'failed' ? 'bad' : 'miss'}` },
    word(verdictOf(days.get(day)) ?? ''), ' ', sayDay(day, 'short'))]), bad.length > 2 ? h('span', { class: 'soft' }, ` and ${bad.length - 2} more`) : null]
      : h('span', { class: 'dim' }, quiet(all.flatMap((day) => days.get(day) ?? [])))),
  ];
}

/** What there is to say where nothing is wrong. @param {any[]} slots */
function quiet(slots) {
  if (slots.some(has)) return 'Each slot has its backup';
  if (slots.some((slot) => slot.verdict === 'upcoming')) return 'Not due yet';
  return slots.some((slot) => slot.verdict === 'paused') ? 'Paused' : 'Nothing was due';
}
