/** A camera whose codec changes in mid-call: who looks at it goes on seeing it. */
import assert from 'node:assert/strict';
import { before } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { Call } from './support/call.mjs';
import { COLOURS } from './support/media.mjs';
import { eventually } from './support/wait.mjs';

/** @typedef {import('./support/participant.mjs').Participant} Participant */

/** How long each codec is looked at. */
const WATCHED_MS = 2000;

const call = new Call();
/** @type {import('./support/call.mjs').Browser} */ let sender;
/** @type {import('./support/call.mjs').Browser} */ let viewers;

before(async () => {
  sender = await call.chromium({ colour: COLOURS.red, hertz: 500, width: 480, height: 270 });
  viewers = await call.chromium();
});

for (const { streams, first, changes } of [
  { streams: 'three streams', first: 'vp8', changes: [['vp9', 'L1T3'], ['h264', 'L1T1'], ['av1', 'L1T3'], ['vp8', 'L1T3']] },
  { streams: 'one stream with layers', first: 'vp9', changes: [['vp8', 'L1T3'], ['av1', 'L2T3_KEY'], ['h264', 'L1T1'], ['vp9', 'L2T3_KEY']] },
]) {
  call.story(`a camera in ${streams} changes its codec`, async () => {
    const ada = await call.enter(sender, 'Ada', { query: `width=480&height=270&codec=${first}`, beforeScripts: keepCodec });
    const bea = await call.enter(viewers, 'Bea', { query: 'mic=0&cam=0' });
    await receives(bea, first);
    await bea.seesMovement('Ada');

    for (const [codec, scalabilityMode] of changes) {
      const before = await bea.reception('Ada');
      await ada.evaluate(encodeWith, { codec, scalabilityMode });
      await receives(bea, codec);
      await delay(WATCHED_MS);
      const after = await bea.reception('Ada');
      assert.equal(after.codec.toLowerCase(), `video/${codec}`);
      assert.equal(after.freezeCount, before.freezeCount, `${codec} came with a freeze`);
      const frames = after.framesDecoded - before.framesDecoded;
      assert.ok(frames > WATCHED_MS / 1000 * 15, `${frames} frames of ${codec}`);
      await bea.seesPicture('Ada', 'red');
    }
  });
}

/**
 * @param {Participant} viewer
 * @param {string} codec
 */
async function receives(viewer, codec) {
  await eventually(
    `${viewer.name} decodes ${codec}`,
    async () => (await viewer.reception('Ada')).codec.toLowerCase(),
    (seen) => seen === `video/${codec}`,
  );
}

// What follows runs inside the page: each function stands alone.

/** Once the story has chosen a codec, the page's own changes of layers keep it. */
function keepCodec() {
  const scope = /** @type {any} */ (window);
  const apply = RTCRtpSender.prototype.setParameters;
  RTCRtpSender.prototype.setParameters = function setParameters(parameters) {
    const codec = parameters.codecs.find(({ mimeType }) => mimeType.toLowerCase() === scope.chosen?.mimeType);
    if (codec) for (const encoding of parameters.encodings) Object.assign(encoding, { codec, scalabilityMode: scope.chosen.scalabilityMode });
    return apply.call(this, parameters);
  };
}

/** @param {{ codec: string, scalabilityMode: string }} _ */
async function encodeWith({ codec, scalabilityMode }) {
  const scope = /** @type {any} */ (window);
  scope.chosen = { mimeType: `video/${codec}`, scalabilityMode };
  for (const pc of scope.peerConnections) {
    for (const sender of pc.getSenders()) {
      if (sender.track?.kind === 'video') await sender.setParameters(sender.getParameters());
    }
  }
}
