// @ts-check
// What could not be had because the server or its database is away is asked for again by itself, until
// it is there or nobody looks at its view any more. As long as something is missing the page is not live.
import { Problem } from './api.js';

const shortestWait = 2000;
const longestWait = 30_000;

/** What has not come yet. @type {Set<{error: Problem, now: () => void}>} */
const missing = new Set();
let away = false;
/** @type {(away: boolean) => void} */
let listener = () => {};

/** Calls back when something begins to be missing, and when nothing is any more. @param {(away: boolean) => void} each */
export function onAway(each) { listener = each; }

/** @param {boolean} is */
function say(is) {
  if (is === away) return;
  away = is;
  listener(is);
}

/** Whether an error passes: nobody could answer, whatever was asked for. @param {any} error @returns {error is Problem} */
export function passes(error) { return error instanceof Problem && [0, 502, 503, 504].includes(error.status); }

/**
 * Does something again, later and later, as long as it fails with what passes.
 * @param {AbortSignal} signal of the view, which ends it
 * @param {() => void} work has to tell how it went
 */
export function again(signal, work) {
  let tries = 0;
  let timer = 0;
  const mine = { error: new Problem(0, null), now };
  function now() {
    window.clearTimeout(timer);
    timer = 0;
    work();
  }
  function stop() {
    window.clearTimeout(timer);
    timer = tries = 0;
    missing.delete(mine);
  }
  // It says nothing to that: the view that comes has its own requests, and they tell whether it is over.
  signal.addEventListener('abort', stop);
  function had() {
    stop();
    if (!missing.size) say(false);
  }
  return {
    had,
    /** @param {any} error @returns {boolean} whether it will be done again */
    failed(error) {
      if (signal.aborted) return false;
      if (!passes(error)) { had(); return false; } // somebody has answered
      mine.error = error;
      missing.add(mine);
      say(true);
      window.clearTimeout(timer); // somebody may have asked in between
      const wait = Math.min(longestWait, shortestWait * 2 ** Math.min(tries++, 10)) * (0.75 + Math.random() / 2);
      timer = window.setTimeout(now, Math.max(wait, error.retryAfter * 1000));
      return true;
    },
  };
}

/** Where one goes nothing is asked for: nothing is missing there. */
export function leave() { if (!missing.size) say(false); }

// Whoever had no network need not wait; who asked for time gets it.
window.addEventListener('online', () => { for (const each of [...missing]) if (each.error.status === 0) each.now(); });
