/** Rights in a room: calls that last longer than the token they began with, and what administrators take away and give back. */
import assert from 'node:assert/strict';
import { before } from 'node:test';
import { Call } from './support/call.mjs';
import { KEY_OPTIONS, nowInSeconds, signToken } from './support/tokens.mjs';
import { eventually } from './support/wait.mjs';

/** How long after its `exp` the server still takes a token. */
const LEEWAY_SECONDS = 30;

const call = new Call(KEY_OPTIONS);
/** @type {import('./support/call.mjs').Browser} */ let browser;

before(async () => {
  browser = await call.chromium();
});

/**
 * @param {string} room
 * @param {string} sub
 * @param {object} [grants]
 * @returns {import('./support/call.mjs').Entrance}
 */
function entrance(room, sub, grants) {
  const token = signToken({ sub, exp: nowInSeconds() + 600, madang: { room, join: true, ...grants } });
  return { room, query: `width=320&height=180&mic=0&token=${token}` };
}

call.story('somebody whose first token has expired joins again by themselves', async () => {
  const now = nowInSeconds();
  // Good for a quarter of a minute more, because clocks may differ.
  const exp = now - LEEWAY_SECONDS + 15;
  const token = signToken({ sub: 'ada', iat: now - 600, exp, madang: { room: 'yard', join: true } });
  const ada = await call.arrive(browser, 'Ada', { room: 'yard', query: `mic=0&cam=0&token=${token}` });
  await ada.join();
  await eventually('Ada gets a new token', () => received(ada), (types) => types.includes('token'));

  await call.server.stop();
  await eventually('the first token has expired', nowInSeconds, (time) => time > exp + LEEWAY_SECONDS);
  await call.server.run();
  await ada.isConnected();
});

call.story('a token may stand behind the #, leaves the address, and outlasts a reload of the page', async () => {
  const token = signToken({ sub: 'ada', exp: nowInSeconds() + 600, madang: { room: 'porch', join: true } });
  const ada = await call.enter(browser, 'Ada', { room: 'porch', query: `mic=0&cam=0#token=${token}` });
  assert.doesNotMatch(await ada.evaluate(address), /token/);
  await ada.page.reload();
  await ada.sees('prejoin');
  await ada.join();
});

call.story('what an administrator has granted holds after a restart of the server', async () => {
  const ada = await call.enter(browser, 'Ada', entrance('hall', 'ada', { admin: true }));
  const bea = await call.enter(browser, 'Bea', entrance('hall', 'bea'));
  await ada.evaluate(grantOthers, { publish: ['microphone'], data: false });
  await eventually('Bea gets a new token', () => received(bea), (types) => types.includes('token'));

  await call.server.stop();
  await call.server.run();
  await bea.isConnected();
  const grants = await bea.evaluate(ownGrants);
  assert.deepEqual([grants.publish, grants.data, grants.subscribe], [['microphone'], false, true]);
});

call.story('what an administrator takes away, an administrator can give back', async () => {
  const ada = await call.enter(browser, 'Ada', entrance('attic', 'ada', { admin: true }));
  const bea = await call.enter(browser, 'Bea', entrance('attic', 'bea', { subscribe: false }));
  await ada.seesPicture('Bea', 'test picture');
  await eventually('Bea sees nobody', () => bea.tileAttribute('Ada', 'data-state'), (state) => state === 'avatar');

  await ada.evaluate(grantOthers, { publish: [] });
  await eventually('the camera of Bea goes off', () => bea.attribute('camera-button', 'aria-pressed'), (on) => on === 'false');
  await eventually('Ada sees no picture of Bea', () => ada.tileAttribute('Bea', 'data-state'), (state) => state === 'avatar');
  await ada.evaluate(grantOthers, { publish: ['camera'], subscribe: true });
  await bea.seesPicture('Ada', 'test picture');
  await bea.click('camera-button');
  await ada.seesPicture('Bea', 'test picture');

  await ada.evaluate(grantOthers, { subscribe: false });
  await eventually('Bea sees Ada no more', () => bea.tileAttribute('Ada', 'data-state'), (state) => state === 'avatar');
  await eventually('Bea receives no more frames', () => bea.evaluate(framesDecodedInASecond), (frames) => frames === 0);
  await ada.evaluate(grantOthers, { subscribe: true });
  await bea.seesPicture('Ada', 'test picture');
});

/**
 * @param {import('./support/participant.mjs').Participant} participant
 * @returns {string[]} the types of what the server has sent
 */
function received({ frames }) {
  return frames.flatMap((frame) => / < (?:.*"t":")?(\w+)/.exec(frame)?.[1] ?? []);
}

// What follows runs inside the page.

/** @param {object} grants */
async function grantOthers(grants) {
  const { room } = /** @type {any} */ (window).madang;
  for (const target of room.participants.keys()) await room.admin('grant', { target, grants });
}

function address() {
  return location.href;
}

function ownGrants() {
  return /** @type {any} */ (window).madang.room.grants;
}

async function framesDecodedInASecond() {
  const count = async () => {
    let sum = 0;
    for (const entry of (await /** @type {any} */ (window).madang.room.pc.getStats()).values()) {
      if (entry.type === 'inbound-rtp') sum += entry.framesDecoded ?? 0;
    }
    return sum;
  };
  const before = await count();
  await new Promise((resolve) => setTimeout(resolve, 1000));
  return (await count()) - before;
}
