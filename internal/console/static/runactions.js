// @ts-check
// What one may do with a run: ask it to stop, start it again, recall it.
import { Problem, send } from './api.js';
import { attempt } from './attempt.js';
import { dialog } from './dialog.js';
import { announce, h } from './dom.js';
import { go } from './router.js';
import { active, atLeast } from './words.js';

/**
 * The buttons that the role, the workspace and the run allow.
 * @param {any} view @param {any} run @param {string} path @param {(run: any) => void} changed
 */
export function runActions(view, run, path, changed) {
  const { role, archived_at: archived } = view.workspace;
  if (archived || !atLeast(role, 'operator')) return [];
  const button = (/** @type {string} */ key, /** @type {string} */ word, /** @type {() => void} */ onclick, kind = '') =>
    h('button', { 'data-key': key, class: kind || null, onclick }, word);
  if (active(run)) {
    return run.cancel_requested_at ? [] : [button('cancel', 'Cancel…', () => cancel(run, path, changed), 'danger')];
  }
  return [
    button('retry', 'Retry', () => retry(view, path)),
    atLeast(role, 'manager') && !run.recalled_at ? button('recall', 'Recall…', () => recall(run, path, changed), 'danger') : null,
  ];
}

/** @param {any} run @param {string} path @param {(run: any) => void} changed */
function cancel(run, path, changed) {
  const trouble = h('p', { class: 'trouble', role: 'alert' });
  const yes = h('button', { class: 'primary', onclick: () => attempt(yes, trouble, async () => {
    changed(await send('POST', `${path}/cancel`));
    shown.close();
    announce('Asked to stop');
  }) }, 'Ask it to stop');
  const shown = dialog({
    title: `Cancel run #${run.id}?`,
    body: [h('p', null, 'Its worker sees the wish with its next sign of life, and ends the run. Until then it goes on.'), trouble],
    actions: [h('button', { onclick: () => shown.close() }, 'Let it run'), yes],
  });
}

/** @param {any} view @param {string} path */
function retry(view, path) {
  const trouble = h('p', { class: 'trouble', role: 'alert' });
  // The same key for each press of this button: an answer that was lost starts no second run.
  const key = [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, '0')).join('');
  const yes = h('button', { class: 'primary', onclick: () => attempt(yes, trouble, async () => {
    const next = await send('POST', `${path}/retry`, undefined, { 'Idempotency-Key': key });
    shown.close();
    go(`${view.base}/runs/${next.id}`);
    announce(`This is run ${next.id}`);
  }) }, 'Start it again');
  const shown = dialog({
    title: 'Retry this run?',
    body: [h('p', null, 'A new run of the same work is recorded for a worker to take. This one stays as it is.'), trouble],
    actions: [h('button', { onclick: () => shown.close() }, 'Not now'), yes],
  });
}

/** @param {any} run @param {string} path @param {(run: any) => void} changed */
function recall(run, path, changed) {
  const trouble = h('p', { class: 'trouble', role: 'alert' });
  const reason = h('textarea', { id: 'recall-reason', required: true, maxlength: 1000, rows: 4, 'aria-describedby': 'recall-hint' });
  const yes = h('button', { class: 'primary', type: 'submit', form: 'recall-form' }, 'Recall it for good');
  const form = h('form', { id: 'recall-form', class: 'token-form', onsubmit: (/** @type {Event} */ event) => {
    event.preventDefault();
    attempt(yes, trouble, async () => {
      if (!reason.value.trim()) throw new Problem(0, { detail: 'Say why, for those who find the mark.' });
      changed(await send('POST', `${path}/recall`, { reason: reason.value.trim() }));
      shown.close();
      announce('Recalled');
    });
  } }, h('label', { for: 'recall-reason' }, 'Why is it not to be trusted?'), reason,
  h('p', { class: 'hint', id: 'recall-hint' }, 'What rests on the run is marked as well, until a newer run replaces it. This cannot be undone.'), trouble);
  const shown = dialog({
    title: `Recall run #${run.id}?`, body: [form],
    actions: [h('button', { onclick: () => shown.close() }, 'Leave it'), yes],
  });
  reason.focus();
}
