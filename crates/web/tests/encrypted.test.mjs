/**
 * Calls that are encrypted end to end: the server forwards what it cannot read. VP8 and VP9 alone: Chromium cuts H.264 and AV1 into
 * packets by what it reads in the frame, so no frame of them can be encrypted as a whole.
 */
import assert from 'node:assert/strict';
import { before } from 'node:test';
import { Call } from './support/call.mjs';
import { KEY, encryptingChromium, withKey } from './support/encryption.mjs';
import { COLOURS } from './support/media.mjs';
import { receivesHeight, resizeTile } from './support/tiles.mjs';
import { eventually } from './support/wait.mjs';

const OTHER_KEY = KEY.toReversed();
/** What a decoder that can read any of it has long begun with. */
const PACKETS_UNREAD = 150;
/** The top layer is the last that the encoder gets bandwidth for. */
const TOP_LAYER_SECONDS = 40;

// A picture goes from one worker to the other, too.
const call = new Call(['--media-workers', '2']);

/** @typedef {import('./support/call.mjs').Browser} Browser */

/** @type {Record<string, { ada: Browser, bea: Browser }>} those with a camera, by codec */
const cameras = {};
/** @type {Browser} */ let viewers;

/** VP9 has its two sizes in one stream, and rounds the smaller one up; a smaller picture would have only one. */
const CODECS = [
  { codec: 'vp8', width: 320, height: 180, lowest: 45 },
  { codec: 'vp9', width: 480, height: 270, lowest: 136 },
];

before(async () => {
  for (const { codec, width, height } of CODECS) {
    cameras[codec] = {
      ada: await encryptingChromium(call, { colour: COLOURS.red, hertz: 500, width, height }),
      bea: await encryptingChromium(call, { colour: COLOURS.blue, hertz: 700, width, height }),
    };
  }
  viewers = await encryptingChromium(call);
});

for (const { what, code, able } of [
  { what: 'that cannot encrypt', code: 'unsupported', able: false },
  { what: 'whose application makes no transform', code: 'internal', able: true },
]) {
  call.story(`a page ${what} does not join`, async () => {
    const ada = await call.arrive(camera('vp8').ada, 'Ada', { beforeScripts: makeNoTransform, argument: able });
    await ada.click('join-button');
    await ada.sees('error-box');
    assert.equal(await ada.attribute('error-box', 'data-code'), code);
    const eve = await call.enter(viewers, 'Eve', { query: 'mic=0&cam=0' });
    assert.deepEqual(await eve.tiles(), ['Eve (you)']);
  });
}

for (const { codec, width, height, lowest } of CODECS) {
  const query = `width=${width}&height=${height}&codec=${codec}`;
  const onlooker = 'mic=0&cam=0';

  call.story(`two who share a key see and hear each other (${codec})`, async () => {
    const ada = await call.enter(camera(codec).ada, 'Ada', { query, ...withKey(KEY) });
    const bea = await call.enter(camera(codec).bea, 'Bea', { query, ...withKey(KEY) });
    await Promise.all([ada.seesPicture('Bea', 'blue'), bea.seesPicture('Ada', 'red')]);
    await ada.hears([700]);
    await bea.hears([500]);
    assert.equal((await ada.reception('Bea')).codec.toLowerCase(), `video/${codec}`);
    assert.equal((await bea.reception('Ada')).codec.toLowerCase(), `video/${codec}`);
  });

  for (const { who, means } of [{ who: 'no key', means: {} }, { who: 'another key', means: withKey(OTHER_KEY) }]) {
    call.story(`who has ${who} receives the picture and decodes nothing of it (${codec})`, async () => {
      await call.enter(camera(codec).ada, 'Ada', { query, ...withKey(KEY) });
      const bea = await call.enter(viewers, 'Bea', { query: onlooker, ...withKey(KEY) });
      const eve = await call.enter(viewers, 'Eve', { query: onlooker, ...means });
      await bea.seesPicture('Ada', 'red');
      await eventually('Eve is sent the picture', () => eve.evaluate(picturesReceived), ({ packets }) => packets > PACKETS_UNREAD);
      assert.equal((await eve.evaluate(picturesReceived)).decoded, 0);
      // Eve asks for one keyframe after the other: that is no harm to Bea.
      await bea.seesPicture('Ada', 'red');
    });
  }

  call.story(`who comes late has every picture, and its size follows the tile (${codec})`, async () => {
    const ada = await call.enter(camera(codec).ada, 'Ada', { query, ...withKey(KEY) });
    const bea = await call.enter(camera(codec).bea, 'Bea', { query, ...withKey(KEY) });
    await Promise.all([ada.seesPicture('Bea', 'blue'), bea.seesPicture('Ada', 'red')]);

    const cai = await call.enter(viewers, 'Cai', { query: onlooker, ...withKey(KEY) });
    await Promise.all([cai.seesPicture('Ada', 'red'), cai.seesPicture('Bea', 'blue')]);
    await resizeTile(cai, 'Ada', width, height);
    await receivesHeight(cai, 'Ada', height, TOP_LAYER_SECONDS);
    await resizeTile(cai, 'Ada', width / 4, Math.round(height / 4));
    await receivesHeight(cai, 'Ada', lowest);
    await resizeTile(cai, 'Ada', width, height);
    await receivesHeight(cai, 'Ada', height, TOP_LAYER_SECONDS);
    await cai.seesPicture('Ada', 'red');
  });
}

/** @param {string} codec */
function camera(codec) {
  return /** @type {{ ada: Browser, bea: Browser }} */ (cameras[codec]);
}

// What follows runs inside the page.

/** @param {boolean} able whether the browser could encrypt */
function makeNoTransform(able) {
  if (!able) Reflect.deleteProperty(window, 'RTCRtpScriptTransform');
  const encryption = { sender: () => null, receiver: () => null };
  Object.assign(window, { madang: { options: { encryption } } });
}

/** Of all pictures together: packets received, frames decoded. */
async function picturesReceived() {
  const sum = { packets: 0, decoded: 0 };
  for (const pc of /** @type {any} */ (window).peerConnections) {
    for (const entry of (await pc.getStats()).values()) {
      if (entry.type !== 'inbound-rtp' || entry.kind !== 'video') continue;
      sum.packets += entry.packetsReceived;
      sum.decoded += entry.framesDecoded ?? 0;
    }
  }
  return sum;
}
