// @ts-check
// What stands around every view: where one is, what there is, whether it is live.
import { repaint } from './clock.js';
import { announce, h, name, put, s } from './dom.js';
import { help } from './keys.js';
import { href } from './router.js';
import { setTheme, setUTC, settings, theme } from './settings.js';
import { owner } from './token.js';
import { signOut, token } from './auth.js';

/** @type {[string, string, string, string][]} place, path below the workspace, word, drawing */
const places = [
  ['overview', '', 'Overview', 'M2.5 2.5h4.5v6h-4.5zM9 2.5h4.5v3.5h-4.5zM9 8.5h4.5v5h-4.5zM2.5 11h4.5v2.5h-4.5z'],
  ['runs', '/runs', 'Runs', 'M2.5 4h7M2.5 8h11M2.5 12h5'],
  ['schedules', '/schedules', 'Schedules', 'M2.5 3.5h11v10h-11zM2.5 6.5h11M5.5 2v2.5M10.5 2v2.5'],
  ['findings', '/findings', 'Findings', 'M7 2.5a4.5 4.5 0 1 1 0 9 4.5 4.5 0 0 1 0-9zM10.5 10.5l3.5 3.5'],
  ['inventory', '/inventory', 'Inventory', 'M8 1.8l5.8 3v6.4L8 14.2l-5.8-3V4.8zM2.2 4.8L8 8l5.8-3.2M8 8v6.2'],
];

const live = h('span', { class: 'live', hidden: true });
const switcher = h('a', { class: 'switcher', href: href('/') });
const nav = h('nav', { class: 'side', 'aria-label': 'Workspace', hidden: true });
export const main = h('main', { id: 'main', tabindex: '-1' });
const zone = h('button', { class: 'quiet', onclick: toggleUTC });
const shade = h('button', { class: 'icon', onclick: toggleTheme });
const person = h('details', { class: 'menu person' });

/** Puts the shell on the page. */
export function mount() {
  paintSwitches();
  put(/** @type {Element} */ (document.getElementById('app')),
    h('header', { class: 'top' },
      h('a', { class: 'brand', href: href('/'), 'aria-label': 'Runledger, all workspaces' }, mark(), h('span', null, 'Runledger')),
      switcher, h('span', { class: 'gap' }), live, zone, shade,
      h('button', { class: 'icon', 'aria-label': 'Keyboard shortcuts', title: 'Keyboard shortcuts (?)', onclick: help }, '?'), person),
    h('div', { class: 'body' }, nav, main));
  paintPerson();
}

/** Says who has signed in. */
export function paintPerson() {
  const who = owner(token()) || 'Signed in';
  put(person, h('summary', { class: 'quiet', 'aria-label': `Signed in as ${who}` }, name(who)),
    h('div', { class: 'menu-body' }, h('p', { class: 'hint' }, 'Signed in as'), h('p', null, name(who)),
      h('button', { onclick: signOut }, 'Sign out')));
}

/** @param {any} workspace the one that is looked at, or null @param {string} place */
export function locate(workspace, place) {
  nav.hidden = workspace === null;
  switcher.hidden = workspace === null;
  if (workspace === null) return;
  put(switcher, h('span', { class: 'unseen' }, 'Workspace '), name(workspace.name), workspace.archived_at ? h('span', { class: 'tag' }, 'archived') : null,
    h('span', { class: 'tag', title: 'Your role' }, workspace.role), h('span', { class: 'unseen' }, ', all workspaces'));
  put(nav, h('ul', null, places.map(([key, path, word, d]) => h('li', null,
    h('a', { href: href(`/workspaces/${workspace.id}${path}`), 'aria-current': key === place ? 'page' : null },
      s('svg', { viewBox: '0 0 16 16', 'aria-hidden': 'true' }, s('path', { d })), word)))));
}

/** @type {'live' | 'connecting' | 'lost' | 'off'} */
let feed = 'off';
let missing = false;
let follows = false;

/** How the stream of events is. @param {'live' | 'connecting' | 'lost' | 'off'} state */
export function connection(state) { feed = state; paintLive(); }

/** Whether the view that shows follows the stream: the others are as old as they were loaded. @param {boolean} it */
export function following(it) { follows = it; paintLive(); }

/** Whether something of the view cannot be had at the moment: a stream that is open changes nothing then. @param {boolean} is */
export function away(is) { missing = is; paintLive(); }

/** Says whether what one sees is live. */
function paintLive() {
  const state = missing ? 'lost' : follows ? feed : 'off';
  const before = live.dataset.state;
  if (before === state) return;
  live.hidden = state === 'off';
  live.dataset.state = state;
  const words = { live: 'Live', connecting: 'Connecting', lost: 'Not live: reconnecting', off: '' };
  put(live, h('span', { class: 'dot', 'aria-hidden': 'true' }), words[state]);
  if (state === 'lost') announce('The connection is lost. What you see may be old.');
  if (before === 'lost' && (state === 'live' || (state === 'off' && feed === 'live'))) announce('The connection is back.');
}

/** Times in UTC, or in the viewer's zone. */
export function toggleUTC() {
  setUTC(!settings.utc);
  paintSwitches();
  repaint();
  window.dispatchEvent(new Event('runledger:utc'));
  announce(settings.utc ? 'Times are in UTC' : 'Times are in your zone');
}

/** Dark, or light. */
export function toggleTheme() {
  setTheme(theme() === 'dark' ? 'light' : 'dark');
  paintSwitches();
}

function paintSwitches() {
  const local = Intl.DateTimeFormat().resolvedOptions().timeZone;
  put(zone, settings.utc ? 'UTC' : 'Local');
  zone.setAttribute('aria-label', settings.utc ? 'UTC throughout, switch to your zone' : 'Local times, switch to UTC throughout');
  zone.title = settings.utc ? `All times are UTC. Press for ${local}.` : `Times are in ${local}. Press for UTC throughout.`;
  const dark = theme() === 'dark';
  put(shade, s('svg', { viewBox: '0 0 16 16', 'aria-hidden': 'true' },
    dark ? s('path', { d: 'M13 9.5A5.5 5.5 0 0 1 6.5 3a5.5 5.5 0 1 0 6.5 6.5z' })
      : [s('circle', { cx: 8, cy: 8, r: 3 }), s('path', { d: 'M8 1.5v1.5M8 13v1.5M1.5 8H3M13 8h1.5M3.4 3.4l1 1M11.6 11.6l1 1M3.4 12.6l1-1M11.6 4.4l1-1' })]));
  shade.setAttribute('aria-label', dark ? 'Light theme' : 'Dark theme');
  shade.title = dark ? 'Light theme (t)' : 'Dark theme (t)';
}

export function mark() {
  return s('svg', { class: 'logo', viewBox: '0 0 32 32', 'aria-hidden': 'true' },
    s('rect', { class: 'logo-ground', width: 32, height: 32, rx: 7 }),
    s('path', { class: 'logo-lines', d: 'M8 10h10M8 16h16M8 22h7' }), s('circle', { class: 'logo-dot', cx: 23, cy: 22, r: 3 }));
}
