// @ts-check
// A line at the top of the page for whatever takes longer than a moment. It is for the eye alone: the
// parts of the page that wait are marked as busy themselves.
import { h } from './dom.js';

let pending = 0;
let timer = 0;
const line = h('div', { class: 'progress', 'aria-hidden': 'true', hidden: true });
document.body.prepend(line);

/** One more request is on its way. */
export function busy() {
  pending++;
  if (pending === 1) timer = window.setTimeout(() => { line.hidden = false; }, 300);
}

/** One request less is. */
export function idle() {
  pending--;
  if (pending > 0) return;
  window.clearTimeout(timer);
  line.hidden = true;
}
