/** How sound travels: twice in RED, and in stereo where somebody makes music. */
import assert from 'node:assert/strict';
import { before } from 'node:test';
import { Call } from './support/call.mjs';
import { channelsHeard, soundReception } from './support/probe.mjs';
import { eventually } from './support/wait.mjs';

/** @typedef {import('./support/participant.mjs').Participant} Participant */

const call = new Call();
/** @type {import('./support/call.mjs').Browser} */ let speaker;
/** @type {import('./support/call.mjs').Browser} */ let musician;

before(async () => {
  [speaker, musician] = await Promise.all([call.chromium({ hertz: 500 }), call.chromium({ hertz: [700, 1100] })]);
});

call.story('two browsers hear each other over RED', async () => {
  const ada = await call.enter(speaker, 'Ada', { query: 'cam=0' });
  const bea = await call.enter(speaker, 'Bea', { query: 'cam=0' });
  for (const listener of [ada, bea]) {
    await listener.hears([500]);
    const { codecs, share } = await soundOf(listener);
    assert.equal(codecs[0], 'audio/red');
    assert.ok(share > 0.5, `${listener.name} got copies in ${share} of the packets`);
  }
});

call.story('who has no RED hears those who have, and is heard', async () => {
  const ada = await call.enter(speaker, 'Ada', { query: 'cam=0' });
  const bea = await call.enter(speaker, 'Bea', { query: 'cam=0', beforeScripts: hideRed });
  for (const listener of [ada, bea]) {
    await listener.hears([500]);
    const { share } = await soundOf(listener);
    assert.ok(share < 0.5, `${listener.name} got copies in ${share} of the packets`);
  }
});

call.story('music comes in stereo, speech does not', async () => {
  const ada = await call.enter(speaker, 'Ada', { query: 'cam=0' });
  const bea = await call.enter(musician, 'Bea', { query: 'cam=0&stereo=1' });
  await hearsChannels(ada, [700, 1100]);
  await hearsChannels(bea, [500, 500]);
  assert.ok((await soundOf(ada)).share > 0.5, 'stereo comes in RED too');
});

call.story('somebody who speaks begins to play, and ends', async () => {
  const ada = await call.enter(speaker, 'Ada', { query: 'mic=0&cam=0' });
  const bea = await call.enter(musician, 'Bea', { query: 'cam=0' });
  await eventually('Ada hears Bea', () => channelsHeard(ada), ([left, right]) => left !== null && left === right);
  await bea.evaluate(publishMicrophone, { stereo: true });
  await hearsChannels(ada, [700, 1100]);
  await bea.evaluate(publishMicrophone, { stereo: false });
  await eventually('Ada hears Bea in mono again', () => channelsHeard(ada), ([left, right]) => left !== null && left === right);
});

call.story('a musician is heard in stereo after a restart of the server', async () => {
  const ada = await call.enter(speaker, 'Ada', { query: 'mic=0&cam=0' });
  await call.enter(musician, 'Bea', { query: 'cam=0&stereo=1' });
  await hearsChannels(ada, [700, 1100]);
  await call.server.stop();
  await eventually('Ada sees the connection go', () => ada.attribute('status-pill', 'data-state'), (state) => state === 'reconnecting');
  await call.server.run();
  await ada.isConnected();
  await hearsChannels(ada, [700, 1100]);
});

/**
 * @param {Participant} listener
 * @param {number[]} tones left and right, in Hz
 */
async function hearsChannels(listener, tones) {
  const wanted = JSON.stringify(tones);
  await eventually(`${listener.name} hears ${wanted} Hz`, () => channelsHeard(listener), (heard) => JSON.stringify(heard) === wanted);
}

/**
 * Waits for a hundred packets, which is two seconds of sound.
 *
 * @param {Participant} listener
 * @returns {Promise<{ codecs: string[], share: number }>} `share`: how many of the packets brought the sound of another one, too
 */
async function soundOf(listener) {
  const receptions = await eventually(
    `${listener.name} receives a hundred packets`,
    () => soundReception(listener),
    ([first]) => first !== undefined && first.packets > 100,
  );
  const [{ packets, copies, codecs }] = /** @type {[typeof receptions[0] & {}]} */ (receptions);
  return { codecs, share: copies / packets };
}

// What follows runs inside the page.

/** Makes a browser that knows no RED. */
function hideRed() {
  const capabilities = RTCRtpReceiver.getCapabilities.bind(RTCRtpReceiver);
  RTCRtpReceiver.getCapabilities = (kind) => {
    const all = capabilities(kind);
    return all && { ...all, codecs: all.codecs.filter(({ mimeType }) => mimeType !== 'audio/red') };
  };
}

/** @param {{ stereo: boolean }} options */
async function publishMicrophone(options) {
  const client = '/client/index.js';
  const { openMicrophone } = await import(client);
  await /** @type {any} */ (window).madang.room.publishMicrophone(await openMicrophone(options), options);
}
