/** From glass to glass: a clock that is drawn, broadcast, watched, and read back from the pixels of the player. */
import assert from 'node:assert/strict';
import { before } from 'node:test';
import { Call } from './support/call.mjs';
import { broadcast, playerIs, VIDEO, watch } from './support/streams.mjs';
import { eventually } from './support/wait.mjs';

const FRAMES = 240;

const call = new Call();
/** @type {import('./support/call.mjs').Browser} */ let browser;

before(async () => {
  browser = await call.chromium();
});

call.story('a clock is read on the screen of a viewer', async () => {
  await broadcast(call, browser, 'Ada', { query: 'layers=one&width=320&height=180&mic=0', beforeScripts: showClock });
  const bea = await watch(call, browser, 'Bea');
  await playerIs(bea, 'playing');
  // The jitter buffer needs a while to see that the network is calm.
  await new Promise((resolve) => setTimeout(resolve, 3_000));
  /** @type {{delays: number[], unreadable: number}} */
  const { delays, unreadable } = await bea.evaluate(readClock, { selector: VIDEO, frames: FRAMES });
  const shown = await eventually('the player tells its delay', () => bea.attribute('latency', 'data-ms'));
  delays.sort((a, b) => a - b);
  const at = (/** @type {number} */ share) => delays[Math.floor(share * (delays.length - 1))] ?? NaN;
  console.log(`glass to glass over ${delays.length} frames: p50 ${at(0.5)} ms, p95 ${at(0.95)} ms; the player itself says ${shown} ms from the server`);
  assert.ok(unreadable < FRAMES / 10, `${unreadable} of ${FRAMES} frames could not be read`);
  assert.ok(at(0) > 0, 'a frame is shown after it was drawn');
});

// What follows runs inside the page: each function stands alone.

/** Puts a clock in the place of the camera: milliseconds in 16 bits, then the number of ones in 4, as black and white columns. */
function showClock() {
  navigator.mediaDevices.getUserMedia = async () => {
    const canvas = Object.assign(document.createElement('canvas'), { width: 320, height: 180 });
    const context = canvas.getContext('2d');
    const draw = () => {
      const time = Date.now() & 0xffff;
      const ones = time.toString(2).replaceAll('0', '').length & 15;
      const bits = (time * 16 + ones).toString(2).padStart(20, '0');
      for (const [n, bit] of [...bits].entries()) {
        if (!context) return;
        context.fillStyle = bit === '1' ? '#fff' : '#000';
        context.fillRect(n * 16, 0, 16, 180);
      }
    };
    draw();
    setInterval(draw, 1000 / 30);
    return canvas.captureStream(30);
  };
}

/**
 * @param {{selector: string, frames: number}} _
 * @returns {Promise<{delays: number[], unreadable: number}>} delays in milliseconds
 */
function readClock({ selector, frames }) {
  const video = /** @type {HTMLVideoElement} */ (document.querySelector(selector));
  const canvas = Object.assign(document.createElement('canvas'), { width: 320, height: 8 });
  const context = canvas.getContext('2d', { willReadFrequently: true });
  /** @type {number[]} */
  const delays = [];
  let unreadable = 0;
  return new Promise((resolve) => {
    const read = () => {
      const now = Date.now() & 0xffff;
      context?.drawImage(video, 0, 0, 320, 8);
      const pixels = context?.getImageData(0, 4, 320, 1).data ?? new Uint8ClampedArray();
      const value = Array.from({ length: 20 }, (_, n) => Number((pixels[(n * 16 + 8) * 4] ?? 0) > 128)).reduce((sum, bit) => sum * 2 + bit, 0);
      const time = value >> 4;
      const ones = time.toString(2).replaceAll('0', '').length & 15;
      if (ones === (value & 15)) delays.push((now - time) & 0xffff);
      else unreadable += 1;
      if (delays.length + unreadable >= frames) resolve({ delays, unreadable });
      else video.requestVideoFrameCallback(read);
    };
    video.requestVideoFrameCallback(read);
  });
}
