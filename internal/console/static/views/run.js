// @ts-check
import { again } from '../again.js';
import { get } from '../api.js';
import { took, when } from '../clock.js';
import { comparison } from '../compare.js';
import { h, name, put, renew } from '../dom.js';
import { card, empty, lines, region } from '../region.js';
import { href } from '../router.js';
import { runActions } from '../runactions.js';
import { failures, runHref, runLink, typeLabel } from '../runrow.js';
import { timeline } from '../timeline.js';
import { tree } from '../tree.js';
import { active, count, icon, number, progressBar, progressOf, runState, sentence } from '../words.js';

/** Members of a context that name something with a page of its own. */
const runKeys = ['baseline_operation_run_id', 'current_operation_run_id', 'operation_run_id', 'retry_of_id'];

/** One run. @param {any} view */
export function run(view) {
  const { id } = view.parameters;
  const path = `${view.base}/operation-runs/${id}`;
  const head = h('div', { class: 'page-head' }, h('h1', { tabindex: '-1' }, `Run #${id}`));
  /** @type {{paint: (run: any) => void}[]} */
  let parts = [];
  /** @type {any} */
  let current = null;
  const events = timeline(view, path);
  const rests = dependents(view, path);
  const against = h('div', null);
  const page = region(view, {
    main: true, label: 'run', skeleton: lines(10),
    load: (signal) => get(path, {}, signal),
    render: (first) => {
      const made = body(view, path, { events, rests, against });
      parts = [...made.parts, title()];
      change(first);
      return made.node;
    },
  });

  function title() {
    return part(head, (r) => [r.type, r.status, r.outcome, r.stalled, r.recalled, r.recalled_at, r.cancel_requested_at], (r) => {
      view.title(`${typeLabel(view, r.type)} #${id}`);
      return [
        h('p', { class: 'crumb' }, h('a', { href: href(`${view.base}/runs`) }, 'Runs'), ' / ',
          h('a', { href: href(`${view.base}/runs`, { type: r.type }) }, typeLabel(view, r.type))),
        h('h1', { tabindex: '-1' }, typeLabel(view, r.type), ' ', h('span', { class: 'mono dim' }, `#${id}`)), runState(r),
        h('div', { class: 'actions' }, runActions(view, r, path, change))];
    });
  }

  /** @param {any} next */
  function change(next) {
    if (current && next.revision < current.revision) return;
    const ended = !active(next) && (!current || active(current));
    current = next;
    for (const each of parts) each.paint(next);
    if (ended) put(against, lastGood(view, path, next));
  }

  let asking = false;
  let once = false;
  const persist = again(view.signal, () => refresh());
  async function refresh() {
    if (asking) { once = true; return; }
    asking = true;
    try {
      change(await get(path, {}, view.signal));
      persist.had();
    } catch (error) {
      persist.failed(error); // otherwise the next event tries again
    } finally { asking = false; }
    events.reload({ quiet: true });
    if (once) { once = false; refresh(); }
  }
  return {
    title: `Run #${id}`,
    node: h('div', { class: 'page' }, head, page.node),
    event: (/** @type {any} */ event) => { if (String(event.run_id) === id && current) refresh(); },
    resync: () => { if (current) refresh(); },
  };
}

/**
 * A part of the page that is painted anew only if what it shows is another. The focus stays on the
 * button of the same key, and what was folded stays folded.
 * @param {any} node @param {(run: any) => any} of @param {(run: any) => any} render
 */
function part(node, of, render) {
  let before = '';
  return { paint(/** @type {any} */ run) {
    const now = JSON.stringify(of(run));
    if (now === before) return;
    before = now;
    const held = node.contains(document.activeElement) ? document.activeElement : null;
    renew(node, render(run));
    if (held && !held.isConnected) (node.querySelector(held.dataset?.key ? `[data-key="${held.dataset.key}"]` : 'h1') ?? node.querySelector('h1'))?.focus();
  } };
}

/** @param {any} view @param {string} path @param {any} regions */
function body(view, path, { events, rests, against }) {
  const notes = h('div', null);
  const progress = h('section', { class: 'card' });
  const failed = h('div', { class: 'stack' });
  const context = h('section', { class: 'card' });
  const facts = h('section', { class: 'card' });
  return {
    parts: [
      part(notes, (r) => [r.stalled, r.stalled_at, r.cancel_requested_at, r.status, r.recalled, r.recall_reason], (r) => noteList(view, r)),
      part(progress, (r) => [r.summary_counts, r.started_at, r.completed_at], progressCard),
      part(failed, (r) => r.failure_summary, (r) => failureCard(view, r)),
      part(context, (r) => r.context, (r) => contextCard(view, r)),
      part(facts, (r) => r, (r) => factsCard(view, r)),
    ],
    node: [notes, h('div', { class: 'grid' },
      h('div', { class: 'stack span8' }, progress, failed, against, context),
      h('div', { class: 'stack span4' }, facts, card('What rests on it', rests.node), card('Timeline', events.node)))],
  };
}

/** @param {any} view @param {any} r */
function noteList(view, r) {
  const note = (/** @type {string} */ key, /** @type {any[]} */ ...text) => h('div', { class: 'note' }, icon(key), h('p', null, text));
  return [
    active(r) && r.stalled ? note('stalled', h('strong', null, 'Stalled. '), r.stalled === 'no_progress'
      ? ['Its worker lives, but its counts last moved ', when(r.progressed_at ?? r.started_at), '.']
      : ['Its worker was last heard of ', when(r.heartbeat_at ?? r.started_at), '. If it stays silent, the run is ended as failed.']) : null,
    active(r) && r.cancel_requested_at ? note('stopping', h('strong', null, 'Asked to stop '), when(r.cancel_requested_at),
      '. Its worker has not answered yet.') : null,
    r.recalled ? note('recalled', h('strong', null, 'Not to be trusted. '), r.recalled_at
      ? ['Recalled ', when(r.recalled_at), ': ', h('bdi', null, r.recall_reason ?? '')]
      : 'It rests on a run that was recalled, and no newer run has replaced it.') : null,
    view.workspace.archived_at ? note('paused', 'This workspace is archived: it can be read, and nothing can be changed.') : null,
  ];
}

/** @param {any} r */
function progressCard(r) {
  const p = progressOf(r.summary_counts);
  const counts = r.summary_counts && typeof r.summary_counts === 'object' ? Object.entries(r.summary_counts) : [];
  return [
    h('div', { class: 'card-head' }, h('h2', null, 'Progress'),
      h('span', { class: 'soft' }, r.completed_at ? 'Took ' : r.started_at ? 'Running for ' : 'Waits to start', r.started_at ? took(r.started_at, r.completed_at) : null)),
    h('div', { class: 'pad' },
      p ? h('div', { class: 'progress-large' }, progressBar(r)) : h('p', { class: 'soft' }, 'It does not say how far it is.'),
      counts.length ? h('dl', { class: 'facts counts' }, counts.map(([k, v]) => h('div', null,
        h('dt', null, sentence(k)), h('dd', { class: 'num' }, typeof v === 'object' ? JSON.stringify(v) : number(/** @type {any} */ (v)))))) : null),
  ];
}

/** @param {any} view @param {any} r */
function failureCard(view, r) {
  const all = failures(r);
  if (!all.length) {
    const odd = r.failure_summary && (!Array.isArray(r.failure_summary) || r.failure_summary.length);
    return odd ? card('Failures', h('div', { class: 'pad' }, tree(r.failure_summary))) : null;
  }
  /** @type {Map<string, Map<string, number>>} */
  const codes = new Map();
  for (const f of all) {
    const messages = codes.get(String(f.code ?? '')) ?? new Map();
    messages.set(String(f.message ?? ''), (messages.get(String(f.message ?? '')) ?? 0) + 1);
    codes.set(String(f.code ?? ''), messages);
  }
  const total = (/** @type {Map<string, number>} */ m) => [...m.values()].reduce((a, b) => a + b, 0);
  const groups = [...codes].sort((a, b) => total(b[1]) - total(a[1]));
  return card('Failures', groups.map(([code, messages]) => h('div', { class: 'group' },
    h('div', { class: 'group-head' }, h('h3', { class: 'tone-bad' }, h('code', null, h('bdi', null, code || 'without a code'))),
      h('span', { class: 'hint' }, count(total(messages), 'time'), code ? [' · ',
        h('a', { href: href(`${view.base}/runs`, { failure_code: code }) }, 'all runs with it')] : null)),
    h('ul', null, [...messages].map(([message, times]) => h('li', null, h('bdi', null, message || 'No message'),
      times > 1 ? h('span', { class: 'times' }, ` × ${number(times)}`) : null))))),
  h('span', { class: 'hint' }, count(all.length, 'failure')));
}

/** @param {any} view @param {any} r */
function contextCard(view, r) {
  const filled = r.context && (typeof r.context !== 'object' || Object.keys(r.context).length);
  return [h('div', { class: 'card-head' }, h('h2', null, 'Context')), filled ? h('div', { class: 'pad' }, tree(r.context, (key, value) => {
    if (!/^[1-9][0-9]{0,18}$/.test(String(value))) return null;
    if (runKeys.includes(key)) return h('a', { href: runHref(view, value) }, `#${value}`);
    if (key === 'backup_schedule_id') return h('a', { href: href(`${view.base}/schedules/${value}`) }, String(value));
    return null;
  })) : h('p', { class: 'pad soft' }, 'Nothing further is known of the run.')];
}

/** All fields that have no place of their own. @param {any} view @param {any} r */
function factsCard(view, r) {
  const runs = (/** @type {Record<string, any>} */ query, /** @type {any} */ text) => h('a', { href: href(`${view.base}/runs`, query) }, text);
  const schedule = r.context && typeof r.context === 'object' ? r.context.backup_schedule_id : null;
  const known = /^[1-9][0-9]{0,18}$/.test(String(schedule ?? '')) && r.type.startsWith('backup_schedule_');
  /** @type {[string, any][]} */
  const rows = [
    ['Started by', r.initiator_name === null ? null : name(r.initiator_name)],
    ['User', r.user_id === null ? null : runs({ user_id: r.user_id }, String(r.user_id))],
    ['Tenant', r.tenant_id === null ? null : runs({ tenant_id: r.tenant_id }, String(r.tenant_id))],
    ['Schedule', known ? h('a', { href: href(`${view.base}/schedules/${schedule}`) }, String(schedule)) : null],
    ['Attempt', r.retry_of_id === null ? number(r.attempt) : [number(r.attempt), ', after ', h('a', { href: runHref(view, r.retry_of_id), class: 'mono' }, `#${r.retry_of_id}`)]],
    ['Status', `${sentence(r.status)}, ${r.outcome.replaceAll('_', ' ')}`],
    ['Created', when(r.created_at, { full: true })], ['Started', when(r.started_at, { full: true })],
    ['Completed', when(r.completed_at, { full: true })], ['Changed', when(r.updated_at, { full: true })],
    ['Last heard of', r.heartbeat_at ? when(r.heartbeat_at, { full: true }) : null],
    ['Progressed', r.progressed_at ? when(r.progressed_at, { full: true }) : null],
    ['Stalled since', r.stalled_at ? when(r.stalled_at, { full: true }) : null],
    ['Asked to stop', r.cancel_requested_at ? when(r.cancel_requested_at, { full: true }) : null],
    ['Recalled', r.recalled_at ? [when(r.recalled_at, { full: true }), r.recalled_by_user_id ? ` by user ${r.recalled_by_user_id}` : null] : null],
    ['Revision', number(r.revision)],
    ['Identity', runs({ run_identity_hash: r.run_identity_hash }, h('span', { class: 'mono', title: r.run_identity_hash },
      String(r.run_identity_hash).slice(0, 16), String(r.run_identity_hash).length > 16 ? '…' : ''))],
  ];
  return [h('div', { class: 'card-head' }, h('h2', null, 'Facts')),
    h('dl', { class: 'pairs' }, rows.filter(([, v]) => v !== null).map(([k, v]) => h('div', null, h('dt', null, k), h('dd', null, v))))];
}

/** What changed since it last worked. @param {any} view @param {string} path @param {any} r */
function lastGood(view, path, r) {
  const by = { backup_schedule: 'of the same backup schedule', identity: 'of the same work', type: 'of the same type and tenant' };
  const link = h('span', { class: 'soft' });
  return card(r.outcome === 'succeeded' ? 'Against the good run before it' : 'What changed since it last worked', region(view, {
    label: 'diff',
    load: (signal) => get(`${path}/diff`, { against: 'last_good' }, signal),
    render: (diff) => {
      if (!diff.against) return empty('Nothing to compare with', 'No run of the same work has succeeded before.');
      put(link, runLink(view, diff.against), ' ', when(diff.against.completed_at), h('span', { class: 'hint' }, ` · ${by[/** @type {keyof typeof by} */ (diff.against_by)] ?? ''}`));
      return comparison(diff);
    },
  }).node, link);
}

/** What rests on a run, page by page. @param {any} view @param {string} path */
function dependents(view, path) {
  const places = { inventory_item: 'inventory', finding: 'findings', operation_run: 'runs' };
  const words = { last_seen: 'Items last seen by it', baseline: 'Findings measured against it', current: 'Findings it made', retry: 'Runs that try it again', context: 'Runs that name it' };
  /** @type {any[]} */
  let rows = [];
  const shown = region(view, {
    label: 'dependents',
    load: async (signal) => {
      const answer = await get(`${path}/dependents`, { limit: 50 }, signal);
      rows = answer.data;
      return answer.next_cursor;
    },
    render: (next) => paint(next),
  });
  /** @param {string | null} next */
  function paint(next) {
    if (!rows.length) return empty('Nothing rests on it', 'No item, finding or later run names it.');
    const box = h('div', null);
    const more = h('button', { class: 'more-rows', onclick: async () => {
      more.disabled = true;
      try {
        const answer = await get(`${path}/dependents`, { limit: 200, cursor: next }, view.signal);
        rows = [...rows, ...answer.data];
        put(shown.node, paint(answer.next_cursor));
      } catch { more.disabled = false; }
    } }, 'More');
    const kinds = [...new Set(rows.map((r) => r.relation))];
    return put(box, kinds.map((relation) => {
      const those = rows.filter((r) => r.relation === relation);
      const last = next && relation === kinds[kinds.length - 1];
      return h('details', { class: 'rests', open: those.length <= 6 },
        h('summary', null, words[/** @type {keyof typeof words} */ (relation)] ?? sentence(relation), ' ',
          h('span', { class: 'tag' }, last ? `${number(those.length)}+` : number(those.length))),
        h('ul', null, those.map((r) => h('li', null,
          h('a', { href: href(`${view.base}/${places[/** @type {keyof typeof places} */ (r.kind)] ?? 'runs'}/${r.id}`) },
            name(r.kind === 'operation_run' ? typeLabel(view, r.name) : r.name), ' ', h('span', { class: 'mono dim' }, `#${r.id}`))))));
    }), next ? more : null);
  }
  return shown;
}
