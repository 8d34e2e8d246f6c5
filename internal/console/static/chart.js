// @ts-check
// Small charts. Each has its numbers beside it as a table; the drawing itself is for the eye alone.
import { h, s } from './dom.js';
import { absolute } from './time.js';

/** @typedef {{at: Date, before: Date, label: string}} Bucket */

/**
 * The buckets of a range that ends now, the empty ones too.
 * @param {'hour' | 'day' | 'week'} size @param {number} n how many @param {Date} now @param {boolean} utc @returns {Bucket[]}
 */
export function buckets(size, n, now, utc) {
  const start = (/** @type {number} */ back) => {
    if (size === 'hour') {
      const hour = new Date(now);
      hour.setUTCMinutes(0, 0, 0);
      // Zones that are half an hour off have their own full hours.
      const off = utc ? 0 : (hour.getTimezoneOffset() % 60) * 60000;
      const at = hour.getTime() + off;
      return new Date((at > now.getTime() ? at - 3600000 : at) - back * 3600000);
    }
    const [y, m, d, w] = utc ? [now.getUTCFullYear(), now.getUTCMonth(), now.getUTCDate(), now.getUTCDay()]
      : [now.getFullYear(), now.getMonth(), now.getDate(), now.getDay()];
    const day = size === 'day' ? d - back : d - ((w + 6) % 7) - 7 * back;
    return utc ? new Date(Date.UTC(y, m, day)) : new Date(y, m, day);
  };
  return Array.from({ length: n }, (_, i) => {
    const at = start(n - 1 - i);
    return { at, before: i === n - 1 ? now : start(n - 2 - i), label: label(at, size, utc) };
  });
}

/** @param {Date} at @param {string} size @param {boolean} utc */
function label(at, size, utc) {
  const [date, time] = absolute(at, utc, false).split(', ');
  return size === 'hour' ? time.slice(0, 5) : date.replace(/ \d{4}$/, '');
}

const width = 760;
const left = 40;

/**
 * Columns that stand on a line and hang from it: what went well above, what did not below, so that
 * no colour is needed to tell them apart.
 * @param {{label: string, title: string, href: string, up: [string, number][], down: [string, number][]}[]} columns
 *   each part with the class of its colour
 */
export function columns(columns) {
  const sum = (/** @type {[string, number][]} */ parts) => parts.reduce((n, [, part]) => n + part, 0);
  const up = Math.max(1, ...columns.map((c) => sum(c.up)));
  const down = Math.max(0, ...columns.map((c) => sum(c.down)));
  const scale = 104 / (up + down);
  const zero = 8 + up * scale;
  const bottom = zero + Math.max(down * scale, 2);
  const step = (width - left - 12) / columns.length;
  const wide = Math.max(2, Math.min(22, step - 3));
  return s('svg', { class: 'chart', viewBox: `0 0 ${width} ${bottom + 20}`, 'aria-hidden': 'true' },
    s('pattern', { id: 'hatch', width: 5, height: 5, patternUnits: 'userSpaceOnUse', patternTransform: 'rotate(45)' },
      s('rect', { class: 'stripe', width: 1.6, height: 5 })),
    s('text', { x: left - 8, y: 12, 'text-anchor': 'end' }, up),
    down * scale > 14 ? s('text', { x: left - 8, y: bottom, 'text-anchor': 'end' }, down) : null,
    columns.map((c, i) => {
      const x = left + i * step + (step - wide) / 2;
      let above = zero;
      let below = zero + 1;
      return s('a', { class: 'column', href: c.href, tabindex: '-1' }, s('title', null, c.title),
        s('rect', { class: 'hit', x: left + i * step, y: 0, width: step, height: bottom + 20 }),
        c.up.map(([kind, n]) => {
          above -= n * scale;
          if (!n) return null;
          const box = { x, y: above, width: wide, height: n * scale, rx: 1 };
          // Hatched, because green and brown are one colour to some.
          return [s('rect', { class: kind, ...box }), kind === 'fill-warn' ? s('rect', { fill: 'url(#hatch)', ...box }) : null];
        }),
        c.down.map(([kind, n]) => { const y = below; below += n * scale; return n ? s('rect', { class: kind, x, y, width: wide, height: Math.max(2, n * scale), rx: 1 }) : null; }));
    }),
    s('line', { class: 'axis', x1: left, x2: width, y1: zero + 0.5, y2: zero + 0.5 }),
    ticks(columns.map((c) => c.label), step, bottom + 16));
}

/** Rates from 0 to 1 over time; null is a gap. @param {{label: string, rate: number | null}[]} points */
export function rates(points) {
  const step = (width - left - 12) / points.length;
  const y = (/** @type {number} */ rate) => 8 + (1 - rate) * 52;
  const at = points.map((p, i) => (p.rate === null ? null : /** @type {[number, number]} */ ([left + (i + 0.5) * step, y(p.rate)])));
  return s('svg', { class: 'chart', viewBox: `0 0 ${width} 68`, 'aria-hidden': 'true' },
    [1, 0.5, 0].map((r) => [s('line', { class: 'rule', x1: left, x2: width, y1: y(r), y2: y(r) }),
      s('text', { x: left - 8, y: y(r) + 4, 'text-anchor': 'end' }, `${r * 100}%`)]),
    s('path', { class: 'curve', d: line(at) }),
    at.map((p) => p && s('circle', { class: 'fill-live', cx: p[0], cy: p[1], r: 2.6 })));
}

/** A line in a row of text: one curve, or two of which the second is dashed. @param {(number | null)[]} one @param {(number | null)[]} two */
export function spark(one, two) {
  const most = Math.max(...[...one, ...two].map((n) => n ?? 0), 1e-9);
  const points = (/** @type {(number | null)[]} */ values) => values.map((n, i) => (n === null ? null
    : /** @type {[number, number]} */ ([2 + (i * 146) / Math.max(1, values.length - 1), 25 - (n / most) * 22])));
  const first = points(one);
  return s('svg', { class: 'spark', viewBox: '0 0 150 28', 'aria-hidden': 'true' },
    s('path', { class: 'curve second', d: line(points(two)) }), s('path', { class: 'curve', d: line(first) }),
    first.map((p, i) => (p && !first[i - 1] && !first[i + 1] ? s('circle', { class: 'fill-live', cx: p[0], cy: p[1], r: 1.8 }) : null)));
}

/** @param {([number, number] | null)[]} points */
function line(points) {
  return points.map((p, i) => (p ? `${points[i - 1] ? 'L' : 'M'}${p[0].toFixed(1)} ${p[1].toFixed(1)}` : '')).join('');
}

/** @param {string[]} labels @param {number} step @param {number} y */
function ticks(labels, step, y) {
  const every = Math.ceil(labels.length / 7);
  return labels.map((text, i) => ((labels.length - 1 - i) % every === 0
    ? s('text', { x: left + (i + 0.5) * step, y, 'text-anchor': 'middle' }, text) : null));
}

/** The numbers of a chart, for everybody who would rather read. @param {string} title @param {string[]} heads @param {any[][]} rows */
export function numbers(title, heads, rows) {
  return h('details', { class: 'numbers', 'data-path': title }, h('summary', null, title),
    h('div', { class: 'scroll', role: 'group', 'aria-label': title, tabindex: '0' }, h('table', { class: 'nested' },
      h('caption', { class: 'unseen' }, title),
      h('thead', null, h('tr', null, heads.map((t, i) => h('th', { scope: 'col', class: i ? 'num' : null }, t)))),
      h('tbody', null, rows.map(([first, ...rest]) => h('tr', null, h('th', { scope: 'row' }, first),
        rest.map((c) => h('td', { class: 'num' }, c))))))));
}
