// @ts-check
// Who looks. Tokens are held in this module's variables and nowhere else: they are gone with the page.
import { dialog } from './dialog.js';
import { h, put } from './dom.js';
import { provider } from './settings.js';
import { claims } from './token.js';

const home = '/console/';
const callback = `${location.origin}${home}callback`;
const kept = 'runledger.signing-in';
const loopback = /^(localhost|127(\.\d+){3}|\[::1\])$/;

let current = '';
let refresh = '';
let proven = ''; // the last token that the server has accepted
/** @type {Promise<void> | null} */
let renewing = null;
/** @type {(() => void)[]} */
const changes = [];

/** The token that requests carry. */
export function token() { return current; }

/** Whether there is one. */
export function signedIn() { return current !== ''; }

/** Says that the server has accepted a token. @param {string} used */
export function proves(used) { proven = used; }

/** Calls back when somebody else has signed in than before. @param {() => void} listener */
export function onOwnerChange(listener) { changes.push(listener); }

/**
 * Looks at the address for a sign-in that comes back, or for a token in its fragment, which is
 * removed at once. It counts on the machine of whoever runs the server alone, and not where there is a
 * provider: a link must not sign anybody in as whoever made it. It says whether to go on.
 * @returns {Promise<'go' | 'handed over' | string>} or why signing in failed
 */
export async function begin() {
  const fragment = new URLSearchParams(location.hash.slice(1));
  const given = fragment.get('token');
  if (given) {
    history.replaceState(null, '', location.pathname + location.search);
    if (!provider.clientID && loopback.test(location.hostname)) current = given;
    return 'go';
  }
  if (location.pathname !== `${home}callback`) return 'go';
  const parameters = new URLSearchParams(location.search);
  const pending = take();
  if (!pending || pending.state !== parameters.get('state')) {
    history.replaceState(null, '', pending?.path ?? home);
    if (await handed(parameters)) return 'handed over';
    return 'This answer belongs to no sign-in that waits for one. Sign in again.';
  }
  history.replaceState(null, '', pending.path);
  try {
    await finish(parameters, pending);
    return 'go';
  } catch (error) { return reason(error); }
}

/** Leaves the page for the provider, and comes back to where one was. */
export async function signIn() {
  const { url, pending } = await prepare();
  sessionStorage.setItem(kept, JSON.stringify({ ...pending, path: location.pathname + location.search }));
  location.assign(url);
}

/** Takes a token that somebody pasted. @param {string} value */
export function useToken(value) {
  adopt(value.trim().replace(/^Bearer\s+/i, ''), '');
}

/** Forgets the tokens. */
export function signOut() {
  current = refresh = '';
  location.assign(home);
}

/**
 * Gets another token after the one that was used has expired: by a refresh token, or by asking.
 * All who wait get the same one, and the page stays as it is.
 * @param {string} used
 */
export function renew(used) {
  if (current !== used) return Promise.resolve();
  renewing ??= another().finally(() => { renewing = null; });
  return renewing;
}

async function another() {
  if (!await byRefresh()) await asked();
}

/** Gets a token by the refresh token, which stays unless the provider refuses it: a network may fail. */
async function byRefresh() {
  if (!refresh) return false;
  try {
    await refreshed();
    return true;
  } catch (/** @type {any} */ error) {
    if (error?.error === 'invalid_grant' && (error.status === 400 || error.status === 401)) refresh = '';
    return false;
  }
}

/** @param {string} next @param {string} nextRefresh */
function adopt(next, nextRefresh) {
  const before = claims(current).sub;
  const changed = current !== '' && before !== claims(next).sub;
  current = next;
  refresh = nextRefresh;
  if (changed) for (const listener of changes) listener();
}

/** Asks in a dialog over the page. @returns {Promise<void>} */
function asked() {
  return new Promise((resolve) => {
    const trouble = h('p', { class: 'trouble', role: 'alert' });
    let over = false;
    const done = () => { over = true; resolve(); shown.close(); };
    // The provider may answer again before the person does.
    const look = async (wait = 2000) => {
      if (over || !refresh) return;
      await new Promise((wake) => { window.setTimeout(wake, wait); });
      if (over) return;
      const had = await byRefresh();
      if (over) return;
      if (had) done();
      else look(Math.min(30_000, 2 * wait));
    };
    const form = tokenForm((value) => { useToken(value); done(); });
    const again = h('button', { class: 'primary', onclick: async () => {
      put(trouble);
      try { await inWindow(); done(); } catch (error) { put(trouble, reason(error)); }
    } }, 'Sign in again');
    const ended = proven === current;
    const unaccepted = provider.clientID
      ? `The service does not accept the token that ${new URL(provider.issuer).host} gave. It wants one for ${provider.audience}.`
      : 'Its time may be over, or it may be meant for another server.';
    const shown = dialog({
      title: ended ? 'Your session has ended' : 'The token was not accepted', must: true,
      body: [ended ? null : h('p', null, unaccepted),
        h('p', null, 'The page stays as it is, and goes on where it was once you have signed in.'),
        provider.clientID ? null : form, trouble],
      actions: [h('button', { onclick: signOut }, 'Sign out'), provider.clientID ? again : null],
    });
    look();
  });
}

/** A field for a token, where no provider is configured. @param {(value: string) => void} use */
export function tokenForm(use) {
  const field = h('input', { id: 'token', type: 'password', autocomplete: 'off', spellcheck: 'false', required: true });
  return h('form', { class: 'token-form', onsubmit: (/** @type {Event} */ event) => {
    event.preventDefault();
    if (field.value.trim()) use(field.value);
  } },
  h('label', { for: 'token' }, 'Token'), field,
  h('p', { class: 'hint' }, '“runledger token” and “runledger dev” print one. It is kept in this page’s memory alone.'),
  h('button', { class: 'primary', type: 'submit' }, 'Sign in'));
}

const library = () => import('./lib/oauth4webapi.js');
const client = () => ({ client_id: provider.clientID });
const insecure = () => new URL(provider.issuer).protocol === 'http:';

/** Fetches, and says of whom there is no answer: the browser does not say why. @param {string} url @param {any} options */
async function reach(url, options) {
  try { return await fetch(url, options); } catch {
    throw new Error(`${new URL(url).host} cannot be reached from this page: it is away, does not allow the page's origin (CORS), or is none that the console may ask.`);
  }
}

async function discovered() {
  const oauth = await library();
  const issuer = new URL(provider.issuer);
  const options = { [oauth.allowInsecureRequests]: insecure(), [oauth.customFetch]: reach };
  const answer = await oauth.discoveryRequest(issuer, options);
  return { oauth, options, server: await oauth.processDiscoveryResponse(issuer, answer) };
}

async function prepare() {
  if (!window.isSecureContext) throw new Error('it needs HTTPS, and this page came without.');
  const { oauth, server } = await discovered();
  const pending = {
    state: oauth.generateRandomState(), nonce: oauth.generateRandomNonce(), verifier: oauth.generateRandomCodeVerifier(),
  };
  const url = new URL(server.authorization_endpoint);
  const parameters = {
    client_id: provider.clientID, redirect_uri: callback, response_type: 'code', scope: provider.scope,
    state: pending.state, nonce: pending.nonce, code_challenge: await oauth.calculatePKCECodeChallenge(pending.verifier),
    code_challenge_method: 'S256', audience: provider.audience,
  };
  for (const [key, value] of Object.entries(parameters)) url.searchParams.set(key, value);
  return { url: url.href, pending };
}

/** @param {URLSearchParams} parameters @param {{state: string, nonce: string, verifier: string}} pending */
async function finish(parameters, pending) {
  const { oauth, server, options } = await discovered();
  const checked = oauth.validateAuthResponse(server, client(), parameters, pending.state);
  const answer = await oauth.authorizationCodeGrantRequest(
    server, client(), oauth.None(), checked, callback, pending.verifier, options);
  const tokens = await oauth.processAuthorizationCodeResponse(server, client(), answer, {
    expectedNonce: pending.nonce, requireIdToken: true,
  });
  adopt(tokens.access_token, tokens.refresh_token ?? '');
}

async function refreshed() {
  const { oauth, server, options } = await discovered();
  const used = refresh;
  const answer = await oauth.refreshTokenGrantRequest(server, client(), oauth.None(), used, options);
  const tokens = await oauth.processRefreshTokenResponse(server, client(), answer);
  if (refresh !== used) return; // somebody has signed in meanwhile
  adopt(tokens.access_token, tokens.refresh_token ?? used);
}

/** Signs in in a window of its own, so that this page stays. */
async function inWindow() {
  // It opens before anything is awaited: later it would count as unasked for.
  const opened = window.open('about:blank', 'runledger-sign-in', 'popup,width=520,height=680');
  if (!opened) throw new Error('The browser did not open the window to sign in. Allow windows for this page and try again.');
  const channel = new BroadcastChannel(kept);
  try {
    const { url, pending } = await prepare();
    const parameters = await new Promise((resolve, reject) => {
      channel.onmessage = (event) => {
        const answer = new URLSearchParams(String(event.data));
        if (answer.get('state') !== pending.state) return;
        channel.postMessage({ taken: pending.state });
        resolve(answer);
      };
      window.setTimeout(() => reject(new Error('Nobody signed in within five minutes.')), 5 * 60_000);
      opened.location.replace(url);
    });
    await finish(parameters, pending);
  } finally { channel.close(); opened.close(); }
}

/**
 * Gives the provider's answer to the page that waits for it, and closes this window. Nobody may wait:
 * then the answer is not of a sign-in that began here.
 * @param {URLSearchParams} parameters @returns {Promise<boolean>} whether a page took it
 */
async function handed(parameters) {
  const channel = new BroadcastChannel(kept);
  const taken = await new Promise((resolve) => {
    channel.onmessage = (event) => { if (event.data?.taken === parameters.get('state')) resolve(true); };
    window.setTimeout(() => resolve(false), 2000);
    channel.postMessage(parameters.toString());
  });
  channel.close();
  if (taken) window.close();
  return taken;
}

function take() {
  try {
    const pending = JSON.parse(sessionStorage.getItem(kept) ?? 'null');
    sessionStorage.removeItem(kept);
    return pending;
  } catch { return null; }
}

/** @param {any} error */
export function reason(error) {
  const said = error?.error_description || error?.error;
  return said ? `The sign-in service says: ${said}` : `Signing in failed: ${error?.message || error}`;
}
