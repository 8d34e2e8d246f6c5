// @ts-check
// What a schedule's retention keeps and what it would let go.
import { get } from './api.js';
import { took, when } from './clock.js';
import { h, put } from './dom.js';
import { empty, failure, lines, region } from './region.js';
import { runHref } from './runrow.js';
import { count, number, runState } from './words.js';

/** @param {any} view @param {string} path @param {any} schedule */
export function retention(view, path, schedule) {
  const kinds = /** @type {const} */ (['keep', 'release', 'without_backup']);
  const texts = {
    keep: ['Kept', 'the newest backups'],
    release: ['Would be let go', 'older than those'],
    without_backup: ['Made no backup', 'or a recalled one; they take nobody’s place'],
  };
  /** @type {Record<string, any[]>} */
  let runs = { keep: [], release: [], without_backup: [] };
  let cursor = '';
  const page = region(view, { label: 'retention', skeleton: lines(8), load: (signal) => load(signal, ''), render: (answer) => {
    runs = { keep: [], release: [], without_backup: [] };
    take(answer);
    return body(answer.keep_last);
  } });

  /** @param {AbortSignal} signal @param {string} from */
  function load(signal, from) { return get(`${path}/retention`, { limit: 200, cursor: from }, signal); }

  /** @param {any} answer */
  function take(answer) {
    for (const kind of kinds) runs[kind].push(...answer[kind]);
    cursor = answer.next_cursor ?? '';
  }

  /** @param {number} keeps */
  function body(keeps) {
    if (!kinds.some((kind) => runs[kind].length)) {
      return empty('There is nothing to keep yet', 'No run of this schedule has ended. It will keep its newest ', count(keeps, 'backup'), '.');
    }
    const more = cursor ? '+' : '';
    const trouble = h('div', null);
    return [
      h('p', { class: 'retention-sum' }, `It keeps its newest ${count(keeps, 'backup')}. `, runs.release.length
        ? h('strong', null, `${number(runs.release.length)}${more} would be let go`) : 'None would be let go',
      schedule.deleted_at ? ', though it is deleted.' : '.', h('span', { class: 'hint' }, ' A preview: nothing is done by looking.')),
      h('div', { class: 'retention' }, kinds.map((kind) => h('section', { class: `card ${kind}` },
        h('div', { class: 'card-head' }, h('h2', null, texts[kind][0], ' ', h('span', { class: 'tag' }, `${number(runs[kind].length)}${kind === 'keep' ? '' : more}`)),
          h('span', { class: 'hint' }, texts[kind][1])),
        runs[kind].length ? h('ul', { class: 'rows', tabindex: '0', 'aria-label': texts[kind][0] }, runs[kind].map((run) => h('li', null,
          h('a', { class: 'mono', href: runHref(view, run.id), 'aria-label': `Run ${run.id}` }, `#${run.id}`), runState(run),
          h('span', { class: 'gap' }), h('span', { class: 'soft' }, when(run.completed_at)),
          h('span', { class: 'hint num took' }, took(run.started_at, run.completed_at)))))
          : h('p', { class: 'pad soft' }, 'None.')))),
      cursor ? h('p', { class: 'pager' }, h('button', { 'data-next': true, onclick: async (/** @type {any} */ event) => {
        event.target.disabled = true;
        try { take(await load(view.signal, cursor)); } catch (error) {
          event.target.disabled = false;
          if (!view.signal.aborted) put(trouble, failure(error));
          return;
        }
        put(page.node, body(keeps));
      } }, 'Older runs'), trouble) : null,
    ];
  }
  // A run that ends may move another out; a page that one has gone on from stays as it was.
  return { node: page.node, refresh: () => { if (!runs.release.length && !cursor) page.reload({ quiet: true }); } };
}
