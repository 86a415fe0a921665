/** Broadcasts and their viewers, on the pages of the server. */
import { colourOf, receptionOf } from './probe.mjs';
import { nowInSeconds, signToken } from './tokens.mjs';
import { eventually } from './wait.mjs';

/**
 * @typedef {import('./call.mjs').Call} Call
 * @typedef {import('./call.mjs').Browser} Browser
 * @typedef {import('./participant.mjs').Participant} Participant
 * @typedef {{room?: string, query?: string, port?: number, beforeScripts?: (argument: any) => void}} Visit
 */

export const VIDEO = '[data-test="video"]';
/** A camera in one layer that is cheap to encode. */
const ONE_LAYER = 'width=320&height=180&layers=one';

/**
 * Opens the page that broadcasts, and goes live.
 *
 * @param {Call} call
 * @param {Browser} browser
 * @param {string} name
 * @param {Visit} [visit]
 */
export async function broadcast(call, browser, name, { room = call.room, query = ONE_LAYER, port = call.server.httpPort, beforeScripts } = {}) {
  const publisher = await call.tab(browser, name, { beforeScripts });
  await publisher.open(`http://127.0.0.1:${port}/broadcast/${room}?name=${name}&${query}`, 'broadcast');
  await eventually(`${name} has a picture`, () => publisher.attribute('preview', 'data-state'), (state) => state === 'live');
  await publisher.click('live-button');
  await isLive(publisher);
  return publisher;
}

/**
 * The endpoint of the story's room, with a token in its path: not all clients can send one otherwise.
 *
 * @param {Call} call
 * @param {'whip' | 'whep'} protocol
 */
export function endpoint(call, protocol) {
  return `http://127.0.0.1:${call.server.httpPort}/${protocol}/${call.room}/${streamToken(call, protocol)}`;
}

/**
 * @param {Call} call whose server knows the tests' key
 * @param {string} sub
 */
export function streamToken(call, sub) {
  return signToken({ sub, exp: nowInSeconds() + 600, madang: { room: call.room, join: true } });
}

/** @param {Participant} publisher */
export function isLive(publisher) {
  return eventually(`${publisher.name} is live`, () => publisher.attribute('broadcast', 'data-state'), (state) => state === 'live');
}

/**
 * Opens the page that watches.
 *
 * @param {Call} call
 * @param {Browser} browser
 * @param {string} name
 * @param {Visit} [visit]
 */
export async function watch(call, browser, name, { room = call.room, query = '', port = call.server.httpPort, beforeScripts } = {}) {
  const viewer = await call.tab(browser, name, { beforeScripts });
  await viewer.open(`http://127.0.0.1:${port}/watch/${room}?${query}`, 'player');
  return viewer;
}

/** @param {Participant} viewer @param {string} state of the player */
export function playerIs(viewer, state) {
  return eventually(`the player of ${viewer.name} is ${state}`, () => viewer.attribute('player', 'data-state'), (seen) => seen === state);
}

/**
 * Waits until the picture is there, in the right colour, and moves.
 *
 * @param {Participant} viewer
 * @param {string | null} colour null: any but black
 * @param {string} [selector] of the video
 */
export async function watches(viewer, colour, selector = VIDEO) {
  const right = (/** @type {string} */ seen) => (colour ? seen === colour : !['no picture', 'black'].includes(seen));
  await eventually(`${viewer.name} watches a picture in ${colour ?? 'any colour'}`, () => colourOf(viewer, selector), right);
  await seesMovement(viewer, selector);
}

/** @param {Participant} viewer @param {string} [selector] */
export async function seesMovement(viewer, selector = VIDEO) {
  const before = await decoded(viewer, selector);
  await eventually(`${viewer.name} decodes frames after ${before}`, () => decoded(viewer, selector), (frames) => frames > before + 5);
}

/** @param {Participant} viewer @param {string} selector */
async function decoded(viewer, selector) {
  return (await receptionOf(viewer, selector))?.framesDecoded ?? 0;
}

/** @param {Participant} viewer @param {number} height */
export async function watchesHeight(viewer, height) {
  const seen = async () => (await receptionOf(viewer, VIDEO))?.frameHeight;
  await eventually(`${viewer.name} watches ${height} lines`, seen, (lines) => lines === height, 40);
  await seesMovement(viewer);
}
