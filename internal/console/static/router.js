// @ts-check
// Addresses below /console/, and the way between them without loading the page anew.

const base = '/console';

/** @type {(() => void)} */
let onMove = () => {};

/** Calls back at every new address. @param {() => void} listener */
export function listen(listener) {
  onMove = listener;
  history.scrollRestoration = 'manual';
  window.addEventListener('popstate', () => onMove());
  document.addEventListener('click', (event) => {
    if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const link = event.target instanceof Element ? event.target.closest('a[href]') : null;
    if (!(link instanceof HTMLAnchorElement) || link.target || link.origin !== location.origin || link.hasAttribute('download')) return;
    if (!link.pathname.startsWith(`${base}/`) || (link.hash && link.pathname === location.pathname)) return;
    event.preventDefault();
    go(link.pathname.slice(base.length) + link.search, { state: JSON.parse(link.dataset.state ?? 'null') });
  });
}

/**
 * Goes to an address of the console, such as "/workspaces/1/runs".
 * @param {string} to @param {{replace?: boolean, state?: any}} [options]
 */
export function go(to, { replace = false, state = null } = {}) {
  // Back comes to where one was on the page, not to its top.
  if (!replace) history.replaceState({ ...history.state, y: window.scrollY }, '');
  history[replace ? 'replaceState' : 'pushState'](state, '', base + to);
  onMove();
}

/** Where one is: the path without /console, and the parameters. */
export function here() {
  return { path: location.pathname.slice(base.length).replace(/(?<=.)\/+$/, '') || '/', query: new URLSearchParams(location.search) };
}

/**
 * The address of a link within the console.
 * @param {string} path @param {Record<string, any>} [query]
 */
export function href(path, query = {}) {
  const parameters = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== '') parameters.set(key, String(value));
  }
  const text = parameters.toString();
  return base + path + (text ? `?${text}` : '');
}

/**
 * Finds the view of a path.
 * @template T @param {[string, T][]} routes such as ["/workspaces/:w/runs/:id", view] @param {string} path
 * @returns {{view: T, parameters: Record<string, string>} | null}
 */
export function match(routes, path) {
  const parts = path.split('/');
  for (const [pattern, view] of routes) {
    const wanted = pattern.split('/');
    if (wanted.length !== parts.length) continue;
    /** @type {Record<string, string>} */
    const parameters = {};
    const fits = wanted.every((part, i) => {
      if (!part.startsWith(':')) return part === parts[i];
      // An id that none can be is no address: it never reaches the interface.
      parameters[part.slice(1)] = parts[i];
      return /^[1-9][0-9]{0,18}$/.test(parts[i]);
    });
    if (fits) return { view, parameters };
  }
  return null;
}
