// @ts-check
// Where everything begins: who looks, at which address, and the view that belongs to it.
import { again, leave, onAway, passes } from './again.js';
import { all, get, Problem } from './api.js';
import { begin, onOwnerChange, reason, signedIn, signIn, tokenForm, useToken } from './auth.js';
import { h, put } from './dom.js';
import { Feed } from './feed.js';
import * as keys from './keys.js';
import { failure, lines } from './region.js';
import * as router from './router.js';
import { provider } from './settings.js';
import * as shell from './shell.js';
import { finding } from './views/finding.js';
import { findings } from './views/findings.js';
import { inventory } from './views/inventory.js';
import { item } from './views/item.js';
import { overview } from './views/overview.js';
import { run } from './views/run.js';
import { runs } from './views/runs.js';
import { schedule } from './views/schedule.js';
import { schedules } from './views/schedules.js';
import { workspaces } from './views/workspaces.js';

/** @type {[string, [string, (view: any) => any]][]} */
const routes = [
  ['/', ['workspaces', workspaces]],
  ['/workspaces/:w', ['overview', overview]],
  ['/workspaces/:w/runs', ['runs', runs]],
  ['/workspaces/:w/runs/:id', ['runs', run]],
  ['/workspaces/:w/schedules', ['schedules', schedules]],
  ['/workspaces/:w/schedules/:id', ['schedules', schedule]],
  ['/workspaces/:w/findings', ['findings', findings]],
  ['/workspaces/:w/findings/:id', ['findings', finding]],
  ['/workspaces/:w/inventory', ['inventory', inventory]],
  ['/workspaces/:w/inventory/:id', ['inventory', item]],
];

/** @type {any} the workspace that is looked at, with its types and its feed */
let ground = null;
/** @type {any} the view that shows */
let shown = null;
let leaving = new AbortController();

/** Shows the view of the address. */
async function show() {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  shown = null;
  const { path, query } = router.here();
  const found = router.match(routes, path);
  if (!found) { nothing(); return; }
  const { view: [place, make], parameters } = found;
  if (parameters.w && ground?.id !== parameters.w) {
    leaveGround();
    put(shell.main, lines(8));
    let failed = '';
    const persist = again(signal, () => enter());
    const enter = async () => {
      try {
        await enterGround(parameters.w, signal);
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof Problem && error.status === 404) { nothing(); return; }
        title('Trouble');
        const says = persist.failed(error) ? String(error) : '';
        if (!says || says !== failed) put(shell.main, failure(error, show));
        failed = says;
        return;
      }
      persist.had();
      open(place, make, parameters, query, signal);
    };
    await enter();
    return;
  }
  if (!parameters.w) leaveGround();
  open(place, make, parameters, query, signal);
}

/**
 * Puts a view on the page, in the workspace that was entered.
 * @param {string} place @param {(view: any) => any} make @param {Record<string, string>} parameters
 * @param {URLSearchParams} query @param {AbortSignal} signal
 */
function open(place, make, parameters, query, signal) {
  shell.locate(parameters.w ? ground.workspace : null, place);
  const view = {
    parameters, query, signal, place,
    workspace: ground?.workspace, types: ground?.types ?? [], base: `/workspaces/${parameters.w}`,
    lost: nothing, title, state: history.state,
  };
  const made = make(view);
  shown = made;
  shell.following(Boolean(made.event));
  title(made.title);
  put(shell.main, made.node);
  window.scrollTo(0, 0);
  if (moved) (shell.main.querySelector('h1') ?? shell.main).focus({ preventScroll: true });
  if (history.state?.y) scrollBack(history.state.y, signal);
  moved = true;
}

/**
 * Scrolls to where one was before, as soon as the page is long enough again.
 * @param {number} y @param {AbortSignal} signal
 */
function scrollBack(y, signal) {
  const until = Date.now() + 5000;
  const look = () => {
    if (signal.aborted || window.scrollY > 0 || Date.now() > until) return;
    if (document.documentElement.scrollHeight >= y + window.innerHeight || !shell.main.querySelector('[aria-busy]')) window.scrollTo(0, y);
    else window.requestAnimationFrame(look);
  };
  look();
}
let moved = false;

/** @param {string} id @param {AbortSignal} signal */
async function enterGround(id, signal) {
  const workspace = await get(`/workspaces/${id}`, {}, signal);
  const types = await all(`/workspaces/${id}/operation-types`, {}, signal).catch((error) => {
    if (passes(error)) throw error; // the view would be without their names for as long as one looks
    return [];
  });
  if (signal.aborted) throw new Error('left');
  const feed = new Feed(id, {
    event: (event) => shown?.event?.(event),
    state: shell.connection,
    resync: () => shown?.resync?.(),
    gone: nothing,
  });
  ground = { id, workspace, types, feed };
}

function leaveGround() {
  ground?.feed.stop();
  ground = null;
  shell.connection('off');
  leave();
}

/** The one page for what does not exist and for what one may not see. */
function nothing() {
  leaving.abort();
  leaveGround();
  shown = null;
  shell.locate(null, '');
  title('Nothing here');
  put(shell.main, h('div', { class: 'page nothing' }, h('p', { class: 'huge', 'aria-hidden': 'true' }, '404'),
    h('h1', { tabindex: '-1' }, 'There is nothing here'),
    h('p', null, 'Or nothing that you may see. The address may be wrong, or you are not a member of its workspace.'),
    h('p', null, h('a', { class: 'button', href: router.href('/') }, 'Your workspaces'))));
}

/** @param {string} text */
function title(text) { document.title = text ? `${text} · Runledger` : 'Runledger'; }

/** The page for whoever has not signed in. @param {string} [trouble] */
function welcome(trouble = '') {
  title('Sign in');
  const said = h('p', { class: 'trouble', role: 'alert' }, trouble);
  const start = async () => {
    put(said);
    try { await signIn(); } catch (error) { put(said, reason(error)); }
  };
  const way = provider.clientID
    ? [h('p', null, 'You sign in at ', h('strong', null, new URL(provider.issuer).host), ' and come back to where you are.'),
      h('button', { class: 'primary', onclick: start }, 'Sign in')]
    : tokenForm((value) => { useToken(value); enter(); });
  put(/** @type {Element} */ (document.getElementById('app')), h('main', { id: 'main', class: 'welcome' },
    h('div', { class: 'welcome-card' }, shell.mark(), h('h1', null, 'Runledger'),
      h('p', { class: 'lead' }, 'What ran, what failed, and what it affects.'), said, way)));
}

function enter() {
  shell.mount();
  onAway(shell.away);
  router.listen(show);
  keys.listen({
    utc: shell.toggleUTC, theme: shell.toggleTheme,
    go: (place) => {
      if (place === 'workspaces') router.go('/');
      else if (ground) router.go(`/workspaces/${ground.id}${place === 'overview' ? '' : `/${place}`}`);
    },
  });
  onOwnerChange(() => { leaveGround(); shell.paintPerson(); show(); });
  // Menus close when one looks elsewhere.
  document.addEventListener('click', (event) => {
    for (const menu of document.querySelectorAll('details.menu[open]')) {
      if (event.target instanceof Node && !menu.contains(event.target)) /** @type {any} */ (menu).open = false;
    }
  });
  show();
}

const began = await begin();
if (began === 'handed over') {
  put(/** @type {Element} */ (document.getElementById('app')), h('main', { class: 'welcome' },
    h('p', null, 'The page that asked goes on. This window can be closed.')));
} else if (signedIn()) enter();
else welcome(began === 'go' ? '' : began);
