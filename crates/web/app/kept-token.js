/** The token of a page: it leaves the address, because addresses are copied and shown, and outlasts a reload of the tab. */

/**
 * Takes the token out of an address. It may stand in the query or, where it must not reach the logs of proxies, behind the `#`.
 * @param {URL} url without the token afterwards
 * @param {string} room whose token it is
 * @returns {string | undefined} that of the address, else the one that the tab had for the room
 */
export function takeToken(url, room) {
  const fragment = new URLSearchParams(url.hash.slice(1));
  const token = fragment.get('token') ?? url.searchParams.get('token');
  url.searchParams.delete('token');
  fragment.delete('token');
  url.hash = fragment.toString();
  if (token) keepToken(room, token);
  return token || kept(room);
}

/**
 * @param {string} room
 * @param {string} token what a reload is to find
 */
export function keepToken(room, token) {
  try {
    sessionStorage.setItem(keyOf(room), token);
  } catch {
    // The page may store nothing; the token is lost with it.
  }
}

/** @param {string} room */
function kept(room) {
  try {
    return sessionStorage.getItem(keyOf(room)) ?? undefined;
  } catch {
    return undefined;
  }
}

/** @param {string} room */
function keyOf(room) {
  return `madang.token.${room}`;
}
