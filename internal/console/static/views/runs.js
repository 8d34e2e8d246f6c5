// @ts-check
import { h } from '../dom.js';
import { list } from '../list.js';
import { empty } from '../region.js';
import { href } from '../router.js';
import { runColumns } from '../runrow.js';
import { keyOf, sentence, word } from '../words.js';

const statuses = ['queued', 'running', 'completed'];
const outcomes = ['pending', 'succeeded', 'partially_succeeded', 'failed', 'blocked', 'cancelled'];
const id = '[1-9][0-9]{0,18}';

/** All filters that the interface has for runs. @param {any} view @returns {import('../filters.js').Filter[]} */
export function runFilters(view) {
  const range = (/** @type {string} */ what) => /** @type {import('../filters.js').Filter[]} */ ([
    { key: `${what}_from`, label: `${sentence(what)} from`, kind: 'instant', more: true },
    { key: `${what}_before`, label: `${sentence(what)} before`, kind: 'instant', more: true }]);
  return [
    { key: 'type', label: 'Operation', kind: 'many', options: view.types.map((/** @type {any} */ t) => [t.name, t.label]) },
    { key: 'status', label: 'Status', kind: 'many', options: statuses.map((k) => [k, sentence(k)]) },
    { key: 'outcome', label: 'Outcome', kind: 'many', options: outcomes.map((k) => [k, k === 'pending' ? 'Pending' : word(k)]) },
    { key: 'stalled', label: 'Stalled', kind: 'one', more: true, options: [['true', 'Stalled'], ['false', 'Not stalled']] },
    { key: 'failure_code', label: 'Failure code', kind: 'text', more: true, hint: 'such as graph_throttled' },
    { key: 'tenant_id', label: 'Tenant', kind: 'text', more: true, pattern: id },
    { key: 'user_id', label: 'User', kind: 'text', more: true, pattern: id },
    { key: 'backup_schedule_id', label: 'Backup schedule', kind: 'text', more: true, pattern: id },
    { key: 'run_identity_hash', label: 'Identity', kind: 'text', more: true, pattern: '[0-9A-Fa-f]{64}', hint: '64 hexadecimal digits' },
    { key: 'legacy_table', label: 'Older store', kind: 'one', more: true, options: [['inventory_sync_runs', 'Inventory sync runs'],
      ['entra_group_sync_runs', 'Group sync runs'], ['backup_schedule_runs', 'Backup schedule runs']] },
    { key: 'legacy_id', label: 'Id in the older store', kind: 'text', more: true, pattern: id },
    ...range('created'), ...range('started'), ...range('completed'), ...range('updated'),
    { key: 'order', label: 'Order', kind: 'one', more: true,
      options: [['-created_at', 'Newest first'], ['created_at', 'Oldest first'], ['updated_at', 'Longest unchanged first']] },
  ];
}

/** @type {[string, Record<string, string>][]} */
const presets = [
  ['All', {}],
  ['Active', { status: 'queued,running' }],
  ['Not succeeded', { outcome: 'failed,partially_succeeded,blocked' }],
  // Those that have ended stay marked as having stalled.
  ['Stalled', { status: 'queued,running', stalled: 'true' }],
];

/** The list of runs. @param {any} view */
export function runs(view) {
  const path = `${view.base}/operation-runs`;
  const filters = runFilters(view);
  const current = JSON.stringify(Object.fromEntries(filters.map((f) => [f.key, view.query.get(f.key)]).filter(([, v]) => v)));
  const shown = list(view, {
    path, filters, columns: runColumns(view), noun: ['run', 'runs'], counted: `${path}/count`, live: true,
    caption: 'Operation runs',
    mark: (run) => (keyOf(run) === 'stalled' ? 'row-warn' : null),
    none: empty('Nothing has run yet', 'A worker records what it does with POST ', h('code', null, path),
      '; the run appears here at once.'),
  });
  return {
    title: 'Runs',
    node: h('div', { class: 'page' },
      h('div', { class: 'page-head' }, h('h1', { tabindex: '-1' }, 'Runs'),
        h('nav', { class: 'tabs', 'aria-label': 'Common filters' }, presets.map(([label, query]) => h('a', {
          href: href(`${view.base}/runs`, query), 'aria-current': JSON.stringify(query) === current ? 'page' : null }, label)))),
      shown.node),
    event: shown.event, resync: shown.resync,
  };
}
