// @ts-check
// What a token says of its owner, for showing only: the server alone decides what it is worth.

/**
 * The claims of a JSON Web Token, {} if it is none.
 * @param {string} token @returns {Record<string, any>}
 */
export function claims(token) {
  const part = token.split('.')[1];
  if (!part) return {};
  try {
    const bytes = Uint8Array.from(atob(part.replace(/-/g, '+').replace(/_/g, '/')), (c) => c.charCodeAt(0));
    const value = JSON.parse(new TextDecoder().decode(bytes));
    return value && typeof value === 'object' ? value : {};
  } catch { return {}; }
}

/** A name for the owner of a token. @param {string} token */
export function owner(token) {
  const { name, preferred_username: user, email, sub } = claims(token);
  return String(name || user || email || sub || '');
}
