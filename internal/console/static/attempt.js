// @ts-check
// Writing, with an answer where it was asked for.
import { Problem } from './api.js';
import { h, put } from './dom.js';

/**
 * Does what a button is for, which cannot be pressed meanwhile, and says why it could not be done.
 * @param {any} button @param {any} trouble where to say it @param {() => Promise<void>} work
 */
export async function attempt(button, trouble, work) {
  put(trouble);
  const held = document.activeElement === button;
  button.disabled = true; // which takes the focus away
  try { await work(); } catch (error) {
    if (!(error instanceof Problem)) console.error(error);
    put(trouble, reasonOf(error), error instanceof Problem && error.faults.length
      ? h('ul', null, error.faults.map((/** @type {any} */ f) => h('li', null, f.detail))) : null);
  } finally {
    button.disabled = false;
    if (held && button.isConnected && document.activeElement === document.body) button.focus();
  }
}

/** @param {any} error */
function reasonOf(error) {
  if (!(error instanceof Problem)) return 'This could not be done.';
  if (error.status === 412) return 'Somebody else has changed it meanwhile, so nothing was done. Look again, and decide anew.';
  return error.message;
}
