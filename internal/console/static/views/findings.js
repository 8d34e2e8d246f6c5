// @ts-check
import { when } from '../clock.js';
import { h, name } from '../dom.js';
import { list } from '../list.js';
import { empty } from '../region.js';
import { href } from '../router.js';
import { runHref } from '../runrow.js';
import { sentence, state, word } from '../words.js';

const id = '[1-9][0-9]{0,18}';
const severities = ['critical', 'high', 'medium', 'low'];
const statuses = ['new', 'acknowledged'];

/** @type {[string, Record<string, string>][]} */
const presets = [['All', {}], ['New', { status: 'new' }], ['New and severe', { status: 'new', severity: 'high,critical' }], ['Acknowledged', { status: 'acknowledged' }]];

/** What a finding is about, in a line. @param {any} finding */
export function subject(finding) {
  const of = (/** @type {string} */ key) => (typeof finding.evidence?.[key] === 'string' ? finding.evidence[key] : '');
  return { title: of('display_name') || finding.subject_external_id || finding.fingerprint, change: of('change'), kind: of('policy_type') || finding.subject_type };
}

/** A run that a finding or item rests on. @param {any} view @param {any} runID @param {any} run */
export function runMark(view, runID, run) {
  if (runID === null) return h('span', { class: 'none' }, 'not known');
  return h('a', { class: 'mono', href: runHref(view, runID), title: run ? `${sentence(run.type)}, ${word(run.outcome).toLowerCase()}` : null }, `#${runID}`);
}

/** All findings, the newest first. @param {any} view */
export function findings(view) {
  /** @type {import('../filters.js').Filter[]} */
  const filters = [
    { key: 'status', label: 'Status', kind: 'many', options: statuses.map((key) => [key, word(key)]) },
    { key: 'severity', label: 'Severity', kind: 'many', options: severities.map((key) => [key, word(key)]) },
    { key: 'finding_type', label: 'Type', kind: 'text', more: true, hint: 'such as drift; several with commas' },
    { key: 'tenant_id', label: 'Tenant', kind: 'text', more: true, pattern: id },
    { key: 'baseline_operation_run_id', label: 'Baseline run', kind: 'text', more: true, pattern: id },
    { key: 'current_operation_run_id', label: 'Current run', kind: 'text', more: true, pattern: id },
    { key: 'scope_key', label: 'Scope', kind: 'text', more: true },
  ];
  const current = JSON.stringify(Object.fromEntries(filters.map((f) => [f.key, view.query.get(f.key)]).filter(([, v]) => v)));
  const shown = list(view, {
    path: `${view.base}/findings`, filters, noun: ['finding', 'findings'], caption: 'Findings, the newest first',
    columns: [
      { title: 'Severity', kind: 'col-severity', cell: (row) => state(row.severity) },
      { title: 'Finding', kind: 'col-main', cell: (row) => {
        const about = subject(row);
        return [h('a', { href: href(`${view.base}/findings/${row.id}`), 'data-row': true, class: 'strong' }, name(about.title)), ' ', h('span', { class: 'mono dim' }, `#${row.id}`),
          h('div', { class: 'sub soft' }, about.change ? [sentence(about.change), ' · '] : null, h('bdi', { class: 'cut' }, about.kind ?? sentence(row.finding_type)))];
      } },
      { title: 'Status', kind: 'col-severity', cell: (row) => h('span', { class: 'states' }, state(row.status), row.recalled ? state('recalled') : null) },
      { title: 'Baseline → current', kind: 'col-runs', cell: (row) => [runMark(view, row.baseline_operation_run_id, row.baseline_operation_run), ' → ',
        runMark(view, row.current_operation_run_id, row.current_operation_run)] },
      { title: 'Tenant', kind: 'num', cell: (row) => row.tenant_id ?? h('span', { class: 'none' }, '–') },
      { title: 'Found', kind: 'col-when', cell: (row) => when(row.created_at) },
    ],
    mark: (row) => (row.recalled ? 'row-warn' : null),
    none: empty('Nothing was found yet', 'Drift generation compares what two syncs saw; each difference is a finding here.'),
  });
  return {
    title: 'Findings',
    node: h('div', { class: 'page' }, h('div', { class: 'page-head' }, h('h1', { tabindex: '-1' }, 'Findings'),
      h('nav', { class: 'tabs', 'aria-label': 'Common filters' }, presets.map(([label, query]) => h('a', {
        href: href(`${view.base}/findings`, query), 'aria-current': JSON.stringify(query) === current ? 'page' : null }, label)))), shown.node),
    event: shown.event, resync: shown.resync,
  };
}
