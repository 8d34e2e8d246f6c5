// @ts-check
// A list, page by page. What is on the page stays where it is: rows change in place, and new ones
// announce themselves.
import { again, passes } from './again.js';
import { get } from './api.js';
import { announce, h, put, renew } from './dom.js';
import { bar, values } from './filters.js';
import { empty, region } from './region.js';
import { go, here, href } from './router.js';
import { count, number } from './words.js';

/**
 * @typedef {{title: string, kind?: string, cell: (row: any) => any}} Column
 * @typedef {{path: string, filters?: import('./filters.js').Filter[], columns: Column[], noun: [string, string],
 *   fixed?: Record<string, any>, none: any, limit?: number, counted?: string, caption: string, live?: boolean,
 *   aside?: any, mark?: (row: any) => string | null, keep?: Record<string, string>,
 *   countedWith?: Record<string, any>}} Options keep: what stays in the address beside the filters; countedWith:
 *   what the path says and the address of the count does not
 */

/**
 * @param {any} view @param {Options} options
 * @returns {{node: any, event: ((event: any) => void) | undefined, resync: () => void}} event: none if it does not follow
 */
export function list(view, options) {
  const { path, filters = [], columns, fixed = {}, limit = 50, keep = {} } = options;
  const chosen = values(filters, view.query);
  const cursor = view.query.get('cursor') ?? '';
  const query = { ...fixed, ...chosen };
  const news = h('div', { class: 'news', hidden: true });
  const total = h('span', { class: 'total hint' });
  /** @type {Map<string, {row: any, element: any}>} */
  const rows = new Map();

  /** @param {any} row @param {any} element */
  function paint(row, element) {
    renew(element, columns.map((c) => h('td', { class: c.kind ?? null }, c.cell(row))));
    element.className = options.mark?.(row) ?? '';
  }

  const page = region(view, {
    label: 'list',
    skeleton: skeletonTable(columns),
    load: (signal) => get(path, { ...query, limit, cursor }, signal),
    render: (answer) => {
      rows.clear();
      if (!answer.data.length) return cursor ? [empty('Nothing further', 'The list ends here.'), pager(null)] : nothing();
      const body = h('tbody', null, answer.data.map((/** @type {any} */ row) => {
        const element = h('tr', { 'data-id': row.id });
        paint(row, element);
        rows.set(String(row.id), { row, element });
        return element;
      }));
      return [h('div', { class: 'table-box' }, h('table', null, h('caption', { class: 'unseen' }, options.caption),
        h('thead', null, h('tr', null, columns.map((c) => h('th', { scope: 'col', class: c.kind ?? null }, c.title)))), body)),
      pager(answer.next_cursor)];
    },
  });

  function nothing() {
    if (!Object.keys(chosen).length) return options.none;
    return empty(`No ${options.noun[1]} match`, 'Take a filter away, or ',
      h('a', { href: href(here().path, keep) }, 'look at all of them'), '.');
  }

  /** @param {string | null} next */
  function pager(next) {
    const before = view.state?.before ?? null;
    const address = (/** @type {string | null} */ c) => href(here().path, { ...keep, ...chosen, cursor: c });
    const previous = before?.length ? before[before.length - 1] : null;
    return h('nav', { class: 'pager', 'aria-label': 'Pages' },
      cursor && !before ? h('a', { class: 'button', href: address(null), 'data-previous': true }, 'First page') : null,
      previous !== null ? h('a', { class: 'button', href: address(previous), 'data-previous': true,
        'data-state': JSON.stringify({ before: before.slice(0, -1) }) }, '← Previous') : null,
      next ? h('a', { class: 'button', href: address(next), 'data-next': true,
        'data-state': JSON.stringify({ before: [...(before ?? (cursor ? [] : [])), cursor] }) }, 'Next →') : null,
      next || cursor ? null : h('span', { class: 'hint' }, 'That is all.'));
  }

  const recount = again(view.signal, () => counts());
  async function counts() {
    if (!options.counted) return;
    try {
      const { count: n, relation } = await get(options.counted, { ...query, ...options.countedWith }, view.signal);
      put(total, relation === 'gte' ? `more than ${number(n)} ${options.noun[1]}` : count(n, ...options.noun));
      recount.had();
    } catch (error) { if (!recount.failed(error)) put(total); }
  }
  counts();

  const live = options.live ? follow(view, { path, query, rows, paint, news, counts, noun: options.noun, cursor, limit }) : null;
  return {
    node: h('div', { class: 'list' }, filters.length || options.aside ? bar(filters, view.query, [options.aside, total]) : null, news, page.node),
    event: live ? (event) => live.event(event) : undefined,
    resync: () => {
      if (live && rows.size) live.resync();
      else page.reload({ quiet: true });
      counts();
    },
  };
}

/**
 * Keeps the rows of a page true while events come in. No row comes, goes or moves by itself.
 * @param {any} view @param {any} page
 */
function follow(view, { path, query, rows, paint, news, counts, noun, cursor, limit }) {
  /** @type {Set<string>} */
  const changed = new Set();
  let since = ''; // since when something happened to runs that are not on the page
  let created = ''; // since when some of them were created
  let timer = 0;
  let asking = false;
  const persist = again(view.signal, () => settle());

  async function settle() {
    if (asking || view.signal.aborted) return;
    asking = true;
    try {
      // Beyond a few it is cheaper to ask for the page.
      if (changed.size > 6) {
        const answer = await get(path, { ...query, limit, cursor }, view.signal);
        for (const row of answer.data) {
          changed.delete(String(row.id));
          change(row);
        }
      }
      for (const id of [...changed]) {
        changed.delete(id);
        const row = await get(`${view.base}/operation-runs/${id}`, {}, view.signal).catch((error) => {
          if (passes(error)) changed.add(id);
          throw error;
        });
        change(row);
      }
      if (since) await lookForNew();
      persist.had();
    } catch (error) {
      persist.failed(error); // otherwise the next event tries again
      return;
    } finally { asking = false; }
    if (changed.size) soon();
  }

  /** @param {any} row */
  function change(row) {
    const known = rows.get(String(row.id));
    if (!known || !(row.revision > known.row.revision)) return;
    known.row = row;
    paint(row, known.element);
    known.element.classList.add('changed');
    window.setTimeout(() => known.element.classList.remove('changed'), 1600);
  }

  /** Whether a run that is not on the page would be, or stands before it. @param {any} row */
  function isNew(row) {
    if (rows.has(String(row.id))) return false;
    if (cursor) return created !== '' && row.created_at >= created;
    const shown = [...rows.values()];
    return shown.length < limit || row.created_at >= shown[shown.length - 1].row.created_at;
  }

  async function lookForNew() {
    if ((query.order && query.order !== '-created_at') || (cursor && !created)) return;
    const from = query.updated_from && query.updated_from > since ? query.updated_from : since;
    const answer = await get(path, { ...query, updated_from: from, limit: 200 }, view.signal);
    const fresh = answer.data.filter(isNew).length;
    if (!fresh) return;
    const text = `${answer.next_cursor ? 'More than ' : ''}${count(fresh, `new ${noun[0]}`, `new ${noun[1]}`)}`;
    if (news.dataset.text === text) return;
    news.dataset.text = text;
    put(news, h('button', { 'data-news': true, onclick: () => {
      const { query: q } = here();
      q.delete('cursor');
      go(href(here().path, Object.fromEntries(q)).slice('/console'.length), { replace: true });
    } }, text, ' – show'));
    news.hidden = false;
    announce(text);
    counts();
  }

  function soon() {
    if (timer) return;
    timer = window.setTimeout(() => { timer = 0; settle(); }, 300);
  }

  return {
    /** @param {any} event */
    event(event) {
      if (!event.run_id) return;
      if (rows.has(String(event.run_id))) changed.add(String(event.run_id));
      else if (event.kind !== 'heartbeat') {
        // Clocks of servers may differ a little.
        const at = new Date(Date.parse(event.at) - 1000).toISOString();
        if (!since || at < since) since = at;
        if (event.kind === 'created' && (!created || at < created)) created = at;
      } else return;
      soon();
    },
    /** After events were lost anything may have changed. */
    resync() {
      for (const id of rows.keys()) changed.add(id);
      const newest = [...rows.values()].map(({ row }) => row.created_at).sort().pop();
      since = since || newest || new Date(0).toISOString();
      // On a further page it is not known which of those before it are new: it announces none.
      soon();
    },
  };
}

/** @param {Column[]} columns */
function skeletonTable(columns) {
  return h('div', { class: 'table-box', 'aria-hidden': 'true' }, h('table', { class: 'skeleton-table' },
    h('tbody', null, Array.from({ length: 12 }, (_, i) => h('tr', null, columns.map((c, j) =>
      h('td', { class: c.kind ?? null }, h('span', { class: `bone w${1 + ((i * 3 + j * 5) % 5)}` }))))))));
}
