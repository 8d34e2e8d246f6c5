// @ts-check
// Two runs side by side: what moved, and what did not need to be said.
import { h } from './dom.js';
import { brief } from './tree.js';
import { duration } from './time.js';
import { number, sentence } from './words.js';

/** What a comparison of the interface says, or that there is nothing to say. @param {any} diff @param {string[]} [sides] what the two are called */
export function comparison(diff, [then, now] = ['Then', 'This run']) {
  const counts = diff.counts.filter((/** @type {any} */ c) => c.change !== 0);
  const failures = diff.failures.filter((/** @type {any} */ f) => f.change !== 0);
  const longer = diff.duration.change_seconds;
  const rows = [
    ...(longer === null ? [] : [['Duration', duration(diff.duration.before_seconds), duration(diff.duration.after_seconds),
      delta(longer, (n) => duration(n))]]),
    ...failures.map((/** @type {any} */ f) => [h('code', null, h('bdi', null, f.code)), number(f.before), number(f.after), delta(f.change, number, 'bad')]),
    ...counts.map((/** @type {any} */ c) => [sentence(c.name), c.before === null ? '–' : number(c.before),
      c.after === null ? '–' : number(c.after), delta(c.change, number, c.name === 'failed' ? 'bad' : '')]),
  ];
  const same = diff.counts.length - counts.length + diff.failures.length - failures.length;
  return [
    rows.length ? table('What moved', ['', then, now, 'Change'], rows) : null,
    diff.context.length ? table('Where the contexts differ', ['Context', then, now], diff.context.map((/** @type {any} */ c) => [
      h('code', null, h('bdi', null, c.path || '/')),
      c.kind === 'added' ? h('span', { class: 'none' }, 'not there') : h('span', { class: 'was' }, brief(c.before)),
      c.kind === 'removed' ? h('span', { class: 'none' }, 'not there') : brief(c.after)])) : null,
    !rows.length && !diff.context.length ? h('p', { class: 'pad soft' }, 'Nothing differs: counts, failures, context and duration are the same.')
      : same ? h('p', { class: 'pad hint' }, `${number(same)} ${same === 1 ? 'count is' : 'counts are'} the same in both.`) : null,
  ];
}

/** @param {string} caption @param {string[]} heads @param {any[][]} rows */
function table(caption, heads, rows) {
  const kind = (/** @type {number} */ i) => (heads.length === 4 && i > 0 ? 'num' : null);
  return h('div', { class: 'scroll', role: 'group', 'aria-label': caption, tabindex: '0' }, h('table', { class: 'nested' },
    h('caption', { class: 'unseen' }, caption),
    h('thead', null, h('tr', null, heads.map((t, i) => h('th', { scope: 'col', class: kind(i) }, t || h('span', { class: 'unseen' }, 'What'))))),
    h('tbody', null, rows.map((cells) => h('tr', null, cells.map((c, i) => (i ? h('td', { class: kind(i) }, c)
      : h('th', { scope: 'row' }, c))))))));
}

/** @param {number} change @param {(n: number) => string} say @param {string} [more] the tone of more */
function delta(change, say, more = '') {
  const sign = change > 0 ? '+' : change < 0 ? '−' : '±';
  const tone = more && change > 0 ? `tone-${more}` : more && change < 0 ? 'tone-good' : '';
  return h('span', { class: `delta ${tone}` }, sign, say(Math.abs(change)));
}
