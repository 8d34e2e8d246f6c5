// @ts-check
import { all } from '../api.js';
import { when } from '../clock.js';
import { h, name } from '../dom.js';
import { empty, region } from '../region.js';
import { href } from '../router.js';

/** The workspaces of whoever looks. @param {any} view */
export function workspaces(view) {
  const list = region(view, {
    load: (signal) => all('/workspaces', { limit: 200 }, signal),
    render: (rows) => (rows.length ? table(rows) : empty('You are a member of no workspace',
      'Whoever runs this installation can make you one. Until then there is nothing to see here.')),
  });
  return {
    title: 'Workspaces',
    node: h('div', { class: 'page narrow' }, h('div', { class: 'page-head' }, h('h1', { tabindex: '-1' }, 'Workspaces')), list.node),
  };
}

/** @param {any[]} rows */
function table(rows) {
  return h('div', { class: 'table-box' }, h('table', null,
    h('thead', null, h('tr', null, ['Name', 'Short name', 'Your role', 'Since'].map((t) => h('th', { scope: 'col' }, t)))),
    h('tbody', null, rows.map((w) => h('tr', null,
      h('td', null, h('a', { href: href(`/workspaces/${w.id}`), 'data-row': true, class: 'strong' }, name(w.name)),
        w.archived_at ? h('span', { class: 'tag' }, 'archived') : null),
      h('td', { class: 'mono' }, w.slug ?? '–'), h('td', null, w.role), h('td', null, when(w.created_at)))))));
}
