/** The token of a page: it leaves the address, because addresses are copied and shown, and outlasts a reload of the tab. */
import { recallInTab, rememberInTab } from './preferences.js';

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
  return token || recallInTab(keyOf(room)) || undefined;
}

/**
 * @param {string} room
 * @param {string} token what a reload is to find
 */
export function keepToken(room, token) {
  rememberInTab(keyOf(room), token);
}

/** @param {string} room */
function keyOf(room) {
  return `token.${room}`;
}
