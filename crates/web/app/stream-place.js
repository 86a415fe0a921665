/** Where a page that watches or broadcasts is: the room in the path, the token, and the addresses that belong to the room. */
import { takeToken } from './kept-token.js';

/**
 * @typedef {object} StreamPlace
 * @property {string} room
 * @property {string | undefined} token
 * @property {URLSearchParams} query
 */

/**
 * Reads the address, and takes the token out of it.
 * @returns {StreamPlace}
 */
export function readStreamPlace() {
  const url = new URL(location.href);
  const room = roomInPath(url.pathname);
  const token = takeToken(url, room);
  history.replaceState(null, '', url);
  return { room, token, query: url.searchParams };
}

/**
 * The endpoint of the room.
 * @param {'whip' | 'whep'} protocol
 * @param {string} room
 * @param {Record<string, string | null>} [query] what is null is left out
 */
export function endpointOf(protocol, room, query = {}) {
  const url = new URL(`/${protocol}/${encodeURIComponent(room)}`, location.origin);
  for (const [name, value] of Object.entries(query)) if (value) url.searchParams.set(name, value);
  return url.href;
}

/** The link for viewers. @param {string} room */
export function watchLink(room) {
  return `${location.origin}/watch/${encodeURIComponent(room)}`;
}

/** @param {string} path */
function roomInPath(path) {
  const name = path.split('/')[2] ?? '';
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}
