// @ts-check
// A run as a row of a table, and as a link.
import { took, when } from './clock.js';
import { h, name } from './dom.js';
import { href } from './router.js';
import { progressBar, runState, sentence } from './words.js';

/** The name of a type for people. @param {any} view @param {string} type */
export function typeLabel(view, type) {
  return view.types.find((/** @type {any} */ t) => t.name === type)?.label ?? sentence(type);
}

/** The address of a run. @param {any} view @param {any} id */
export function runHref(view, id) { return href(`${view.base}/runs/${id}`); }

/** A link to a run of which only a summary is known. @param {any} view @param {any} run */
export function runLink(view, run) {
  return h('a', { href: runHref(view, run.id) }, typeLabel(view, run.type), ' ', h('span', { class: 'mono dim' }, `#${run.id}`));
}

/** Failures as they were recorded, whatever shape an older store left. @param {any} run */
export function failures(run) {
  return Array.isArray(run.failure_summary) ? run.failure_summary.filter((/** @type {any} */ f) => f && typeof f === 'object') : [];
}

/** The columns of a list of runs. @param {any} view @param {{short?: boolean}} [options] @returns {import('./list.js').Column[]} */
export function runColumns(view, { short = false } = {}) {
  return [
    { title: 'State', kind: 'col-state', cell: runState },
    { title: 'Operation', kind: 'col-main', cell: (run) => {
      const codes = [...new Set(failures(run).map((/** @type {any} */ f) => String(f.code ?? '')))].filter(Boolean);
      return [h('a', { href: runHref(view, run.id), 'data-row': true, class: 'strong' }, typeLabel(view, run.type)),
        ' ', h('span', { class: 'mono dim' }, `#${run.id}`),
        run.attempt > 1 ? h('span', { class: 'tag' }, `attempt ${run.attempt}`) : null,
        codes.length ? h('div', { class: 'sub tone-bad' }, h('bdi', { class: 'cut' }, codes[0]), codes.length > 1 ? ` and ${codes.length - 1} more` : '') : null];
    } },
    ...(short ? [] : [
      { title: 'Started by', kind: 'col-name', cell: (/** @type {any} */ run) => name(run.initiator_name ?? '–', 'cut') },
      { title: 'Tenant', kind: 'num', cell: (/** @type {any} */ run) => run.tenant_id ?? h('span', { class: 'none' }, '–') },
    ]),
    { title: 'Progress', kind: 'col-progress', cell: progressBar },
    { title: 'Took', kind: 'num', cell: (run) => took(run.started_at, run.completed_at) },
    { title: 'Created', kind: 'col-when', cell: (run) => when(run.created_at) },
  ];
}
