// @ts-check
import { again } from '../again.js';
import { get } from '../api.js';
import { when } from '../clock.js';
import { announce, h, name, put } from '../dom.js';
import { list } from '../list.js';
import { clock, graceOf, planText } from '../plan.js';
import { editPlan, pause } from '../planedit.js';
import { empty, lines, region } from '../region.js';
import { retention } from '../retention.js';
import { go, href } from '../router.js';
import { runHref, runColumns } from '../runrow.js';
import { knownZone, sayDay } from '../slots.js';
import { slotYear } from '../slotyear.js';
import { dayOf, duration } from '../time.js';
import { atLeast, count, icon, number, state } from '../words.js';
import { runFilters } from './runs.js';

/** @type {[string, string][]} */
const tabs = [['', 'Calendar'], ['history', 'History'], ['retention', 'Retention']];

/** One backup schedule: its plan, how it fares, and what became of each slot. @param {any} view */
export function schedule(view) {
  const { id } = view.parameters;
  const path = `${view.base}/backup-schedules/${id}`;
  const here = `${view.base}/schedules/${id}`;
  const tab = tabs.some(([key]) => key === view.query.get('view')) ? view.query.get('view') : '';
  const heading = h('h1', { tabindex: '-1' }, `Schedule #${id}`);
  const mark = h('span', { class: 'states' });
  const plan = h('p', { class: 'plan soft' });
  const actions = h('div', { class: 'actions' });
  const note = h('div', { class: 'schedule-note' });
  const tiles = h('div', { class: 'tiles' });
  /** @type {any} */
  let inner = null;
  let shown = '';

  const page = region(view, {
    main: true, label: 'schedule', skeleton: lines(10), load,
    render: (first) => {
      paint(first);
      inner = tab === 'history' ? history() : tab === 'retention' ? retention(view, path, first.schedule)
        : slotYear(view, path, first.schedule, here);
      return [note, tiles, h('nav', { class: 'tabs schedule-tabs', 'aria-label': 'Parts of the schedule' }, tabs.map(([key, text]) =>
        h('a', { href: href(here, { view: key }), 'aria-current': key === tab ? 'page' : null }, text))), inner.node];
    },
  });

  /** @param {AbortSignal} signal */
  async function load(signal) {
    const [found, health] = await Promise.all([get(path, {}, signal), healthOf(view, id, signal)]);
    return { schedule: found, health };
  }

  /** @param {{schedule: any, health: any}} value */
  function paint({ schedule: s, health }) {
    const now = JSON.stringify([s, health]);
    if (now === shown) return;
    shown = now;
    view.title(s.name);
    put(heading, name(s.name));
    put(mark, s.deleted_at ? h('span', { class: 'tag' }, 'deleted') : health ? state(health.state) : null);
    put(plan, planText(s), ', ', h('bdi', null, s.timezone), s.tenant_id === null ? null : [' · tenant ', String(s.tenant_id)]);
    const held = actions.contains(document.activeElement);
    put(actions, buttons(s));
    if (held) /** @type {any} */ (actions.querySelector('button') ?? heading).focus();
    put(note, noteOf(view, s, health));
    put(tiles, tilesOf(view, s, health));
  }

  /** @param {any} s */
  function buttons(s) {
    if (view.workspace.archived_at || s.deleted_at || !atLeast(view.workspace.role, 'manager')) return null;
    // Another plan may be in another zone, and so have other days: the page begins anew.
    const changed = (/** @type {string} */ said) => { announce(said); go(here + location.search, { replace: true }); };
    return [
      h('button', { 'data-key': 'pause', onclick: () => pause(path, s, changed) }, s.is_enabled ? 'Pause…' : 'Resume…'),
      h('button', { 'data-key': 'edit', onclick: () => editPlan(path, s, changed) }, 'Edit…'),
    ];
  }

  function history() {
    const filters = runFilters(view).filter((f) => f.key !== 'backup_schedule_id');
    return list(view, {
      path: `${path}/runs`, filters, columns: runColumns(view), noun: ['run', 'runs'], caption: 'Runs of the schedule', live: true,
      counted: `${view.base}/operation-runs/count`, countedWith: { backup_schedule_id: id }, keep: { view: 'history' },
      none: empty('Nothing of this schedule has run yet', 'Its runs are those whose context names it as ', h('code', null, 'backup_schedule_id'), '.'),
    });
  }

  let timer = 0;
  const persist = again(view.signal, () => refresh());
  async function refresh() {
    if (!inner) return;
    try {
      paint(await load(view.signal));
      persist.had();
    } catch (error) { persist.failed(error); /* otherwise the next event tries again */ }
  }
  /** Runs and verdicts come in bursts: one look for all of them. */
  function soon() {
    if (timer) return;
    timer = window.setTimeout(() => { timer = 0; if (!view.signal.aborted) { refresh(); inner?.refresh?.(); } }, 400);
  }
  return {
    title: `Schedule #${id}`,
    node: h('div', { class: 'page' },
      h('div', { class: 'page-head' }, h('p', { class: 'crumb' }, h('a', { href: href(`${view.base}/schedules`) }, 'Schedules'), ` / #${id}`),
        heading, mark, actions, plan), page.node),
    event: (/** @type {any} */ event) => {
      inner?.event?.(event);
      if (event.kind?.startsWith?.('schedule_') ? String(event.data?.backup_schedule_id) === id
        : ['created', 'started', 'completed', 'stalled'].includes(event.kind)) soon();
    },
    resync: () => { refresh(); inner?.resync?.(); inner?.refresh?.(); },
  };
}

/** How one schedule fares; null if it is deleted. @param {any} view @param {string} id @param {AbortSignal} signal */
async function healthOf(view, id, signal) {
  for (let cursor = '', pages = 0; pages < 5; pages++) {
    const answer = await get(`${view.base}/backup-schedules/health`, { limit: 1000, cursor }, signal);
    const found = answer.data.find((/** @type {any} */ row) => String(row.backup_schedule_id) === id);
    if (found) return found;
    cursor = answer.next_cursor;
    if (!cursor) break;
  }
  return null;
}

/** What is wrong, before anything else. @param {any} view @param {any} s @param {any} health */
function noteOf(view, s, health) {
  const box = (/** @type {string} */ key, /** @type {string} */ kind, /** @type {any[]} */ ...text) =>
    h('div', { class: `note ${kind}` }, icon(key), h('p', null, text));
  if (s.deleted_at) return box('paused', '', h('strong', null, 'Deleted '), when(s.deleted_at), '. It is due no more; what it did can still be read.');
  if (!health) return null;
  if (health.plan_fault) return box('missing', 'bad', h('strong', null, 'It is never due: '), h('bdi', null, health.plan_fault));
  if (!s.is_enabled) return box('paused', '', h('strong', null, 'Paused. '), 'It is not due until somebody resumes it.');
  const { failed, missed, since } = health.streak;
  if (!failed && !missed) return null;
  const parts = [failed ? `${number(failed)} failed` : '', missed ? `${number(missed)} did not run at all` : ''].filter(Boolean);
  return box(health.state === 'missing' ? 'missing' : 'failing', 'bad',
    h('strong', null, `${count(failed + missed, 'slot')} in a row without a backup`), `: ${parts.join(', ')}, since ${sayDay(dayOf(new Date(since), knownZone(s.timezone)), 'weekday')}. `,
    health.last_success_at ? ['The newest backup there is was made ', when(health.last_success_at), ', by ',
      h('a', { href: runHref(view, health.last_success_run_id) }, `run #${health.last_success_run_id}`), '.'] : 'There is no backup at all.');
}

/** @param {any} view @param {any} s @param {any} health */
function tilesOf(view, s, health) {
  const tile = (/** @type {string} */ label, /** @type {any} */ value, /** @type {any} */ hint = null) =>
    h('div', { class: 'tile fact' }, h('span', { class: 'label' }, label), h('span', { class: 'value' }, value), h('span', { class: 'hint' }, hint));
  const streak = health ? health.streak.failed + health.streak.missed : 0;
  return [
    tile('Last backup', when(health?.last_success_at, { none: 'None yet' }), health?.last_success_run_id
      ? h('a', { href: runHref(view, health.last_success_run_id) }, `Run #${health.last_success_run_id}`) : null),
    tile('Without a backup', streak ? h('span', { class: 'tone-bad' }, count(streak, 'slot')) : 'None',
      streak ? [`${number(health.streak.missed)} missed, ${number(health.streak.failed)} failed`] : null),
    tile('Next slot', when(health?.next_slot_at, { none: s.deleted_at || !s.is_enabled ? 'Not due' : 'Never' }),
      health?.next_slot_at ? ['at ', clock(s.time_of_day), ' there'] : null),
    tile('On time within', graceOf(s) % 60 ? duration(graceOf(s)) : count(graceOf(s) / 60, 'minute'), s.grace_seconds === null ? 'the default' : null),
    tile('Keeps', count(s.retention_keep_last, 'backup'), h('a', { href: href(`${view.base}/schedules/${s.id}`, { view: 'retention' }) }, 'What that keeps')),
  ];
}
