/**
 * A voice that is encrypted end to end, for a listener who loses packets. The server repeats what others say (RED, RFC 2198); a receiver
 * takes that apart only after it has decrypted the packet, so of an encrypted voice nothing would be left.
 */
import assert from 'node:assert/strict';
import { after, before } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { Call } from './support/call.mjs';
import { KEY, encryptingChromium, withKey } from './support/encryption.mjs';
import { NETWORK_OPTIONS, Network } from './support/network.mjs';
import { eventually } from './support/wait.mjs';

const LOSS = 0.1;
/** Of two seconds: long before that the server has been told, and has begun to repeat what it may. */
const PACKETS_LOST = 10;
const LISTENED_MS = 3000;
/** More than what gets lost, far less than all of it: concealment stretches, and a busy machine is late. */
const CONCEALED_MAX = 0.5;

const call = new Call(NETWORK_OPTIONS);
/** @type {import('./support/call.mjs').Browser} */ let speakers;
/** @type {import('./support/call.mjs').Browser} */ let listeners;
/** @type {Network | undefined} */ let network;

before(async () => {
  speakers = await encryptingChromium(call, { hertz: 500 });
  const browser = await encryptingChromium(call);
  await browser.context.addInitScript(offerRed);
  listeners = browser;
});

after(() => network?.close());

call.story('an encrypted voice is heard by who loses packets', async () => {
  network = await Network.start(call.server.mediaPort);
  await call.enter(speakers, 'Ada', { query: 'cam=0', ...withKey(KEY) });
  const bea = await call.enter(listeners, 'Bea', { query: 'mic=0&cam=0', ...withKey(KEY) });
  await bea.hears([500]);

  network.person(1).down.configure({ loss: LOSS });
  const lost = (await bea.evaluate(soundReceived)).lost + PACKETS_LOST;
  const before = await eventually('packets get lost', () => bea.evaluate(soundReceived), (sound) => sound.lost >= lost);
  await delay(LISTENED_MS);
  const after = await bea.evaluate(soundReceived);
  const concealed = (after.concealed - before.concealed) / (after.samples - before.samples);
  assert.ok(concealed < CONCEALED_MAX, `${concealed} of the sound is made up`);
  await bea.hears([500]);
});

// What follows runs inside the page.

/** As clients of other makes do that only listen: with the library, whoever encrypts is sent no RED, because it offers to send none. */
function offerRed() {
  const prefer = RTCRtpTransceiver.prototype.setCodecPreferences;
  RTCRtpTransceiver.prototype.setCodecPreferences = function preferRed(codecs) {
    const capabilities = this.receiver.track.kind === 'audio' ? RTCRtpReceiver.getCapabilities('audio') : null;
    const red = capabilities?.codecs.filter(({ mimeType }) => mimeType === 'audio/red') ?? [];
    prefer.call(this, [...red, ...[...codecs].filter(({ mimeType }) => mimeType !== 'audio/red')]);
  };
}

/** Of all voices together: packets lost, samples played and how many of them were made up. */
async function soundReceived() {
  const sum = { lost: 0, samples: 0, concealed: 0 };
  for (const pc of /** @type {any} */ (window).peerConnections) {
    for (const entry of (await pc.getStats()).values()) {
      if (entry.type !== 'inbound-rtp' || entry.kind !== 'audio' || !entry.packetsReceived) continue;
      sum.lost += entry.packetsLost;
      sum.samples += entry.totalSamplesReceived;
      sum.concealed += entry.concealedSamples;
    }
  }
  return sum;
}
