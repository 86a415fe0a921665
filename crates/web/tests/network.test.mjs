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

call.story('a twentieth of the packets is lost on the way to the viewer', async () => {
  const { figures, told } = await carriedOut({ name: 'loss', seconds: 8, steps: [{ at: 0, viewer_down: { loss: 0.05 } }] });
  // The encoder of a busy machine makes fewer frames than 30. Most of what it makes is shown, and what got lost is sent again:
  // else each loss would cost a keyframe, and there are several in a second.
  assert.ok(figures.frames > figures.made * 0.6, told);
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
