/** Where the page is: the room in the path, and the parameters in the query. */
import { takeToken } from './kept-token.js';

/**
 * @typedef {object} Place
 * @property {string} room
 * @property {string | null} name
 * @property {string | undefined} token
 * @property {boolean} joinAtOnce
 * @property {boolean} microphone whether to start with it
 * @property {boolean} camera whether to start with it
 * @property {boolean} stereo whether the microphone is sent in stereo
 * @property {import('../client/devices.js').CameraOptions} cameraOptions
 * @property {import('../client/codecs.js').VideoCodec | undefined} videoCodec
 */

/**
 * Reads the address, and tidies it: `/` becomes a room of its own, and the token goes.
 * @returns {Place}
 */
export function readPlace() {
  const url = new URL(location.href);
  const query = url.searchParams;
  const room = roomInPath(url.pathname) ?? newRoomName();
  const token = takeToken(url, room);
  url.pathname = `/r/${encodeURIComponent(room)}`;
  history.replaceState(null, '', url);
  return {
    room,
    token,
    name: query.get('name'),
    joinAtOnce: query.get('join') === '1',
    microphone: query.get('mic') !== '0',
    camera: query.get('cam') !== '0',
    stereo: query.get('stereo') === '1',
    cameraOptions: {
      width: positive(query.get('width')),
      height: positive(query.get('height')),
      frameRate: positive(query.get('fps')),
      facingMode: oneOf(query.get('facing'), /** @type {const} */ (['user', 'environment'])),
    },
    videoCodec: oneOf(query.get('codec'), /** @type {const} */ (['vp8', 'h264', 'vp9', 'av1'])),
  };
}

/** The link to a room, to give away: without this person's own parameters. @param {string} room */
export function linkTo(room) {
  return `${location.origin}/r/${encodeURIComponent(room)}`;
}

/** The server's WebSocket. */
export function signallingUrl() {
  return `${location.origin.replace(/^http/, 'ws')}/v1/rtc`;
}

/** @param {string} path */
function roomInPath(path) {
  const name = /^\/r\/([^/]+)\/?$/.exec(path)?.[1];
  if (!name) return null;
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}

/**
 * A name that can be read out on the telephone. Guessing one of a running call takes some 8 million tries: rooms that must be
 * private need tokens.
 */
function newRoomName() {
  const pick = (/** @type {string[]} */ words) => words[crypto.getRandomValues(new Uint32Array(1))[0] % words.length];
  const number = 100 + (crypto.getRandomValues(new Uint32Array(1))[0] % 900);
  return `${pick(MANNERS)}-${pick(THINGS)}-${number}`;
}

/** @param {string | null} text */
function positive(text) {
  const number = Number(text);
  return number > 0 ? number : undefined;
}

/**
 * @template {string} T
 * @param {string | null} text
 * @param {readonly T[]} choices
 * @returns {T | undefined}
 */
function oneOf(text, choices) {
  return choices.find((choice) => choice === text);
}

const MANNERS = `amber azure bold brave bright calm clear clever cosy crisp deep early eager easy fair fine fleet fond fresh gentle
  glad golden grand green happy hardy honest humble ivory jolly keen kind late lively long loyal lucky mellow merry mild misty
  modest neat noble open patient plain proud quick quiet rapid ready red rosy round royal rustic serene sharp silent silver simple
  smooth snowy soft solid spry still sturdy subtle sunny sure swift tall tender tidy true vast warm wide wild wise witty young`.split(/\s+/);

const THINGS = `acorn alder apple arbor arch aspen barley basil bay beach birch bloom breeze bridge brook cabin canyon cedar cherry
  cliff cloud clover coast copper coral cove creek crane dawn delta dune elm ember fern field finch fjord forest fountain garden
  glade grove harbor hazel heron hill island ivy juniper lagoon lake lantern lark laurel lemon lily linden lotus maple marsh
  meadow mesa mint moon moss mountain nest oak oasis olive orchard otter owl peach pear pebble pine plum pond poplar prairie quail
  rain reed ridge river robin rose sage shore sky snow sparrow spring star stone storm stream summit sun swan terrace thistle
  tulip valley village violet walnut wave willow wind wren`.split(/\s+/);
