/** The page: before the call, in it, and after it. */
import { join, MadangError } from '../client/index.js';
import { CallPage } from './call.js';
import { element } from './dom.js';
import { keepToken } from './kept-token.js';
import { LeftPage } from './left.js';
import { LocalMedia } from './local-media.js';
import { readPlace, signallingUrl } from './place.js';
import { PrejoinPage } from './prejoin.js';
import { recall } from './preferences.js';

/** @typedef {{root: HTMLElement, shown?(): void, close(): void}} Page */

const place = readPlace();
const media = new LocalMedia(place);
/**
 * For tests and for the console. `options`, where a script before this one has left some, are added to those of `join`.
 * @type {{room: import('../client/index.js').Room | null, options?: Partial<import('../client/room.js').JoinOptions>}}
 */
const exposed = { .../** @type {any} */ (window).madang, room: null };
Object.assign(window, { madang: exposed });

/** @type {Page | null} */
let current = null;

/** @param {Page} page */
function show(page) {
  const follows = current !== null;
  current?.close();
  current = page;
  document.getElementById('page')?.replaceChildren(page.root);
  if (follows) focusHeading(page.root);
  page.shown?.();
}

/**
 * What had the focus is gone with the page before: whoever reads by ear goes on at the top of the new one.
 * @param {HTMLElement} root
 */
function focusHeading(root) {
  const heading = root.querySelector('h1');
  heading?.setAttribute('tabindex', '-1');
  heading?.focus({ preventScroll: true });
}

function showPrejoin() {
  const page = new PrejoinPage(place, media, async (name) => {
    try {
      await enterCall(name);
    } catch (error) {
      page.explain(failureOf(error));
    }
  });
  show(page);
  return page;
}

/**
 * Joins with the devices that are open; those that are still being opened follow.
 * @param {string} name
 */
async function enterCall(name) {
  const { room: roomName, token, videoCodec } = place;
  const { stereo, tracks } = media;
  const own = { url: signallingUrl(), room: roomName, token, name: name || 'Guest', ...tracks, stereo, videoCodec };
  const room = await join({ ...own, ...exposed.options });
  exposed.room = room;
  room.on('token', (fresh) => {
    place.token = fresh;
    keepToken(roomName, fresh);
  });
  room.on('bye', ({ code }) => {
    exposed.room = null;
    media.close();
    show(new LeftPage(code, () => rejoin(name)));
  });
  show(new CallPage(room, place.room, media));
}

/** @param {string} name */
async function rejoin(name) {
  if (!current) show({ root: element('main', { class: 'left' }, element('p', { class: 'soft' }, 'Joining…')), close() {} });
  try {
    const opening = media.open();
    await enterCall(name);
    await opening;
  } catch (error) {
    showPrejoin().explain(failureOf(error));
  }
}

/** @param {unknown} error */
function failureOf(error) {
  if (error instanceof MadangError) return error;
  return { code: 'internal', title: 'Joining failed', remedy: String(error) };
}

document.title = `${place.room} · Madang`;
if (place.joinAtOnce) rejoin(place.name ?? recall('name'));
else showPrejoin();
