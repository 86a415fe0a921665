/** Cameras and microphones that are refused, missing or wrong: the page says what happened, and one can join without. */
import assert from 'node:assert/strict';
import { before } from 'node:test';
import { Call } from './support/call.mjs';
import { COLOURS } from './support/media.mjs';
import { eventually } from './support/wait.mjs';

/** @typedef {import('./support/participant.mjs').Participant} Participant */

const CAMERA = 'width=320&height=180';

const call = new Call();
/** @type {import('./support/call.mjs').Browser} */ let red;
/** @type {import('./support/call.mjs').Browser} */ let refusing;
/** @type {import('./support/call.mjs').Browser} */ let bare;

before(async () => {
  [red, refusing, bare] = await Promise.all([
    call.chromium({ colour: COLOURS.red, hertz: 500 }),
    call.chromium({ grant: false }),
    call.chromium({ devices: false }),
  ]);
});

call.story('a refused permission is explained, and joining without devices works', async () => {
  await call.enter(red, 'Ada', { query: CAMERA });
  const bea = await call.arrive(refusing, 'Bea');
  await explains(bea, 'NotAllowedError', /permission|allow/i);
  await joinsToWatch(bea);
});

call.story('a machine without camera and microphone is told so, and joining works', async () => {
  await call.enter(red, 'Ada', { query: CAMERA });
  const bea = await call.arrive(bare, 'Bea');
  await explains(bea, 'NotFoundError', /connect|plug|found/i);
  await joinsToWatch(bea);
});

for (const code of ['NotReadableError', 'OverconstrainedError']) {
  call.story(`${code} of a camera is explained, and joining works`, async () => {
    await call.enter(red, 'Ada', { query: CAMERA });
    const bea = await call.arrive(red, 'Bea', { query: `${CAMERA}&mic=0`, beforeScripts: camerasFailWith, argument: code });
    await explains(bea, code, /camera/i);
    await joinsToWatch(bea);
  });
}

call.story('a browser that hides its addresses behind mDNS names receives', async () => {
  await call.enter(red, 'Ada', { query: CAMERA });
  const bea = await call.enter(refusing, 'Bea', { query: 'mic=0&cam=0' });
  await bea.seesPicture('Ada', 'red');
  await bea.hears([500]);
  const candidates = await bea.evaluate(localCandidates);
  assert.ok(candidates.length > 0 && candidates.every((/** @type {string} */ address) => address.endsWith('.local')), candidates.join());
});

call.story('who joins without devices can turn the camera on in the call', async () => {
  const ada = await call.enter(red, 'Ada', { query: `${CAMERA}&mic=0&cam=0` });
  const bea = await call.enter(red, 'Bea', { query: 'mic=0&cam=0' });
  assert.equal(await ada.attribute('camera-button', 'aria-pressed'), 'false');
  await ada.click('camera-button');
  await bea.seesPicture('Ada', 'red');
  await ada.click('mute-button');
  await bea.hears([500]);
});

/**
 * @param {Participant} participant
 * @param {string} code
 * @param {RegExp} words that the explanation must have
 */
async function explains(participant, code, words) {
  await eventually(`${code} is explained`, () => participant.attribute('error-box', 'data-code'), (seen) => seen === code);
  await participant.sees('error-box');
  assert.match(await participant.text('error-box'), words);
}

/** @param {Participant} participant */
async function joinsToWatch(participant) {
  await participant.join();
  await participant.seesPicture('Ada', 'red');
  await participant.hears([500]);
}

// What follows runs inside the page.

/** @param {string} code */
function camerasFailWith(code) {
  navigator.mediaDevices.getUserMedia = async () => {
    throw code === 'OverconstrainedError' ? new OverconstrainedError('width') : new DOMException('in use', code);
  };
}

function localCandidates() {
  /** @type {string[]} */
  const addresses = [];
  for (const pc of /** @type {any} */ (window).peerConnections) {
    for (const [, address] of pc.localDescription.sdp.matchAll(/^a=candidate:\S+ \d+ \S+ \d+ (\S+)/gm)) addresses.push(address);
  }
  return addresses;
}
