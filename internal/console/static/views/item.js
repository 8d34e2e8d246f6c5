// @ts-check
import { again } from '../again.js';
import { get } from '../api.js';
import { when } from '../clock.js';
import { h, name, put } from '../dom.js';
import { card, lines, region } from '../region.js';
import { href } from '../router.js';
import { runHref, typeLabel } from '../runrow.js';
import { leaf, tree } from '../tree.js';
import { icon, runState, state } from '../words.js';

/** One inventory item. @param {any} view */
export function item(view) {
  const { id } = view.parameters;
  const path = `${view.base}/inventory-items/${id}`;
  const heading = h('h1', { tabindex: '-1' }, `Item #${id}`);
  const marks = h('div', { class: 'finding-marks' });
  let was = '';
  const page = region(view, { main: true, label: 'item', skeleton: lines(10), load: (signal) => get(path, {}, signal), render: (found) => {
    was = JSON.stringify(found);
    const title = found.display_name ?? found.external_id;
    view.title(title);
    put(heading, name(title), ' ', h('span', { class: 'mono dim' }, `#${id}`));
    put(marks, h('bdi', { class: 'soft' }, found.policy_type), found.recalled ? state('recalled') : null);
    return [
      found.recalled ? h('div', { class: 'note' }, icon('recalled'), h('p', null, h('strong', null, 'Not to be trusted. '),
        'The run that last saw it was recalled. A newer sync replaces what it saw.')) : null,
      h('div', { class: 'grid' }, h('div', { class: 'stack span8' }, card('What is known of it', h('div', { class: 'pad' }, meta(found.meta)))),
        h('div', { class: 'stack span4' }, card('Last seen', seen(view, found)), card('Facts', facts(view, found))))];
  } });
  const persist = again(view.signal, () => look());
  // What shows is put in anew only where it is another: somebody may be reading in the tree.
  async function look() {
    if (!was) return;
    try {
      const changed = JSON.stringify(await get(path, {}, view.signal)) !== was;
      persist.had();
      if (changed) page.reload({ quiet: true });
    } catch (error) { persist.failed(error); } // what shows is better than nothing
  }

  return {
    title: `Item #${id}`,
    node: h('div', { class: 'page' }, h('div', { class: 'page-head' }, h('p', { class: 'crumb' }, h('a', { href: href(`${view.base}/inventory`) }, 'Inventory'), ` / #${id}`),
      heading, marks), page.node),
    resync: look,
  };
}

/** @param {any} value */
function meta(value) {
  if (value === null || (typeof value === 'object' && !Object.keys(value).length)) return h('p', { class: 'soft' }, 'Nothing further was recorded.');
  return typeof value === 'object' ? tree(value) : h('div', { class: 'tree' }, leaf(value));
}

/** @param {any} view @param {any} found */
function seen(view, found) {
  const { last_seen_operation_run_id: runID, last_seen_operation_run: run } = found;
  return h('div', { class: 'pad stack-small' },
    h('p', null, when(found.last_seen_at, { full: true, none: 'It is not known when.' })),
    runID === null ? h('p', { class: 'soft' }, 'The run that saw it is not known.') : [
      h('div', { class: 'side-run' }, h('a', { href: runHref(view, runID) }, run ? typeLabel(view, run.type) : 'Run', ' ', h('span', { class: 'mono dim' }, `#${runID}`)), run ? runState(run) : null),
      h('p', { class: 'ways' }, h('a', { href: href(`${view.base}/inventory`, { last_seen_operation_run_id: runID }) }, 'What else it was the last to see'), ' · ',
        h('a', { href: href(`${view.base}/findings`, { current_operation_run_id: runID }) }, 'Findings in what it saw'))]);
}

/** @param {any} view @param {any} found */
function facts(view, found) {
  const same = (/** @type {string} */ key, /** @type {any} */ value) => (value === null ? null
    : h('a', { href: href(`${view.base}/inventory`, { [key]: value }) }, h('bdi', null, value)));
  /** @type {[string, any][]} */
  const rows = [
    ['Policy type', same('policy_type', found.policy_type)], ['Category', same('category', found.category)],
    ['Platform', same('platform', found.platform)], ['Tenant', same('tenant_id', found.tenant_id)],
    ['First seen', when(found.created_at, { full: true })], ['Changed', when(found.updated_at, { full: true })],
    ['Known to the directory as', h('bdi', { class: 'mono' }, found.external_id)],
  ];
  return h('dl', { class: 'facts pad' }, rows.filter(([, value]) => value !== null).map(([label, value]) =>
    h('div', { class: label === 'Known to the directory as' ? 'wide' : null }, h('dt', null, label), h('dd', null, value))));
}
