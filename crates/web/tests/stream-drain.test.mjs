/** Broadcasts on a server that stops, behind a proxy that leads to another one. */
import assert from 'node:assert/strict';
import { after, before } from 'node:test';
import { Call } from './support/call.mjs';
import { CutProxy } from './support/cut-proxy.mjs';
import { COLOURS } from './support/media.mjs';
import { Server } from './support/server.mjs';
import { broadcast, isLive, playerIs, watch, watches } from './support/streams.mjs';
import { eventually } from './support/wait.mjs';

/** @typedef {import('./support/call.mjs').Browser} Browser */

/** The page looks every 20 ms: it has one video element, which takes a moment to show another stream. */
const BLANK_LOOKS_MAX = 10;

const call = new Call();
/** @type {Browser} */ let red;
/** @type {Browser} */ let blue;
/** One for each story: browsers keep connections, which stay where they are. @type {CutProxy[]} */
const proxies = [];
/** @type {Server} */ let other;

before(async () => {
  red = await call.chromium({ colour: COLOURS.red, hertz: 500 });
  blue = await call.chromium({ colour: COLOURS.blue, hertz: 700 });
  other = await Server.start();
});

after(async () => {
  await Promise.all(proxies.map((proxy) => proxy.close()));
  await other.dispose();
});

async function startProxy() {
  const proxy = await CutProxy.start(call.server.httpPort);
  proxies.push(proxy);
  return proxy;
}

call.story('whep_36: a viewer of a server that stops goes to the other one without a gap', async () => {
  await broadcast(call, red, 'Ada');
  await broadcast(call, blue, 'Bob', { port: other.httpPort });
  const proxy = await startProxy();
  const cai = await watch(call, blue, 'Cai', { port: proxy.port });
  await watches(cai, 'red');
  await playerIs(cai, 'playing');
  await cai.evaluate(recordStates);
  proxy.retarget(other.httpPort);
  await call.server.stop();
  await watches(cai, 'blue');
  const { states, blank } = await cai.evaluate(recorded);
  assert.deepEqual(states, ['playing']);
  assert.ok(blank <= BLANK_LOOKS_MAX, `no picture at ${blank} looks`);
});

call.story('whep_36: a broadcast on a server that stops goes on at the other one', async () => {
  const proxy = await startProxy();
  const ada = await broadcast(call, red, 'Ada', { port: proxy.port });
  const bea = await watch(call, blue, 'Bea', { port: proxy.port });
  await watches(bea, 'red');
  proxy.retarget(other.httpPort);
  await call.server.stop();
  await isLive(ada);
  await watches(bea, 'red');
  await playerIs(bea, 'playing');
});

call.story('a session that the server no longer knows is over for its player', async () => {
  await broadcast(call, red, 'Ada');
  const bea = await watch(call, blue, 'Bea');
  await watches(bea, 'red');
  const resource = await bea.evaluate(sessionAddress);
  assert.equal((await fetch(resource, { method: 'DELETE' })).status, 200);
  await playerIs(bea, 'ended');
  await eventually('a way back is offered', () => bea.evaluate(offersAgain), (offered) => offered);
  await bea.click('again-button');
  await watches(bea, 'red');
});

// What follows runs inside the page.

/** Notes every state of the player, and moments without a picture. */
function recordStates() {
  const player = /** @type {HTMLElement} */ (document.querySelector('[data-test="player"]'));
  const video = /** @type {HTMLVideoElement} */ (document.querySelector('[data-test="video"]'));
  const record = { states: new Set([player.dataset.state]), blank: 0 };
  new MutationObserver(() => record.states.add(player.dataset.state)).observe(player, { attributes: true });
  setInterval(() => (record.blank += video.videoWidth === 0 ? 1 : 0), 20);
  Object.assign(window, { record });
}

function recorded() {
  const { states, blank } = /** @type {any} */ (window).record;
  return { states: [...states], blank };
}

/** The address of the session, as the page has asked for it last. */
function sessionAddress() {
  const asked = performance.getEntriesByType('resource').map(({ name }) => name);
  const session = asked.map((name) => /^.*\/whep\/[^/]+\/sessions\/[0-9a-f-]+/.exec(name)?.[0]).filter(Boolean);
  return /** @type {string} */ (session.at(-1));
}

function offersAgain() {
  const button = document.querySelector('[data-test="again-button"]');
  return button instanceof HTMLElement && !button.hidden;
}
