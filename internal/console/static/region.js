// @ts-check
// A part of a page that is loaded by itself: a skeleton at first, then what came, an error with a way
// to try again, or a word on why there is nothing.
import { again } from './again.js';
import { Problem } from './api.js';
import { h, put, renew } from './dom.js';

/**
 * @param {any} view the view that the part belongs to
 * @param {{load: (signal: AbortSignal) => Promise<any>, render: (value: any) => any, skeleton?: any,
 *   main?: boolean, label?: string}} options main: without it the view is nothing
 */
export function region(view, { load, render, skeleton = lines(4), main = false, label }) {
  const node = h('div', { class: 'region', 'aria-busy': 'true', 'data-region': label ?? null }, skeleton);
  let turn = 0;
  let shown = false;
  let failed = '';
  const persist = again(view.signal, () => reload({ quiet: true }));
  async function reload({ quiet = false } = {}) {
    const mine = ++turn;
    if (!quiet || !shown) {
      node.setAttribute('aria-busy', 'true');
      // An error that passes stays until it has: else it would come and go, and be read out each time.
      if (!shown && !(quiet && failed)) put(node, skeleton);
    }
    try {
      const value = await load(view.signal);
      if (mine !== turn || view.signal.aborted) return;
      if (quiet && shown) renew(node, render(value));
      else put(node, render(value));
      shown = true;
      failed = '';
      persist.had();
    } catch (error) {
      if (mine !== turn || view.signal.aborted) return;
      if (main && error instanceof Problem && error.status === 404) { view.lost(); return; }
      const passing = persist.failed(error);
      if (quiet && shown) return; // what is shown is better than nothing; the next event tries again
      shown = false;
      const says = passing ? String(error) : '';
      if (!quiet || !says || says !== failed) put(node, failure(error, () => { put(node, skeleton); reload(); }));
      failed = says;
    }
    if (mine === turn) node.removeAttribute('aria-busy');
  }
  reload();
  return { node, reload };
}

/** What an error looks like. @param {any} error @param {() => void} [retry] */
export function failure(error, retry) {
  const problem = error instanceof Problem ? error : null;
  if (!problem) console.error(error);
  return h('div', { class: 'failure', role: 'alert' },
    h('strong', null, problem?.title ?? 'This could not be shown'),
    h('p', null, problem?.message ?? 'Something unexpected was in the answer.'),
    problem?.faults.length ? h('ul', null, problem.faults.map((/** @type {any} */ f) =>
      h('li', null, h('code', null, f.parameter ?? f.pointer ?? ''), ' ', f.detail))) : null,
    h('p', { class: 'failure-foot' },
      retry ? h('button', { onclick: retry }, 'Try again') : null,
      problem?.requestID ? h('span', { class: 'hint' }, 'Request ', h('code', null, problem.requestID)) : null));
}

/** What stands where there is nothing, and why. @param {string} title @param {...any} text */
export function empty(title, ...text) {
  return h('div', { class: 'empty' }, h('strong', null, title), h('p', null, text));
}

/** Grey lines where text will be. @param {number} n */
export function lines(n) {
  return h('div', { class: 'skeleton', 'aria-hidden': 'true' }, Array.from({ length: n }, (_, i) =>
    h('span', { class: `w${1 + ((i * 7) % 5)}` })));
}

/** A titled part of a page. @param {string} title @param {any} content @param {any} [aside] */
export function card(title, content, aside = null) {
  return h('section', { class: 'card' },
    h('div', { class: 'card-head' }, h('h2', null, title), aside), content);
}
