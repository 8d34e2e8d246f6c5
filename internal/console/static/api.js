// @ts-check
// The public interface, asked by the person who looks. There is no other.
import { proves, renew, token } from './auth.js';
import { busy, idle } from './progress.js';

/** An answer that is not what was asked for. */
export class Problem extends Error {
  /** @param {number} status 0 if there was no answer @param {any} body @param {number} [retryAfter] seconds that the server asks for */
  constructor(status, body, retryAfter = 0) {
    super(body?.detail || body?.title || 'The server gave an answer that cannot be read.');
    this.status = status;
    this.retryAfter = retryAfter;
    this.title = body?.title || (status ? `Answer ${status}` : 'No answer');
    this.requestID = body?.request_id ?? '';
    this.faults = Array.isArray(body?.errors) ? body.errors : [];
    this.run = body?.operation_run ?? null;
  }
}

/**
 * Reads JSON without losing the digits of large numbers: those beyond 2^53 become text.
 * @param {string} text
 */
export function parse(text) {
  if (!/\d{16}/.test(text)) return JSON.parse(text);
  return JSON.parse(text, /** @type {any} */ ((/** @type {string} */ _, /** @type {any} */ value, /** @type {any} */ context) =>
    typeof value === 'number' && !Number.isSafeInteger(value) && /^-?\d+$/.test(context?.source ?? '') ? context.source : value));
}

/**
 * An address of the interface with parameters; empty ones are left out.
 * @param {string} path @param {Record<string, any>} [query]
 */
export function address(path, query = {}) {
  const parameters = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== '') parameters.set(key, String(value));
  }
  const text = parameters.toString();
  return text ? `${path}?${text}` : path;
}

/**
 * Sends a request. A token that has expired is asked for again, and the request waits for it.
 * @param {string} path @param {RequestInit & {headers?: Record<string, string>}} [options]
 * @returns {Promise<Response>}
 */
export async function request(path, options = {}) {
  for (let again = false; ; again = true) {
    const used = token();
    let response;
    try {
      response = await fetch(path, {
        ...options, credentials: 'omit', headers: { ...options.headers, Authorization: `Bearer ${used}` },
      });
    } catch (error) {
      if (options.signal?.aborted) throw error;
      throw unreachable();
    }
    if (response.status === 401 && !again) {
      await renew(used);
      continue;
    }
    if (response.status !== 401 && response.status < 500) proves(used);
    return response;
  }
}

function unreachable() {
  return new Problem(0, { title: 'No answer', detail: 'The server cannot be reached. Check the connection and try again.' });
}

/** Seconds that an answer asks to wait before the next request, 0 if it does not. @param {Response} response */
function retryAfter(response) {
  const said = response.headers.get('Retry-After') ?? '';
  const seconds = /^\d+$/.test(said) ? Number(said) : (Date.parse(said) - Date.now()) / 1000;
  return seconds > 0 ? Math.min(seconds, 86_400) : 0; // a timer of more than 24 days would be none
}

/** @param {Response} response */
async function body(response) {
  const text = await response.text().catch((error) => {
    if (error.name === 'AbortError') throw error;
    throw unreachable(); // it broke off on the way
  });
  let value = null;
  try { value = text ? parse(text) : null; } catch { /* told below */ }
  if (!response.ok) throw new Problem(response.status, value, retryAfter(response));
  if (value === null) throw new Problem(response.status, null);
  return value;
}

/**
 * Reads. It tells on the page if it takes longer than a moment.
 * @param {string} path @param {Record<string, any>} [query] @param {AbortSignal} [signal]
 * @returns {Promise<any>}
 */
export async function get(path, query = {}, signal = undefined) {
  busy();
  try {
    return await body(await request(address(path, query), { signal, headers: { Accept: 'application/json' } }));
  } finally { idle(); }
}

/**
 * Writes.
 * @param {string} method @param {string} path @param {any} [value] @param {Record<string, string>} [headers]
 * @returns {Promise<any>}
 */
export async function send(method, path, value = undefined, headers = {}) {
  busy();
  try {
    return await body(await request(path, {
      method, body: value === undefined ? undefined : JSON.stringify(value),
      headers: { Accept: 'application/json', ...(value === undefined ? {} : { 'Content-Type': 'application/json' }), ...headers },
    }));
  } finally { idle(); }
}

/**
 * Reads a list to its end, or to so many pages.
 * @param {string} path @param {Record<string, any>} query @param {AbortSignal} [signal] @param {number} [pages]
 * @returns {Promise<any[]>}
 */
export async function all(path, query, signal = undefined, pages = 20) {
  const rows = [];
  let cursor = '';
  for (let page = 0; page < pages; page++) {
    const answer = await get(path, { ...query, cursor }, signal);
    rows.push(...answer.data);
    cursor = answer.next_cursor;
    if (!cursor) break;
  }
  return rows;
}
