/** Chromium and Firefox in one room. */
import assert from 'node:assert/strict';
import { before } from 'node:test';
import { Call } from './support/call.mjs';
import { KEY, encryptingChromium, encryptingFirefox, withKey } from './support/encryption.mjs';
import { startFirefox } from './support/firefox.mjs';
import { COLOURS } from './support/media.mjs';
import { soundEnergy } from './support/probe.mjs';
import { eventually } from './support/wait.mjs';

const CAMERA = 'width=320&height=180';
/** What Firefox's simulated microphone plays. */
const FIREFOX_HERTZ = 1000;

const call = new Call();
/** @type {import('./support/call.mjs').Browser} */ let chromium;
/** @type {import('./support/call.mjs').Browser} */ let firefox;

before(async () => {
  chromium = await call.chromium({ colour: COLOURS.red, hertz: 500 });
  firefox = call.keep(await startFirefox());
});

call.story('Chromium and Firefox see and hear each other', async () => {
  const ada = await call.enter(chromium, 'Ada', { query: CAMERA });
  const fay = await call.enter(firefox, 'Fay', { query: CAMERA });

  await fay.seesPicture('Ada', 'red');
  assert.equal((await fay.reception('Ada')).codec, 'video/VP8');
  await eventually('Ada sees a picture of Fay', () => ada.colour('Fay'), (colour) => !['no picture', 'black'].includes(colour));
  await ada.seesMovement('Fay');
  assert.equal((await ada.reception('Fay')).codec, 'video/VP8');

  await ada.hears([FIREFOX_HERTZ]);
  // Firefox without an audio device does not run Web Audio: the decoder's own measure has to do.
  await eventually('Fay hears Ada', () => soundEnergy(fay), (energy) => energy > 0.001);
});

call.story('Chromium and Firefox with a key see and hear each other, and who has none nothing', async () => {
  const ada = await call.enter(await encryptingChromium(call, { colour: COLOURS.red, hertz: 500 }), 'Ada', {
    query: CAMERA,
    ...withKey(KEY),
  });
  const fay = await call.enter(await encryptingFirefox(call), 'Fay', { query: CAMERA, ...withKey(KEY) });
  const eve = await call.enter(firefox, 'Eve', { query: 'mic=0&cam=0' });

  await fay.seesPicture('Ada', 'red');
  await eventually('Ada sees a picture of Fay', () => ada.colour('Fay'), (colour) => !['no picture', 'black'].includes(colour));
  await ada.seesMovement('Fay');
  await ada.hears([FIREFOX_HERTZ]);
  await eventually('Fay hears Ada', () => soundEnergy(fay), (energy) => energy > 0.001);
  assert.equal(await eve.colour('Ada'), 'no picture');
});
