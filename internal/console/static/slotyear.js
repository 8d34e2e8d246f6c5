// @ts-check
// The year of a schedule: its calendar, the day that is looked at, and every slot without a backup.
import { again } from './again.js';
import { all, get } from './api.js';
import { calendar, legend } from './calendar.js';
import { took, when } from './clock.js';
import { h, put } from './dom.js';
import { lines, region } from './region.js';
import { here as address, href } from './router.js';
import { failures, runHref, runLink } from './runrow.js';
import { byDay, dayAfter, has, instant, isDay, knownZone, lacks, monthAfter, sayDay, sayVerdicts, slotDay } from './slots.js';
import { dayOf, duration } from './time.js';
import { count, icon, number, runState, state, word } from './words.js';

const shownAtOnce = 12;

/** @param {any} view @param {string} path @param {any} schedule @param {string} place the address of the schedule's page */
export function slotYear(view, path, schedule, place) {
  const zone = knownZone(schedule.timezone);
  const today = dayOf(new Date(), zone);
  const from = `${monthAfter(today, -11).slice(0, 7)}-01`;
  const asked = view.query.get('day') ?? '';
  let chosen = isDay(asked) && asked >= from ? asked : '';
  /** @type {{slots: any[], days: Map<string, any[]>, why: Map<string, any>}} */
  let known = { slots: [], days: new Map(), why: new Map() };
  /** @type {any} */
  let grid = null;
  const dayCard = h('section', { class: 'card day', 'aria-label': 'The chosen day' });
  const trouble = h('section', { class: 'card' });
  const marks = h('div', { class: 'cal-foot' });
  let many = false;

  const page = region(view, { label: 'year', skeleton: lines(8), load, render: (value) => {
    known = value;
    if (!chosen) chosen = newestTrouble(value.slots, zone, today);
    grid = calendar({ from, today, zone, chosen, choose,
      label: `What became of the slots, by day in ${zone}. The newest month is the first row.` });
    repaint();
    return h('div', { class: 'year-grid' },
      h('section', { class: 'card cal-card' }, h('div', { class: 'card-head' }, h('h2', null, 'A year of slots'),
        h('span', { class: 'hint' }, 'Days are those of ', h('bdi', null, zone))), grid.node, marks),
      h('div', { class: 'year-side' }, dayCard), h('div', { class: 'year-below' }, trouble));
  } });

  /** @param {AbortSignal} signal */
  async function load(signal) {
    const [slots, ended] = await Promise.all([
      all(`${path}/slots`, { from: `${dayAfter(from, -1)}T00:00:00Z`, before: `${dayAfter(`${monthAfter(today, 1).slice(0, 7)}-01`)}T00:00:00Z`, limit: 1000 }, signal, 5),
      get(`${path}/runs`, { type: 'backup_schedule_run', outcome: 'failed,partially_succeeded,blocked,cancelled', limit: 200,
        fields: 'failure_summary' }, signal),
    ]);
    return { slots, days: byDay(slots, zone), why: new Map(ended.data.map((/** @type {any} */ run) => [String(run.id), failures(run)])) };
  }

  function repaint() {
    grid.paint(known.days);
    swap(marks, legend(new Set(known.slots.map((slot) => slot.verdict))));
    swap(dayCard, dayContent());
    swap(trouble, troubleContent());
  }

  /** @param {string} day */
  function choose(day) {
    chosen = day;
    // The day is in the address, for a link and for the way back; it is no step of the way itself.
    history.replaceState(history.state, '', href(place, { ...Object.fromEntries(address().query), day }));
    swap(dayCard, dayContent());
  }

  function dayContent() {
    const slots = known.days.get(chosen) ?? [];
    return [h('div', { class: 'card-head' }, h('h2', null, sayDay(chosen, 'year'))),
      h('div', { class: 'day-slots' }, slots.length ? slots.map(oneSlot) : h('p', { class: 'pad soft' },
        chosen > today ? 'Nothing is due on this day yet, or it is too far ahead.' : 'Nothing was due, and nothing came.')),
      h('div', { class: 'day-foot' }, step(-1), h('span', { class: 'hint' }, 'trouble'), step(1))];
  }

  /** A way to the nearest day with trouble. @param {number} by */
  function step(by) {
    const days = [...known.days.keys()].filter((day) => known.days.get(day)?.some(lacks) && (by < 0 ? day < chosen : day > chosen)).sort();
    const to = by < 0 ? days[days.length - 1] : days[0];
    const text = by < 0 ? '← Earlier' : 'Later →';
    return h('button', { disabled: !to, 'aria-label': `${by < 0 ? 'Earlier' : 'Later'} trouble`, title: to ? `${sayDay(to, 'long')}: ${sayVerdicts(known.days.get(to))}` : null, onclick: () => {
      grid.select(to, false);
      choose(to);
    } }, text);
  }

  /** @param {any} slot */
  function oneSlot(slot) {
    const [, time] = /T(\d\d:\d\d)/.exec(slot.local_time ?? '') ?? [];
    return h('article', { class: 'day-slot' },
      h('div', { class: 'day-slot-head' }, state(slot.verdict),
        slot.late_by_seconds === null ? null : h('span', { class: 'hint' }, `${duration(slot.late_by_seconds)} late`)),
      h('p', { class: 'soft' }, slot.slot_at ? ['Due ', when(slot.slot_at, { full: true }),
        time ? h('span', { class: 'hint' }, ' · ', time, ' ', h('bdi', null, slot.timezone)) : null] : 'It came for no slot: somebody started it.'),
      slot.verdict === 'missed' ? h('p', null, 'No run came for it. Its worker did not start, or did not tell.')
        : slot.verdict === 'skipped' ? h('p', null, 'No run came for it: an earlier one was still going on.') : null,
      slot.runs.length ? h('ul', { class: 'day-runs' }, slot.runs.map((/** @type {any} */ run) => h('li', null,
        h('div', { class: 'day-run' }, runState(run), runLink(view, run), h('span', { class: 'hint' }, took(run.started_at, run.completed_at))),
        reasons(run.id)))) : null,
      lacks(slot) ? means(slot) : null);
  }

  /** Why a run failed. @param {any} id */
  function reasons(id) {
    const all = known.why.get(String(id)) ?? [];
    if (!all.length) return null;
    return h('ul', { class: 'reasons' }, all.slice(0, 3).map((/** @type {any} */ f) => h('li', null,
      h('code', { class: 'tone-bad' }, h('bdi', null, f.code ?? '')), ' ', h('bdi', null, f.message ?? ''))),
    all.length > 3 ? h('li', { class: 'hint' }, h('a', { href: runHref(view, id) }, `and ${number(all.length - 3)} more`)) : null);
  }

  /** What it means that a slot has no backup: how long there was none. @param {any} slot */
  function means(slot) {
    const at = known.slots.indexOf(slot);
    const before = known.slots.slice(0, at).findLast(has);
    const after = known.slots.slice(at + 1).find(has);
    const link = (/** @type {any} */ other) => h('a', { href: href(place, { day: slotDay(other, zone) }), 'data-day-link': slotDay(other, zone) },
      sayDay(slotDay(other, zone), 'weekday'));
    return h('p', { class: 'means' }, before ? ['The backup before it is of ', link(before), after ? '; ' : '. ']
      : ['There is none before it in this year', after ? '; ' : '. '],
    after ? ['the next one came on ', link(after), '.'] : 'None has come since.');
  }

  function troubleContent() {
    const slots = known.slots.filter(lacks).reverse();
    const rows = many ? slots : slots.slice(0, shownAtOnce);
    return [h('div', { class: 'card-head' }, h('h2', null, 'Slots without a backup'), h('span', { class: 'hint' }, slots.length ? `${count(slots.length, 'slot')} in this year` : null)),
      slots.length ? h('ul', { class: 'rows' }, rows.map((slot) => {
        const run = slot.runs[slot.runs.length - 1];
        const [reason] = run ? known.why.get(String(run.id)) ?? [] : [];
        const day = slotDay(slot, zone);
        return h('li', null, h('span', { class: 'trouble-state' }, state(slot.verdict)),
          h('a', { href: href(place, { day }), 'data-day-link': day, 'data-row': true, class: 'trouble-day' }, sayDay(day, 'weekday')),
          h('span', { class: 'grow' }, reason ? [h('code', null, h('bdi', null, reason.code ?? '')), ' ', h('bdi', { class: 'soft' }, reason.message ?? '')]
            : h('span', { class: 'soft' }, run ? word(run.outcome) : slot.verdict === 'skipped' ? 'An earlier run was still going on' : 'No run came')),
          run ? h('a', { class: 'mono', href: runHref(view, run.id), 'aria-label': `Run ${run.id}` }, `#${run.id}`) : null);
      })) : h('p', { class: 'pad soft' }, icon('ok'), ' Every slot of this year has its backup.'),
      slots.length > rows.length ? h('p', { class: 'more' }, h('button', { onclick: () => { many = true; swap(trouble, troubleContent()); } },
        `All ${number(slots.length)}`)) : null];
  }

  // Links to a day of this very calendar lead there without leaving the page.
  const node = page.node;
  node.addEventListener('click', (/** @type {MouseEvent} */ event) => {
    const link = event.target instanceof Element ? event.target.closest('[data-day-link]') : null;
    const day = link?.getAttribute('data-day-link') ?? '';
    if (!link || day < from || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    grid.select(day, false);
    choose(day);
  });

  const persist = again(view.signal, () => refresh());
  /** Looks again. What has not changed stays as it is. */
  async function refresh() {
    if (!grid) { page.reload({ quiet: true }); return; }
    try { known = await load(view.signal); } catch (error) { persist.failed(error); return; }
    persist.had();
    repaint();
  }

  return { node, refresh };
}

/** The newest day with trouble of the last 30, else the newest of which something is known. @param {any[]} slots @param {string} zone @param {string} today */
function newestTrouble(slots, zone, today) {
  const past = slots.filter((slot) => !['upcoming', 'paused'].includes(slot.verdict));
  const bad = past.findLast((slot) => lacks(slot) && slotDay(slot, zone) >= dayAfter(today, -30));
  const at = bad ?? past[past.length - 1];
  const day = at && instant(at) ? slotDay(at, zone) : today;
  return day > today ? today : day;
}

/** What was put into each part last, before times in it aged. @type {WeakMap<any, string>} */
const painted = new WeakMap();

/** Puts new content in, unless it looks the same; the focus stays where it was. @param {any} node @param {any} content */
function swap(node, content) {
  const next = put(h('div', null), content);
  if (next.innerHTML === painted.get(node)) return;
  const active = /** @type {any} */ (node.contains(document.activeElement) ? document.activeElement : null);
  const index = active ? [...node.querySelectorAll('a, button')].indexOf(active) : -1;
  painted.set(node, next.innerHTML);
  node.replaceChildren(...next.childNodes);
  if (index >= 0) [...node.querySelectorAll('a, button')][index]?.focus();
}

