// @ts-check
// Changing a schedule: its plan, or whether it holds.
import { send } from './api.js';
import { attempt } from './attempt.js';
import { dialog } from './dialog.js';
import { h } from './dom.js';
import { clock, daysOf, weekdays } from './plan.js';

/** Only what one has seen is changed: the revision goes along. @param {string} path @param {any} schedule @param {any} change */
function patch(path, schedule, change) {
  return send('PATCH', path, change, { 'If-Match': String(schedule.revision) });
}

/** Asks, and pauses or resumes. @param {string} path @param {any} schedule @param {(said: string) => void} changed */
export function pause(path, schedule, changed) {
  const on = schedule.is_enabled;
  const trouble = h('div', { class: 'trouble', role: 'alert' });
  const yes = h('button', { class: 'primary', onclick: () => attempt(yes, trouble, async () => {
    await patch(path, schedule, { is_enabled: !on });
    shown.close();
    changed(on ? 'Paused' : 'Resumed');
  }) }, on ? 'Pause it' : 'Resume it');
  const shown = dialog({
    title: on ? 'Pause this schedule?' : 'Resume this schedule?',
    body: [h('p', null, on ? 'It is not due any more until somebody resumes it, and nobody is told of backups that do not come. What was due before stays in its history.'
      : 'It is due again by its plan from now on. Slots that passed meanwhile stay paused.'), trouble],
    actions: [h('button', { onclick: () => shown.close() }, 'Leave it'), yes],
  });
}

/** A form of the plan. @param {string} path @param {any} schedule @param {(said: string) => void} changed */
export function editPlan(path, schedule, changed) {
  const field = (/** @type {string} */ id, /** @type {string} */ label, /** @type {any} */ input, /** @type {any} */ hint = null) => {
    input.id = `plan-${id}`;
    if (hint) input.setAttribute('aria-describedby', `plan-${id}-hint`);
    return h('p', { class: 'field' }, h('label', { for: input.id }, label), input, hint ? h('span', { class: 'hint', id: `plan-${id}-hint` }, hint) : null);
  };
  const title = h('input', { value: schedule.name, required: true, maxlength: 255, autocomplete: 'off' });
  const frequency = h('select', { onchange: show }, ['daily', 'weekly'].map((key) =>
    h('option', { value: key, selected: key === schedule.frequency }, key === 'daily' ? 'Every day' : 'On days of the week')));
  // A field for times cannot hold the midnight at the end of a day.
  const time = h('input', { type: clock(schedule.time_of_day) === '24:00' ? 'text' : 'time', required: true,
    pattern: '([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?|24:00', value: clock(schedule.time_of_day) });
  const zones = h('datalist', { id: 'plan-zones' }, Intl.supportedValuesOf('timeZone').map((zone) => h('option', { value: zone })));
  const zone = h('input', { value: schedule.timezone, required: true, maxlength: 255, list: 'plan-zones', autocomplete: 'off', spellcheck: 'false' });
  const keep = h('input', { type: 'number', min: 1, max: 10000, required: true, value: schedule.retention_keep_last });
  const grace = h('input', { type: 'number', min: 1, max: 720, step: 'any', value: schedule.grace_seconds === null ? '' : schedule.grace_seconds / 60 });
  const before = daysOf(schedule.days_of_week) ?? [];
  const boxes = weekdays.map((day, i) => {
    const box = h('input', { type: 'checkbox', id: `plan-day-${i + 1}` });
    box.checked = before.includes(i + 1);
    return { box, node: h('p', { class: 'check' }, box, h('label', { for: box.id }, day.slice(0, 3), h('span', { class: 'unseen' }, day.slice(3)))) };
  });
  const days = h('fieldset', { class: 'plan-days' }, h('legend', null, 'Days'), boxes.map(({ node }) => node));
  const trouble = h('div', { class: 'trouble', role: 'alert' });
  const yes = h('button', { class: 'primary', type: 'submit', form: 'plan-form' }, 'Save');
  function show() { days.hidden = frequency.value !== 'weekly'; }
  show();

  /** What differs from what is. */
  function wanted() {
    const chosen = boxes.flatMap(({ box }, i) => (box.checked ? [i + 1] : []));
    /** @type {Record<string, [any, any]>} */
    const values = {
      name: [title.value, schedule.name], frequency: [frequency.value, schedule.frequency],
      time_of_day: [time.value, clock(schedule.time_of_day)], timezone: [zone.value.trim(), schedule.timezone],
      retention_keep_last: [Number(keep.value), schedule.retention_keep_last],
      grace_seconds: [grace.value === '' ? null : Math.round(Number(grace.value) * 60), schedule.grace_seconds],
      ...(frequency.value === 'weekly' ? { days_of_week: [chosen, before] } : {}),
    };
    return Object.fromEntries(Object.entries(values).filter(([, [now, was]]) => JSON.stringify(now) !== JSON.stringify(was)).map(([key, [now]]) => [key, now]));
  }
  const form = h('form', { id: 'plan-form', class: 'plan-form', onsubmit: (/** @type {Event} */ event) => {
    event.preventDefault();
    attempt(yes, trouble, async () => {
      const change = wanted();
      if (Object.keys(change).length) await patch(path, schedule, change);
      shown.close();
      changed('Saved');
    });
  } },
  field('name', 'Name', title), h('div', { class: 'plan-pair' }, field('frequency', 'When', frequency), field('time', 'At', time)), days,
  field('zone', 'Time zone', zone, 'The time of day is by the clocks there.'), zones,
  h('div', { class: 'plan-pair' }, field('keep', 'Backups to keep', keep),
    field('grace', 'On time within, in minutes', grace, 'Empty for the default: 30, or 60 if weekly.')),
  h('p', { class: 'hint' }, 'It is due by the new plan from now on. What it was due by before stays in its history.'), trouble);
  const shown = dialog({ title: 'Edit the schedule', body: [form], actions: [h('button', { onclick: () => shown.close() }, 'Leave it as it is'), yes] });
  title.focus();
}
