/** Pictures over bad networks. `cargo xtask chromium` makes the whole table; this is the short part that every run has. */
import assert from 'node:assert/strict';
import { after, before } from 'node:test';
import { Call } from './support/call.mjs';
import { NETWORK_OPTIONS, Network } from './support/network.mjs';
import { CAMERA_SIZE, perform } from './support/quality.mjs';

const call = new Call(NETWORK_OPTIONS);
/** @type {import('./support/call.mjs').Browser} */ let sender;
/** @type {import('./support/call.mjs').Browser} */ let viewer;
/** @type {Network | undefined} */ let network;

before(async () => {
  sender = await call.chromium({ grain: true, hertz: 500, ...CAMERA_SIZE });
  viewer = await call.chromium();
});

after(() => network?.close());

/** @param {import('./support/quality.mjs').Plan} plan */
async function carriedOut(plan) {
  network ??= await Network.start(call.server.mediaPort);
  const figures = await perform(call, network, { sender, viewer }, plan);
  return { figures, told: JSON.stringify(figures) };
}

call.story('one packet in seven is lost on the way to who only watches', async () => {
  const { figures, told } = await carriedOut({ name: 'loss', seconds: 15, steps: [{ at: 0, viewer_down: { loss: 0.15 } }] });
  // Pictures are held until what got lost has been sent again, a round trip of 50 ms; else for 16 ms, and 24 of 30 are shown. That is
  // not asked here: of the 27 to 29 that are shown now, a busy machine leaves 25.
  assert.ok(figures.held > 0.05, told);
  assert.ok(figures.frames > figures.made * 0.7, told);
  // A loss that is not repaired would cost a keyframe; there are several in a second.
  assert.ok(figures.keyframes <= 8, told);
});

call.story('a link becomes narrow, and wide again', async () => {
  const steps = [
    { at: 0, viewer_down: { rate_bps: 250_000 } },
    { at: 6, viewer_down: { rate_bps: 3_000_000 } },
  ];
  const { figures, told } = await carriedOut({ name: 'cap', seconds: 18, steps });
  assert.ok(figures.recovery !== null, told);
  assert.ok(figures.frames > 0, told);
});
