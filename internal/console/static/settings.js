// @ts-check
// What a person chose for this browser. Tokens are never among it.

/** @param {string} key @param {string} fallback */
function read(key, fallback) {
  try { return localStorage.getItem(`runledger.${key}`) ?? fallback; } catch { return fallback; }
}

/** @param {string} key @param {string} value */
function write(key, value) {
  try { localStorage.setItem(`runledger.${key}`, value); } catch { /* it holds until the page closes */ }
}

export const settings = {
  utc: read('utc', 'false') === 'true',
  shortcuts: read('shortcuts', 'true') === 'true',
};

/** @param {boolean} utc */
export function setUTC(utc) {
  settings.utc = utc;
  write('utc', String(utc));
}

/** @param {boolean} on */
export function setShortcuts(on) {
  settings.shortcuts = on;
  write('shortcuts', String(on));
}

/** The theme that shows: "light" or "dark". */
export function theme() {
  return document.documentElement.dataset.theme
    ?? (window.matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light');
}

/** @param {'light' | 'dark'} to */
export function setTheme(to) {
  document.documentElement.dataset.theme = to;
  write('theme', to);
}

/** How one signs in, from the page. */
export const provider = {
  issuer: meta('oidc-issuer'),
  clientID: meta('oidc-client-id'),
  scope: meta('oidc-scope'),
  audience: meta('oidc-audience'),
};

/** @param {string} key */
function meta(key) {
  return document.querySelector(`meta[name="${key}"]`)?.getAttribute('content') ?? '';
}
