// @ts-check
// The event stream of a workspace. EventSource cannot carry a token, so the stream is read by fetch;
// it goes on behind the last event after whatever broke it.
import { request } from './api.js';

/**
 * Splits what has come of a stream into its events, and returns what is left for later.
 * @param {string} text
 * @returns {{events: {id: string | null, kind: string, data: string}[], rest: string}}
 */
export function split(text) {
  const blocks = text.split(/\r\n\r\n|\n\n|\r\r/);
  const rest = blocks.pop() ?? '';
  const events = blocks.map((block) => {
    const event = { id: /** @type {string | null} */ (null), kind: '', data: '' };
    const data = [];
    for (const line of block.split(/\r\n|\n|\r/)) {
      const [, field, value] = /^([^:]*):? ?(.*)$/s.exec(line) ?? [];
      if (field === 'id') event.id = value;
      else if (field === 'event') event.kind = value;
      else if (field === 'data') data.push(value);
    }
    event.data = data.join('\n');
    return event;
  });
  return { events, rest };
}

/** The longest wait, in milliseconds, before trying again; the server gives a sign of life each 15 s. */
const longestWait = 30_000;
const silence = 40_000;
const hiddenFor = 60_000;

/** Follows one workspace until it is stopped. */
export class Feed {
  /**
   * @param {string} workspace
   * @param {{event: (event: any) => void, state: (state: 'live' | 'connecting' | 'lost') => void, resync: () => void,
   *   gone: () => void}} on gone: one may not see it any more
   */
  constructor(workspace, on) {
    this.path = `/workspaces/${workspace}/operation-runs/events`;
    this.on = on;
    this.last = '';
    this.failures = 0;
    this.stopped = false;
    this.timer = 0;
    this.hideTimer = 0;
    /** @type {AbortController | null} */
    this.connection = null;
    this.wake = () => { if (!document.hidden && !this.connection) this.connect(); };
    this.visibility = () => {
      window.clearTimeout(this.hideTimer);
      if (!document.hidden) { this.wake(); return; }
      // A page nobody sees gives its connection back; a browser has few to one server.
      this.hideTimer = window.setTimeout(() => { this.drop(); }, hiddenFor);
    };
    window.addEventListener('online', this.wake);
    document.addEventListener('visibilitychange', this.visibility);
    this.connect();
  }

  stop() {
    this.stopped = true;
    window.removeEventListener('online', this.wake);
    document.removeEventListener('visibilitychange', this.visibility);
    window.clearTimeout(this.hideTimer);
    this.drop();
  }

  drop() {
    window.clearTimeout(this.timer);
    this.connection?.abort();
    this.connection = null;
  }

  async connect() {
    if (this.stopped) return;
    window.clearTimeout(this.timer);
    const connection = new AbortController();
    this.connection = connection;
    this.on.state(this.failures ? 'lost' : 'connecting');
    try {
      await this.read(connection);
    } catch { /* whatever it was, the stream has ended */ }
    if (this.connection !== connection) return; // dropped on purpose
    this.connection = null;
    if (this.stopped) return;
    this.failures++;
    this.on.state('lost');
    const wait = Math.min(longestWait, 500 * 2 ** Math.min(this.failures - 1, 6));
    this.timer = window.setTimeout(() => this.connect(), wait * (0.75 + Math.random() / 2));
  }

  /** @param {AbortController} connection */
  async read(connection) {
    const response = await request(this.path, {
      signal: connection.signal, cache: 'no-store',
      headers: { Accept: 'text/event-stream', ...(this.last ? { 'Last-Event-ID': this.last } : {}) },
    });
    if (response.status === 404) { this.stopped = true; this.on.gone(); return; }
    if (response.status === 410 || response.status === 400) { // the position is gone: what is shown may be old
      this.last = '';
      this.on.resync();
      return;
    }
    if (!response.ok || !response.body) throw new Error(String(response.status));
    // What happened before the stream began, it does not tell; the view may have been loaded earlier.
    if (!this.last) this.on.resync();
    this.failures = 0;
    this.on.state('live');
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = '';
    for (;;) {
      const watch = window.setTimeout(() => connection.abort(), silence);
      const { done, value } = await reader.read().finally(() => window.clearTimeout(watch));
      if (done) return;
      const came = split(rest + value);
      rest = came.rest;
      for (const { id, data } of came.events) {
        if (data) {
          try { this.on.event(JSON.parse(data)); } catch (error) { console.error(error); }
        }
        if (id) this.last = id;
      }
    }
  }
}
