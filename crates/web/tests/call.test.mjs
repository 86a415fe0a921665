/** Three people in a room: they see and hear each other, mute, write, share a screen, leave and come back. */
import assert from 'node:assert/strict';
import { before } from 'node:test';
import { Call } from './support/call.mjs';
import { COLOURS } from './support/media.mjs';
import { element } from './support/participant.mjs';
import { eventually } from './support/wait.mjs';

/** @typedef {import('./support/call.mjs').Browser} Browser */

const CAMERA = 'width=320&height=180';
const call = new Call();
/** @type {Browser} */ let red;
/** @type {Browser} */ let blue;
/** @type {Browser} */ let yellow;

before(async () => {
  [red, blue, yellow] = await Promise.all([
    call.chromium({ colour: COLOURS.red, hertz: 500 }),
    call.chromium({ colour: COLOURS.blue, hertz: 700 }),
    call.chromium({ colour: COLOURS.yellow, hertz: 1100 }),
  ]);
});

call.story('three people see and hear each other', async () => {
  const ada = await call.enter(red, 'Ada', { query: CAMERA });
  const bea = await call.enter(blue, 'Bea', { query: CAMERA });
  const cai = await call.enter(yellow, 'Cai', { query: CAMERA });

  await ada.seesPicture('Bea', 'blue');
  await ada.seesPicture('Cai', 'yellow');
  await bea.seesPicture('Ada', 'red');
  await bea.seesPicture('Cai', 'yellow');
  await cai.seesPicture('Ada', 'red');
  await cai.seesPicture('Bea', 'blue');

  await ada.hears([700, 1100]);
  await bea.hears([500, 1100]);
  await cai.hears([500, 700]);

  for (const participant of [ada, bea, cai]) {
    assert.equal(await participant.attribute('participant-count', 'data-count'), '3');
    assert.equal(await participant.attribute('grid', 'data-count'), '3');
  }
});

call.story('a muted microphone is silent, and is seen to be muted', async () => {
  const ada = await call.enter(red, 'Ada', { query: CAMERA });
  const bea = await call.enter(blue, 'Bea', { query: CAMERA });
  await bea.hears([500]);

  await ada.click('mute-button');
  await eventually('Bea sees that Ada is muted', () => bea.tileAttribute('Ada', 'data-muted'), (muted) => muted === 'true');
  await bea.hears([]);

  await ada.click('mute-button');
  await eventually('Bea sees that Ada can be heard', () => bea.tileAttribute('Ada', 'data-muted'), (muted) => muted === 'false');
  await bea.hears([500]);
});

call.story('a camera that is turned off leaves no picture, and comes back', async () => {
  const ada = await call.enter(red, 'Ada', { query: CAMERA });
  const bea = await call.enter(blue, 'Bea', { query: CAMERA });
  await bea.seesPicture('Ada', 'red');

  await ada.click('camera-button');
  await eventually('Bea sees no picture of Ada', () => bea.tileAttribute('Ada', 'data-state'), (state) => state === 'avatar');
  await eventually('Ada sends no more frames', () => ada.evaluate(framesEncodedInASecond), (frames) => frames === 0);

  await ada.click('camera-button');
  await eventually('Bea sees Ada again', () => bea.tileAttribute('Ada', 'data-state'), (state) => state === 'live');
  await bea.seesPicture('Ada', 'red');
});

call.story('a screen is shared beside the camera', async () => {
  const ada = await call.enter(red, 'Ada', { query: CAMERA });
  const bea = await call.enter(blue, 'Bea', { query: CAMERA });

  await ada.click('screen-button');
  await bea.seesPicture('Ada', 'test picture', 'screen');
  await bea.seesPicture('Ada', 'red', 'camera');

  await ada.click('screen-button');
  await eventually('the tile of the screen goes', () => bea.evaluate(countScreens), (count) => count === 0);
  await bea.seesMovement('Ada');
});

call.story('messages reach everybody in the chat', async () => {
  const ada = await call.enter(red, 'Ada', { query: 'mic=0&cam=0' });
  const bea = await call.enter(blue, 'Bea', { query: 'mic=0&cam=0' });
  const cai = await call.enter(yellow, 'Cai', { query: 'mic=0&cam=0' });

  await ada.chat('Is <b>everybody</b> here?');
  for (const other of [bea, cai]) {
    await eventually(`${other.name} is told of a message`, () => other.text('chat-badge'), (unread) => unread === '1');
    await other.click('chat-button');
    await eventually(`${other.name} reads it`, () => other.chatMessages(), ([first]) => first?.includes('Is <b>everybody</b> here?') ?? false);
  }
  await bea.chat('I am');
  await cai.chat('So am I');
  for (const participant of [ada, bea, cai]) {
    await eventually(
      `${participant.name} has the whole conversation`,
      () => participant.chatMessages(),
      (messages) => messages.length === 3 && messages.some((text) => text.includes('I am')) && messages.some((text) => text.includes('So am I')),
    );
  }
});

call.story('whoever speaks is marked', async () => {
  const ada = await call.enter(red, 'Ada', { query: 'cam=0' });
  const bea = await call.enter(blue, 'Bea', { query: 'mic=0&cam=0' });
  const cai = await call.enter(yellow, 'Cai', { query: 'mic=0&cam=0' });
  for (const other of [bea, cai]) {
    await eventually(`${other.name} sees Ada speak`, () => other.tileAttribute('Ada', 'data-speaking'), (speaking) => speaking === 'true');
  }
  assert.equal(await bea.tileAttribute('Cai', 'data-speaking'), 'false');

  await ada.click('mute-button');
  for (const other of [bea, cai]) {
    await eventually(`${other.name} sees Ada be quiet`, () => other.tileAttribute('Ada', 'data-speaking'), (speaking) => speaking === 'false');
  }
});

call.story('single keys do what they say, until they are turned off', async () => {
  const ada = await call.enter(red, 'Ada', { query: CAMERA });
  const bea = await call.enter(blue, 'Bea', { query: CAMERA });
  const pressKeys = async () => {
    for (const key of /** @type {const} */ (['m', 'c'])) await ada.page.keyboard.press(key);
  };
  /** @param {string} state */
  const isMuted = (state) => eventually(`Ada's being muted is ${state}`, () => bea.tileAttribute('Ada', 'data-muted'), (muted) => muted === state);
  const chatIsOpen = () => ada.attribute('chat-button', 'aria-expanded');
  assert.equal(await ada.evaluate(focused), 'H1', 'where the new page begins');
  await ada.page.keyboard.press('m');
  await isMuted('true');
  await ada.page.keyboard.press('m');
  await isMuted('false');

  await ada.click('settings-button');
  await ada.click('shortcuts');
  await ada.click('settings-close');
  await pressKeys();
  assert.equal(await chatIsOpen(), 'false');
  await ada.page.reload();
  await ada.sees('prejoin');
  await ada.join();
  await pressKeys();
  assert.equal(await chatIsOpen(), 'false', 'the page remembers it');
  await ada.click('chat-button');
  assert.equal(await chatIsOpen(), 'true');
  await bea.hears([500]);
});

call.story('who leaves is gone, by the button and by closing the tab', async () => {
  const ada = await call.enter(red, 'Ada', { query: CAMERA });
  const bea = await call.enter(blue, 'Bea', { query: CAMERA });
  const cai = await call.enter(yellow, 'Cai', { query: CAMERA });
  await ada.seesPicture('Bea', 'blue');
  await ada.seesPicture('Cai', 'yellow');

  await bea.click('leave-button');
  await bea.sees('left');
  assert.equal(await bea.attribute('left', 'data-code'), 'left');
  await eventually('the tile of Bea goes', () => ada.tiles(), (names) => !names.some((name) => name.includes('Bea')));
  await ada.seesMovement('Cai');

  await cai.page.close({ runBeforeUnload: true });
  // A tab that is closed cannot always say so: its session then lives for resume_ttl.
  await eventually('the tile of Cai goes', () => ada.tiles(), (names) => !names.some((name) => name.includes('Cai')), 40);
  await ada.hears([]);

  await bea.click('rejoin-button');
  await bea.isConnected();
  await ada.seesPicture('Bea', 'blue');
});

call.story('a page that is reloaded is in the call again', async () => {
  const ada = await call.enter(red, 'Ada', { query: CAMERA });
  const bea = await call.enter(blue, 'Bea', { query: CAMERA });
  await ada.seesPicture('Bea', 'blue');

  await bea.page.reload();
  await bea.sees('prejoin');
  await bea.join();
  await bea.seesPicture('Ada', 'red');
  await ada.seesPicture('Bea', 'blue');
  await eventually('Ada sees one tile of Bea', () => ada.tiles(), (names) => names.filter((name) => name.includes('Bea')).length === 1, 40);
});

for (const [codec, mimeType] of [['h264', 'video/H264'], ['vp9', 'video/VP9'], ['av1', 'video/AV1']]) {
  call.story(`a camera that sends ${mimeType} is decoded`, async () => {
    await call.enter(red, 'Ada', { query: `${CAMERA}&codec=${codec}` });
    const bea = await call.enter(blue, 'Bea', { query: CAMERA });
    await bea.seesPicture('Ada', 'red');
    assert.equal((await bea.reception('Ada')).codec, mimeType);
  });
}

call.story('from the click to the first picture', async () => {
  await call.enter(red, 'Ada', { query: CAMERA });
  const times = [];
  for (let n = 0; n < 5; n += 1) {
    const bea = await call.arrive(blue, 'Bea', { query: CAMERA });
    times.push(Math.round(await bea.evaluate(joinAndTimeFirstFrame, element('join-button'))));
    await bea.click('leave-button');
    await bea.sees('left');
  }
  times.sort((a, b) => a - b);
  console.log(`join time, click to first remote frame: ${times.join(', ')} ms; median ${times[2]} ms`);
});

// What follows runs inside the page.

function focused() {
  return document.activeElement?.tagName;
}

function countScreens() {
  return document.querySelectorAll('[data-test="tile"][data-source="screen"]').length;
}

async function framesEncodedInASecond() {
  const count = async () => {
    let sum = 0;
    for (const pc of /** @type {any} */ (window).peerConnections) {
      for (const entry of (await pc.getStats()).values()) if (entry.type === 'outbound-rtp') sum += entry.framesEncoded ?? 0;
    }
    return sum;
  };
  const before = await count();
  await new Promise((resolve) => setTimeout(resolve, 1000));
  return (await count()) - before;
}

/** @param {string} joinButton */
function joinAndTimeFirstFrame(joinButton) {
  return new Promise((resolve) => {
    const start = performance.now();
    /** @type {HTMLElement | null} */ (document.querySelector(joinButton))?.click();
    const look = () => {
      const video = /** @type {HTMLVideoElement | null} */ (document.querySelector('[data-test="tile"][data-local="false"] video'));
      if (video && video.getVideoPlaybackQuality().totalVideoFrames > 0) resolve(performance.now() - start);
      else requestAnimationFrame(look);
    };
    look();
  });
}
