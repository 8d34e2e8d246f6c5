// @ts-check
import { again } from '../again.js';
import { get, send } from '../api.js';
import { attempt } from '../attempt.js';
import { when } from '../clock.js';
import { comparison } from '../compare.js';
import { announce, h, name, put } from '../dom.js';
import { card, lines, region } from '../region.js';
import { href } from '../router.js';
import { runHref, typeLabel } from '../runrow.js';
import { leaf, tree } from '../tree.js';
import { atLeast, icon, runState, sentence, state } from '../words.js';
import { subject } from './findings.js';

/** One finding: what was, what is, and how the two runs differ that saw it. @param {any} view */
export function finding(view) {
  const { id } = view.parameters;
  const path = `${view.base}/findings/${id}`;
  const heading = h('h1', { tabindex: '-1' }, `Finding #${id}`);
  const marks = h('div', { class: 'finding-marks' });
  const actions = h('div', { class: 'actions' });
  const facts = h('section', { class: 'card' });
  const note = h('div', null);
  const trouble = h('div', { class: 'trouble', role: 'alert' });
  let shown = '';
  let pressing = false;

  const page = region(view, {
    main: true, label: 'finding', skeleton: lines(10), load: (signal) => get(path, {}, signal),
    render: (found) => {
      paint(found);
      const { baseline, current } = found.evidence && typeof found.evidence === 'object' ? found.evidence : {};
      const both = found.baseline_operation_run_id !== null || found.current_operation_run_id !== null;
      return [note, h('div', { class: 'grid' },
        h('div', { class: 'stack span8' },
          h('section', { class: 'card' }, h('div', { class: 'card-head' }, h('h2', null, 'Evidence'), change(found)),
            h('div', { class: 'side-by-side' },
              side(view, 'Baseline', 'how it should be', found.baseline_operation_run_id, found.baseline_operation_run, baseline, current),
              side(view, 'Current', 'how it is', found.current_operation_run_id, found.current_operation_run, current, baseline))),
          rest(found.evidence),
          both ? card('How the two runs differ', diff(view, path).node) : null),
        h('div', { class: 'stack span4' }, facts))];
    },
  });

  /** @param {any} found */
  function paint(found) {
    const now = JSON.stringify(found);
    if (now === shown) return;
    shown = now;
    const about = subject(found);
    view.title(about.title);
    put(heading, name(about.title), ' ', h('span', { class: 'mono dim' }, `#${id}`));
    put(marks, state(found.severity), state(found.status), found.recalled ? state('recalled') : null);
    put(note, found.recalled ? h('div', { class: 'note' }, icon('recalled'), h('p', null, h('strong', null, 'Not to be trusted. '),
      'Its baseline or its current run was recalled. A newer comparison replaces it.')) : null);
    const held = pressing || actions.contains(document.activeElement);
    put(actions, button(found));
    if (held) /** @type {any} */ (actions.querySelector('button') ?? heading).focus();
    put(facts, h('div', { class: 'card-head' }, h('h2', null, 'Facts')), factList(view, found));
  }

  /** @param {any} found */
  function button(found) {
    if (view.workspace.archived_at || !atLeast(view.workspace.role, 'operator')) return null;
    const open = found.status !== 'acknowledged';
    const press = h('button', { class: open ? 'primary' : null, onclick: async () => {
      pressing = true;
      await attempt(press, trouble, async () => {
        paint(await send('PATCH', path, { status: open ? 'acknowledged' : 'new' }, { 'If-Match': String(found.revision) }));
        announce(open ? 'Acknowledged' : 'Opened again');
      });
      if (trouble.textContent) await look(); // somebody else may have been quicker
      pressing = false;
    } }, open ? 'Acknowledge' : 'Reopen');
    return press;
  }

  const persist = again(view.signal, () => look());
  async function look() {
    if (!shown) return;
    try {
      paint(await get(path, {}, view.signal));
      persist.had();
    } catch (error) { persist.failed(error); } // what shows is better than nothing
  }

  return {
    title: `Finding #${id}`,
    node: h('div', { class: 'page' }, h('div', { class: 'page-head' }, h('p', { class: 'crumb' }, h('a', { href: href(`${view.base}/findings`) }, 'Findings'), ` / #${id}`),
      heading, marks, actions), trouble, page.node),
    resync: look,
  };
}

/** What kind of difference it is. @param {any} found */
function change(found) {
  const about = subject(found);
  const fields = Array.isArray(found.evidence?.changed_fields) ? found.evidence.changed_fields : [];
  return h('span', { class: 'change' }, about.change ? h('span', { class: 'tag' }, sentence(about.change)) : null,
    fields.slice(0, 8).map((/** @type {any} */ f) => h('code', { class: 'differs' }, h('bdi', null, typeof f === 'string' ? f : JSON.stringify(f)))));
}

/**
 * One side of the evidence: its run, and its members with those marked that the other has not so.
 * @param {any} view @param {string} title @param {string} hint @param {any} runID @param {any} run @param {any} value @param {any} other
 */
function side(view, title, hint, runID, run, value, other) {
  return h('div', null, h('h3', null, title, ' ', h('span', { class: 'hint' }, hint)),
    runID === null ? h('p', { class: 'soft' }, 'The run that saw it is not known.')
      : h('div', { class: 'side-run' }, h('a', { href: runHref(view, runID) }, run ? typeLabel(view, run.type) : 'Run', ' ', h('span', { class: 'mono dim' }, `#${runID}`)),
        run ? [runState(run), h('span', { class: 'soft' }, when(run.completed_at ?? run.started_at))] : null),
    value === undefined || value === null ? h('p', { class: 'soft' }, 'It saw no such object, or did not say.') : members(value, other, runID));
}

/** @param {any} value @param {any} other @param {any} runID */
function members(value, other, runID) {
  if (typeof value !== 'object' || Array.isArray(value)) return h('div', { class: 'tree' }, typeof value === 'object' ? tree(value) : leaf(value));
  // The run stands above already.
  const said = Object.entries(value).filter(([key, each]) => key !== 'operation_run_id' || String(each) !== String(runID));
  return h('dl', { class: 'evidence' }, said.map(([key, each]) => {
    const differs = JSON.stringify(each) !== JSON.stringify(other?.[key]);
    return h('div', { class: differs ? 'differs' : null }, h('dt', null, h('bdi', null, key), differs ? h('span', { class: 'unseen' }, ', differs') : null),
      h('dd', null, each !== null && typeof each === 'object' ? tree(each) : h('span', { class: 'tree' }, leaf(each))));
  }));
}

/** What else the evidence says. @param {any} evidence */
function rest(evidence) {
  if (evidence === null || typeof evidence !== 'object' || Array.isArray(evidence)) return card('What was said', h('div', { class: 'pad' }, h('div', { class: 'tree' }, leafOrTree(evidence))));
  const others = Object.fromEntries(Object.entries(evidence).filter(([key]) => key !== 'baseline' && key !== 'current'));
  return Object.keys(others).length ? card('What else is known', h('div', { class: 'pad' }, tree(others))) : null;
}

/** @param {any} value */
function leafOrTree(value) { return value !== null && typeof value === 'object' ? tree(value) : leaf(value); }

/** @param {any} view @param {string} path */
function diff(view, path) {
  return region(view, { label: 'diff', skeleton: lines(4), load: (signal) => get(`${path}/diff`, {}, signal), render: (answer) => {
    if (!answer.run || !answer.against) {
      return h('p', { class: 'pad soft' }, `The ${answer.run ? 'baseline' : 'current'} run is not known, so there is nothing to compare.`);
    }
    return comparison(answer, ['Baseline', 'Current']);
  } });
}

/** @param {any} view @param {any} f */
function factList(view, f) {
  const of = (/** @type {string} */ key, /** @type {any} */ value, /** @type {any} */ text = value) =>
    (value === null ? null : h('a', { href: href(`${view.base}/findings`, { [key]: value }) }, h('bdi', null, text)));
  /** @type {[string, any][]} */
  const rows = [
    ['Type', of('finding_type', f.finding_type)], ['Tenant', of('tenant_id', f.tenant_id)],
    ['Subject', f.subject_type === null ? null : h('bdi', null, f.subject_type)],
    ['Found', when(f.created_at, { full: true })], ['Changed', when(f.updated_at, { full: true })],
    ['Acknowledged', f.acknowledged_at ? when(f.acknowledged_at, { full: true }) : null],
    ['By user', f.acknowledged_by_user_id === null ? null : String(f.acknowledged_by_user_id)],
    ['Known to the directory as', f.subject_external_id === null ? null
      : [h('bdi', { class: 'mono' }, f.subject_external_id), ' ', h('a', { class: 'inline', href: href(`${view.base}/inventory`, { external_id: f.subject_external_id }) }, 'in the inventory')]],
    ['Scope', f.scope_key === null ? null : h('span', { class: 'mono' }, of('scope_key', f.scope_key))],
    ['Fingerprint', h('bdi', { class: 'mono' }, f.fingerprint)],
  ];
  return h('dl', { class: 'facts pad' }, rows.filter(([, value]) => value !== null).map(([label, value]) =>
    h('div', { class: ['Scope', 'Fingerprint', 'Known to the directory as'].includes(label) ? 'wide' : null }, h('dt', null, label), h('dd', null, value))));
}
