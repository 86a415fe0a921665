/**
 * A camera whose layers have different codecs: VP8 for small tiles, AV1 for large ones. Chromium negotiates such a camera behind a field
 * trial, but encodes all of its layers to the codec of the first, whatever it calls them. So the page itself makes the AV1 of the
 * largest; that the server and a real decoder change from one codec to the other is what is seen here.
 */
import assert from 'node:assert/strict';
import { before } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Call } from './support/call.mjs';
import { COLOURS } from './support/media.mjs';
import { resizeTile } from './support/tiles.mjs';
import { eventually } from './support/wait.mjs';

const WORKER_PATH = '/av1-worker.mjs';
const WORKER_FILE = fileURLToPath(new URL('support/av1-worker.mjs', import.meta.url));
const TRIALS = '--force-fieldtrials=WebRTC-LegacySimulcastLayerLimit/Disabled/WebRTC-MixedCodecSimulcast/Enabled/';

const WIDTH = 480;
const HEIGHT = 270;
/** How long each codec is looked at. */
const WATCHED_MS = 2000;

const call = new Call();
/** @type {import('./support/call.mjs').Browser} */ let sender;
/** @type {import('./support/call.mjs').Browser} */ let viewers;

before(async () => {
  const browser = await call.chromium({ colour: COLOURS.red, hertz: 500, width: WIDTH, height: HEIGHT, flags: [TRIALS] });
  await browser.context.route(`**${WORKER_PATH}`, (route) => route.fulfill({ path: WORKER_FILE, contentType: 'text/javascript' }));
  sender = browser;
  viewers = await call.chromium();
});

call.story('the codec follows the size of the tile', async () => {
  const argument = { path: WORKER_PATH, colour: `rgb(${COLOURS.blue})` };
  await call.enter(sender, 'Ada', { query: `width=${WIDTH}&height=${HEIGHT}`, beforeScripts: mixCodecs, argument });
  const bea = await call.enter(viewers, 'Bea', { query: 'mic=0&cam=0' });
  const small = { codec: 'video/vp8', colour: 'red', width: WIDTH / 4, height: Math.round(HEIGHT / 4) };
  const large = { codec: 'video/av1', colour: 'blue', width: WIDTH, height: HEIGHT };

  for (const { codec, colour, width, height } of [small, large, small, large]) {
    await resizeTile(bea, 'Ada', width, height);
    await eventually(`Bea decodes ${codec}`, async () => (await bea.reception('Ada')).codec.toLowerCase(), (seen) => seen === codec);
    await bea.seesPicture('Ada', colour);
    const before = await bea.reception('Ada');
    await delay(WATCHED_MS);
    const after = await bea.reception('Ada');
    assert.equal(after.codec.toLowerCase(), codec);
    const frames = after.framesDecoded - before.framesDecoded;
    assert.ok(frames > WATCHED_MS / 1000 * 15, `${frames} frames of ${codec}`);
  }
});

// What follows runs inside the page.

/** @param {{ path: string, colour: string }} _ */
function mixCodecs({ path, colour }) {
  const add = RTCPeerConnection.prototype.addTransceiver;
  RTCPeerConnection.prototype.addTransceiver = function addMixed(what, init) {
    const encodings = /** @type {{ codec?: object, scalabilityMode?: string }[]} */ (init?.sendEncodings ?? []);
    if (encodings.length < 3) return add.call(this, what, init);
    const { codecs } = /** @type {RTCRtpCapabilities} */ (RTCRtpSender.getCapabilities('video'));
    const find = (/** @type {string} */ name) => codecs.find(({ mimeType }) => mimeType === `video/${name}`);
    encodings.forEach((encoding, layer) => Object.assign(encoding, layer === 2 ? { codec: find('AV1'), scalabilityMode: 'L1T1' } : { codec: find('VP8') }));
    const transceiver = add.call(this, what, init);
    transceiver.sender.transform = new RTCRtpScriptTransform(new Worker(path, { type: 'module' }), { colour });
    return transceiver;
  };
}
