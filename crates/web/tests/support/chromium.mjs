/** Chromium of the operating system, headless, with a camera and a microphone of its own. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { writeCamera, writeGrain, writeTones } from './media.mjs';

/** @typedef {import('./media.mjs').Colour} Colour */
/** @typedef {import('playwright-core').Page} Page */

/**
 * @typedef {object} ChromiumOptions
 * @property {Colour} [colour] of the camera; without it Chromium's own test picture
 * @property {boolean} [grain] of the camera, instead of a colour: an encoder spends all that it is given
 * @property {number | [left: number, right: number]} [hertz] the tone of the microphone; without it Chromium's own beeps
 * @property {number} [width] of the camera
 * @property {number} [height]
 * @property {boolean} [devices] false: a machine without camera and microphone
 * @property {boolean} [grant] false: nobody answers the permission prompt, and host candidates are mDNS names
 * @property {{ width: number, height: number }} [viewport]
 * @property {string[]} [flags] more command line flags
 */

const EXECUTABLE = '/usr/bin/chromium';

const FLAGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--autoplay-policy=no-user-gesture-required',
  '--mute-audio',
  // A page behind another one keeps its timers and its rendering: several participants share one browser.
  '--disable-background-timer-throttling',
  '--disable-backgrounding-occluded-windows',
  '--disable-renderer-backgrounding',
  // Without this, pictures below 960×540 are sent in fewer than three layers.
  '--force-fieldtrials=WebRTC-LegacySimulcastLayerLimit/Disabled/',
];

/**
 * Starts one browser process.
 *
 * @param {ChromiumOptions} [options]
 */
export async function startChromium(options = {}) {
  const { width = 320, height = 180, devices = true, grant = true, viewport = { width: 1000, height: 700 } } = options;
  const folder = mkdtempSync(join(tmpdir(), 'madang-chromium-'));
  const flags = [...FLAGS, ...(options.flags ?? [])];
  if (grant) flags.push('--use-fake-ui-for-media-stream');
  if (devices) {
    flags.push('--use-fake-device-for-media-stream=fps=30');
    if (options.colour) {
      const camera = writeCamera(folder, { name: 'camera', colour: options.colour, width, height });
      flags.push(`--use-file-for-fake-video-capture=${camera}`);
    }
    if (options.grain) flags.push(`--use-file-for-fake-video-capture=${writeGrain(folder, { name: 'grain', width, height })}`);
    if (options.hertz) flags.push(`--use-file-for-fake-audio-capture=${writeTones(folder, [options.hertz].flat())}`);
  }
  const context = await chromium.launchPersistentContext(join(folder, 'profile'), {
    executablePath: EXECUTABLE,
    chromiumSandbox: false,
    args: flags,
    viewport,
  });
  return {
    context,
    /** @returns {Promise<Page>} a tab */
    newPage: () => context.newPage(),
    async close() {
      await context.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
