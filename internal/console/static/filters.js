// @ts-check
// Filters of a list. They live in the address, so that a link can be shared and back works.
import { h, put } from './dom.js';
import { go, here, href } from './router.js';
import { settings } from './settings.js';
import { when } from './clock.js';
import { fromInput, toInput } from './time.js';

/**
 * @typedef {{key: string, label: string, kind: 'many' | 'one' | 'text' | 'instant', hint?: string, more?: boolean,
 *   options?: [string, string][], pattern?: string}} Filter
 */

/** The filters' values in an address, and none of anything else. @param {Filter[]} filters @param {URLSearchParams} query */
export function values(filters, query) {
  /** @type {Record<string, string>} */
  const found = {};
  for (const { key } of filters) {
    const value = query.get(key);
    if (value) found[key] = value;
  }
  return found;
}

/** Goes to the same list with other filters, at its first page. @param {Record<string, string>} changed */
function apply(changed) {
  const { path, query } = here();
  const next = Object.fromEntries([...query].filter(([key]) => key !== 'cursor'));
  go(href(path, { ...next, ...changed }).slice('/console'.length));
}

/** A bar of filters. @param {Filter[]} filters @param {URLSearchParams} query @param {any} [aside] */
export function bar(filters, query, aside = null) {
  const current = values(filters, query);
  const plain = filters.filter((f) => !f.more);
  const more = filters.filter((f) => f.more);
  return h('div', { class: 'filters' },
    h('div', { class: 'filter-row' },
      plain.map((filter, i) => menu(filter.label, [filter], current, i === 0)),
      more.length ? menu('More filters', more, current, plain.length === 0) : null,
      h('span', { class: 'gap' }), aside),
    chips(filters, current));
}

/** @param {string} label @param {Filter[]} filters @param {Record<string, string>} current @param {boolean} first */
function menu(label, filters, current, first) {
  const active = filters.filter((f) => current[f.key]).length;
  const body = h('div', { class: 'menu-body' });
  const details = h('details', { class: 'menu', ontoggle: () => {
    if (!details.open) { put(body); return; }
    put(body, form(filters, current));
    body.querySelector('input, select')?.focus();
  } },
  h('summary', { class: 'button', 'data-search': first || null }, label, active ? h('span', { class: 'dot', 'aria-label': 'in use' }) : null), body);
  return details;
}

/** @param {Filter[]} filters @param {Record<string, string>} current */
function form(filters, current) {
  const fields = filters.map((filter) => ({ filter, ...field(filter, current[filter.key] ?? '') }));
  return h('form', { class: 'filter-form', onsubmit: (/** @type {Event} */ event) => {
    event.preventDefault();
    apply(Object.fromEntries(fields.map(({ filter, read }) => [filter.key, read()])));
  } },
  h('div', { class: 'filter-fields' }, fields.map(({ node }) => node)),
  h('div', { class: 'filter-foot' }, h('button', { class: 'primary', type: 'submit' }, 'Apply'),
    h('button', { type: 'button', onclick: () => apply(Object.fromEntries(filters.map((f) => [f.key, '']))) }, 'Clear')));
}

/** @param {Filter} filter @param {string} value @returns {{node: any, read: () => string}} */
function field(filter, value) {
  const id = `filter-${filter.key}`;
  if (filter.kind === 'many') return many(filter, value);
  if (filter.kind === 'one') {
    const select = h('select', { id }, h('option', { value: '' }, 'Any'), (filter.options ?? []).map(([key, label]) =>
      h('option', { value: key, selected: key === value }, label)));
    return { node: h('p', { class: 'field' }, h('label', { for: id }, filter.label), select), read: () => select.value };
  }
  const instant = filter.kind === 'instant';
  const input = h('input', { id, type: instant ? 'datetime-local' : 'text', pattern: filter.pattern, autocomplete: 'off',
    value: instant ? toInput(value, settings.utc) : value, spellcheck: 'false' });
  const label = instant ? `${filter.label} (${settings.utc ? 'UTC' : 'your time'})` : filter.label;
  return {
    node: h('p', { class: 'field' }, h('label', { for: id }, label), input, filter.hint ? h('span', { class: 'hint' }, filter.hint) : null),
    // A value that has not been touched keeps its seconds.
    read: () => (instant ? (input.value === toInput(value, settings.utc) ? value : fromInput(input.value, settings.utc)) : input.value.trim()),
  };
}

/** @param {Filter} filter @param {string} value @returns {{node: any, read: () => string}} */
function many(filter, value) {
  const chosen = value ? value.split(',') : [];
  const options = [...(filter.options ?? [])];
  for (const each of chosen) if (!options.some(([key]) => key === each)) options.push([each, each]);
  const boxes = options.map(([key, label]) => {
    const box = h('input', { type: 'checkbox', value: key, id: `filter-${filter.key}-${key}` });
    box.checked = chosen.includes(key);
    return { box, node: h('p', { class: 'check' }, box, h('label', { for: box.id }, label)) };
  });
  return {
    node: h('fieldset', null, h('legend', null, filter.label), boxes.map(({ node }) => node)),
    read: () => boxes.filter(({ box }) => box.checked).map(({ box }) => box.value).join(','),
  };
}

/** @param {Filter[]} filters @param {Record<string, string>} current */
function chips(filters, current) {
  const active = filters.filter((f) => current[f.key]);
  if (!active.length) return null;
  return h('ul', { class: 'chips', 'aria-label': 'Filters in use' }, active.map((f) => h('li', null,
    h('span', { class: 'chip-key' }, f.label), h('bdi', null, shownValue(f, current[f.key])),
    h('button', { 'aria-label': `Remove the filter ${f.label}`, onclick: () => apply({ [f.key]: '' }) }, '×'))),
  h('li', { class: 'chip-all' }, h('button', { class: 'quiet', onclick: () => apply(Object.fromEntries(active.map((f) => [f.key, '']))) }, 'Clear all')));
}

/** @param {Filter} filter @param {string} value */
function shownValue(filter, value) {
  if (filter.kind === 'instant') return when(value, { full: true });
  const label = (/** @type {string} */ v) => filter.options?.find(([key]) => key === v)?.[1] ?? v;
  return filter.kind === 'many' ? value.split(',').map(label).join(', ') : label(value);
}
