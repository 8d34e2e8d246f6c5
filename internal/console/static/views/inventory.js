// @ts-check
import { when } from '../clock.js';
import { h, name } from '../dom.js';
import { list } from '../list.js';
import { empty } from '../region.js';
import { href } from '../router.js';
import { state } from '../words.js';
import { runMark } from './findings.js';

const id = '[1-9][0-9]{0,18}';

/** What a sync saw in the customers' directories, the newest first. @param {any} view */
export function inventory(view) {
  const several = 'several with commas';
  /** @type {import('../filters.js').Filter[]} */
  const filters = [
    { key: 'policy_type', label: 'Policy type', kind: 'text', hint: `such as deviceConfiguration; ${several}` },
    { key: 'category', label: 'Category', kind: 'text', hint: `such as Configuration; ${several}` },
    { key: 'platform', label: 'Platform', kind: 'text', hint: `such as windows10; ${several}` },
    { key: 'tenant_id', label: 'Tenant', kind: 'text', more: true, pattern: id },
    { key: 'external_id', label: 'Id in the directory', kind: 'text', more: true },
    { key: 'last_seen_operation_run_id', label: 'Last seen by run', kind: 'text', more: true, pattern: id },
  ];
  /** A value that leads to all items that have it. @param {string} key @param {any} value */
  const same = (key, value) => (value === null ? h('span', { class: 'none' }, '–') : h('a', { class: 'plain', href: href(`${view.base}/inventory`, { [key]: value }) }, h('bdi', { class: 'cut' }, value)));
  const shown = list(view, {
    path: `${view.base}/inventory-items`, filters, noun: ['item', 'items'], caption: 'Inventory items, the newest first',
    columns: [
      { title: 'Name', kind: 'col-main', cell: (row) => [h('a', { href: href(`${view.base}/inventory/${row.id}`), 'data-row': true, class: 'strong' },
        name(row.display_name ?? row.external_id)), ' ', h('span', { class: 'mono dim' }, `#${row.id}`)] },
      { title: 'Policy type', kind: 'col-name', cell: (row) => same('policy_type', row.policy_type) },
      { title: 'Category', kind: 'col-name', cell: (row) => same('category', row.category) },
      { title: 'Platform', kind: 'col-name', cell: (row) => same('platform', row.platform) },
      { title: 'Tenant', kind: 'num', cell: (row) => row.tenant_id ?? h('span', { class: 'none' }, '–') },
      { title: 'Last seen by', kind: 'col-runs', cell: (row) => [runMark(view, row.last_seen_operation_run_id, row.last_seen_operation_run),
        row.recalled ? [' ', state('recalled')] : null] },
      { title: 'Last seen', kind: 'col-when', cell: (row) => when(row.last_seen_at) },
    ],
    mark: (row) => (row.recalled ? 'row-warn' : null),
    none: empty('The inventory is empty', 'An inventory sync records what it sees; each object of a customer’s directory is an item here.'),
  });
  return {
    title: 'Inventory',
    node: h('div', { class: 'page' }, h('div', { class: 'page-head' }, h('h1', { tabindex: '-1' }, 'Inventory')), shown.node),
    event: shown.event, resync: shown.resync,
  };
}
