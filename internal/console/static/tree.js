// @ts-check
// JSON as a tree that a person reads: folded where it is long, with links where an id is known.
import { h } from './dom.js';

/** How many members are shown before one asks for the rest. */
const some = 100;

/**
 * @param {any} value @param {(key: string, value: any) => any} [link] what stands for a member's value, if
 *   anything but its text
 */
export function tree(value, link = () => null) {
  return h('div', { class: 'tree' }, node(null, value, '', link, 0));
}

/** @param {string | null} key @param {any} value @param {string} path @param {(key: string, value: any) => any} link @param {number} depth */
function node(key, value, path, link, depth) {
  const label = key === null ? null : h('span', { class: 'key' }, h('bdi', null, key), ': ');
  const members = value !== null && typeof value === 'object'
    ? Object.entries(value).map(([k, v]) => ({ k: Array.isArray(value) ? null : k, v, at: `${path}/${k}` })) : null;
  if (!members) return h('div', null, label, (key === null ? null : link(key, value)) ?? leaf(value));
  const word = Array.isArray(value) ? `[${members.length}]` : `{${members.length}}`;
  if (!members.length) return h('div', null, label, h('span', { class: 'literal' }, Array.isArray(value) ? '[ ]' : '{ }'));
  const rows = h('ul', null);
  const more = (/** @type {number} */ from) => {
    rows.append(...members.slice(from, from + some).map(({ k, v, at }) => h('li', null, node(k, v, at, link, depth + 1))));
    if (members.length > from + some) {
      const rest = h('li', null, h('button', { class: 'quiet', onclick: () => { rest.remove(); more(from + some); } },
        `${members.length - from - some} more`));
      rows.append(rest);
    }
  };
  more(0);
  if (key === null && depth === 0) return rows;
  return h('details', { open: depth < 2 || members.length <= 4, 'data-path': path },
    h('summary', null, label, h('span', { class: 'dim' }, word)), rows);
}

/** @param {any} value */
export function leaf(value) {
  if (typeof value === 'string') return h('bdi', { class: 'string' }, `“${value}”`);
  if (typeof value === 'number') return h('span', { class: 'number' }, String(value));
  return h('span', { class: 'literal' }, String(value));
}

/** A value in a line: short where it is long. @param {any} value */
export function brief(value) {
  if (value === null || typeof value !== 'object') return leaf(value);
  const text = JSON.stringify(value);
  return h('bdi', { title: text.length > 80 ? text.slice(0, 2000) : null }, text.length > 80 ? `${text.slice(0, 79)}…` : text);
}
