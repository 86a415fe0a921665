/** What a viewer gets of a camera over a bad network, in the figures of getStats. */
import { setTimeout as delay } from 'node:timers/promises';
import { eventually } from './wait.mjs';

/** @typedef {import('./network.mjs').LinkConfig} LinkConfig */
/** @typedef {{ at: number, viewer_down?: LinkConfig, viewer_up?: LinkConfig, sender_up?: LinkConfig, sender_down?: LinkConfig }} Step */
/** @typedef {{ name: string, seconds: number, steps: Step[] }} Plan */

/**
 * @typedef {object} Figures
 * @property {number} freezes
 * @property {number} frozen seconds
 * @property {number} frames decoded in a second
 * @property {number} made frames that the sender encoded in a second: fewer than the camera's 30 on a machine that is too slow
 * @property {number} keyframes decoded
 * @property {number} held for how long a picture was to be held, in seconds; the mean
 * @property {number} concealed share of the sound
 * @property {number | null} recovery seconds from the last step until the top layer is shown
 */

/** Small, so that two cores carry both browsers, and in steps of 16, or Chromium cuts lines off: the top layer has 460 kbit/s, the next 130. */
export const CAMERA_SIZE = { width: 480, height: 272 };
/** The top layer is the last that the encoder gets bandwidth for. */
const TOP_LAYER_SECONDS = 40;
const SAMPLE_MS = 500;

/**
 * Carries out a plan: a camera, a viewer with one large tile, and steps on the links between them and the server.
 *
 * @param {import('./call.mjs').Call} call
 * @param {import('./network.mjs').Network} network
 * @param {{ sender: import('./call.mjs').Browser, viewer: import('./call.mjs').Browser }} browsers
 * @param {Plan} plan
 * @returns {Promise<Figures>}
 */
export async function perform(call, network, browsers, plan) {
  const { width, height } = CAMERA_SIZE;
  network.reset();
  const ada = await call.enter(browsers.sender, 'Ada', { query: `width=${width}&height=${height}` });
  const bea = await call.enter(browsers.viewer, 'Bea', { query: 'mic=0&cam=0' });
  await bea.evaluate(resize, { selector: await bea.tile('Ada'), width, height });
  const atTop = async () => (await bea.reception('Ada')).frameHeight === height;
  await eventually('the top layer', atTop, Boolean, TOP_LAYER_SECONDS);

  const began = performance.now();
  const elapsed = () => (performance.now() - began) / 1000;
  const [before, sentBefore] = [await bea.evaluate(received), await ada.evaluate(sent)];
  const steps = [...plan.steps];
  const lastStep = steps.at(-1)?.at ?? 0;
  let recovery = null;
  while (elapsed() < plan.seconds) {
    while (steps[0] && steps[0].at <= elapsed()) carryOut(network, /** @type {Step} */ (steps.shift()));
    if (elapsed() > lastStep && recovery === null && (await atTop())) recovery = elapsed() - lastStep;
    await delay(SAMPLE_MS);
  }
  const [after, sentAfter] = [await bea.evaluate(received), await ada.evaluate(sent)];
  const seconds = elapsed();
  return {
    freezes: after.freezes - before.freezes,
    frozen: after.frozen - before.frozen,
    frames: (after.frames - before.frames) / seconds,
    made: Math.max(...sentAfter.map((/** @type {number} */ frames, /** @type {number} */ layer) => frames - sentBefore[layer])) / seconds,
    keyframes: after.keyframes - before.keyframes,
    held: (after.held - before.held) / Math.max(1, after.emitted - before.emitted),
    concealed: (after.concealed - before.concealed) / Math.max(1, after.samples - before.samples),
    recovery,
  };
}

/**
 * @param {import('./network.mjs').Network} network
 * @param {Step} step
 */
function carryOut(network, { sender_up, sender_down, viewer_up, viewer_down }) {
  const [sender, viewer] = [network.person(0), network.person(1)];
  if (sender_up) sender.up.configure(sender_up);
  if (sender_down) sender.down.configure(sender_down);
  if (viewer_up) viewer.up.configure(viewer_up);
  if (viewer_down) viewer.down.configure(viewer_down);
}

// What follows runs inside the page: each function stands alone.

/** @param {{ selector: string, width: number, height: number }} _ of a tile */
function resize({ selector, width, height }) {
  const tile = /** @type {HTMLElement | null} */ (document.querySelector(selector));
  if (!tile) throw new Error(`no ${selector}`);
  tile.style.cssText = `width: ${width}px; height: ${height}px; flex: none; justify-self: start; align-self: start`;
}

async function received() {
  const sum = { freezes: 0, frozen: 0, frames: 0, keyframes: 0, held: 0, emitted: 0, concealed: 0, samples: 0 };
  for (const pc of /** @type {any} */ (window).peerConnections) {
    for (const entry of (await pc.getStats()).values()) {
      // Slots without a voice conceal nothing but silence.
      if (entry.type !== 'inbound-rtp' || entry.packetsReceived === 0) continue;
      sum.freezes += entry.freezeCount ?? 0;
      sum.frozen += entry.totalFreezesDuration ?? 0;
      sum.frames += entry.framesDecoded ?? 0;
      sum.keyframes += entry.keyFramesDecoded ?? 0;
      if (entry.kind === 'video') {
        sum.held += entry.jitterBufferTargetDelay ?? 0;
        sum.emitted += entry.jitterBufferEmittedCount ?? 0;
      }
      sum.concealed += entry.concealedSamples ?? 0;
      sum.samples += entry.totalSamplesReceived ?? 0;
    }
  }
  return sum;
}

/** Frames that each layer has encoded. */
async function sent() {
  const frames = [];
  for (const pc of /** @type {any} */ (window).peerConnections) {
    for (const entry of (await pc.getStats()).values()) {
      if (entry.type === 'outbound-rtp' && entry.rid) frames.push([entry.rid, entry.framesEncoded ?? 0]);
    }
  }
  return frames.sort().map(([, encoded]) => encoded);
}
