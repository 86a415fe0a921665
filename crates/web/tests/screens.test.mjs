/** Pictures of the page as people see it, for people to look at; each also shows that nothing is cut off or overlaps. */
import assert from 'node:assert/strict';
import { before } from 'node:test';
import { Call, screenshot } from './support/call.mjs';
import { COLOURS } from './support/media.mjs';
import { eventually } from './support/wait.mjs';

/** @typedef {import('./support/participant.mjs').Participant} Participant */

const CAMERA = 'width=1280&height=720';
const DESKTOP = { width: 1280, height: 800 };
const PHONE = { width: 390, height: 844 };

const call = new Call();
/** @type {import('./support/call.mjs').Browser} */ let red;
/** @type {import('./support/call.mjs').Browser} */ let blue;
/** @type {import('./support/call.mjs').Browser} */ let yellow;

before(async () => {
  [red, blue, yellow] = await Promise.all([
    call.chromium({ colour: COLOURS.red, hertz: 500, width: 1280, height: 720, viewport: DESKTOP }),
    call.chromium({ colour: COLOURS.blue, hertz: 700, viewport: PHONE }),
    call.chromium({ colour: COLOURS.yellow, hertz: 1100 }),
  ]);
});

call.story('before the call', async () => {
  const ada = await call.arrive(red, 'Ada', { query: CAMERA });
  await eventually('the preview is live', () => ada.attribute('preview', 'data-state'), (state) => state === 'live');
  await fits(ada);
  await screenshot(ada, 'prejoin');

  const bea = await call.arrive(blue, 'Bea');
  await eventually('the preview is live', () => bea.attribute('preview', 'data-state'), (state) => state === 'live');
  await fits(bea);
  await screenshot(bea, 'prejoin-phone');
});

call.story('a call of three, its chat and its statistics', async () => {
  const ada = await call.enter(red, 'Ada', { query: CAMERA });
  const bea = await call.enter(blue, 'Bea', { query: 'width=320&height=180' });
  const cai = await call.enter(yellow, 'Cai', { query: 'width=320&height=180' });
  await ada.seesPicture('Bea', 'blue');
  await ada.seesPicture('Cai', 'yellow');
  await bea.seesPicture('Ada', 'red');
  await bea.seesPicture('Cai', 'yellow');
  await fits(ada);
  await screenshot(ada, 'grid');
  await fits(bea);
  await screenshot(bea, 'grid-phone');

  await ada.click('stats-button');
  await eventually('the statistics have a codec', () => ada.text('stats-overlay'), (text) => /VP8/i.test(text));
  await eventually('and the reason of a slot', () => ada.text('stats-overlay'), (text) => text.includes('live'));
  await fits(ada);
  await screenshot(ada, 'statistics');
  await ada.click('stats-button');

  await cai.chat('Hello from the other side of the yard');
  await ada.chat('Hello!');
  await eventually('the chat has both', () => ada.chatMessages(), (messages) => messages.length === 2);
  await fits(ada);
  await screenshot(ada, 'chat');
});

call.story('a shared screen', async () => {
  const ada = await call.enter(red, 'Ada', { query: CAMERA });
  const cai = await call.enter(yellow, 'Cai', { query: 'width=320&height=180' });
  await cai.click('screen-button');
  await ada.seesPicture('Cai', 'test picture', 'screen');
  await ada.seesPicture('Cai', 'yellow');
  await fits(ada);
  await screenshot(ada, 'screen-share');
});

/**
 * Nothing is wider than the window.
 *
 * @param {Participant} participant
 */
async function fits(participant) {
  const { content, window } = await participant.evaluate(widths);
  assert.ok(content <= window, `the page is ${content} px wide in a window of ${window} px`);
}

// What follows runs inside the page.

function widths() {
  return { content: document.documentElement.scrollWidth, window: window.innerWidth };
}
