/** What breaks on the way mends itself: the WebSocket, the server. */
import assert from 'node:assert/strict';
import { after, before } from 'node:test';
import { Call } from './support/call.mjs';
import { CutProxy } from './support/cut-proxy.mjs';
import { COLOURS } from './support/media.mjs';
import { countPeerConnections } from './support/probe.mjs';
import { eventually } from './support/wait.mjs';

const CAMERA = 'width=320&height=180';
const CUT_SECONDS = 10;

const call = new Call();
/** @type {import('./support/call.mjs').Browser} */ let red;
/** @type {import('./support/call.mjs').Browser} */ let blue;
/** @type {CutProxy} */ let proxy;

before(async () => {
  [red, blue] = await Promise.all([
    call.chromium({ colour: COLOURS.red, hertz: 500 }),
    call.chromium({ colour: COLOURS.blue, hertz: 700 }),
  ]);
  proxy = await CutProxy.start(call.server.httpPort);
});

after(() => proxy.close());

call.story('a WebSocket that is away for ten seconds is resumed, and media goes on', async () => {
  const ada = await call.enter(red, 'Ada', { query: CAMERA });
  const bea = await call.enter(blue, 'Bea', { query: CAMERA, port: proxy.port });
  await ada.seesPicture('Bea', 'blue');
  await bea.seesPicture('Ada', 'red');
  const tileBefore = await ada.tile('Bea');

  proxy.cut();
  const end = performance.now() + CUT_SECONDS * 1000;
  await eventually('Bea notices', () => bea.attribute('status-pill', 'data-signalling'), (state) => state === 'reconnecting');
  assert.equal(await bea.attribute('status-pill', 'data-media'), 'connected');
  await ada.chat('Bea, are you still there?');
  while (performance.now() < end) {
    await bea.seesMovement('Ada');
    await ada.seesMovement('Bea');
  }
  assert.equal(await bea.attribute('status-pill', 'data-signalling'), 'reconnecting');
  proxy.mend();

  await eventually('Bea is connected again', () => bea.attribute('status-pill', 'data-signalling'), (state) => state === 'connected');
  await eventually('Bea gets what was said meanwhile', () => bea.chatMessages(), (messages) => messages.some((text) => text.includes('still there?')));
  await bea.chat('Yes, I am');
  await eventually('Ada reads the answer', () => ada.chatMessages(), (messages) => messages.some((text) => text.includes('Yes, I am')));

  assert.equal(await countPeerConnections(bea), 1, 'the PeerConnection is still the first one');
  assert.equal(await ada.tile('Bea'), tileBefore, 'for Ada, Bea has never left');
  await bea.seesMovement('Ada');
  await ada.hears([700]);
});

call.story('a microphone that is published while the WebSocket breaks is heard', async () => {
  const ada = await call.enter(red, 'Ada', { query: 'mic=0&cam=0' });
  const bea = await call.enter(blue, 'Bea', { query: 'mic=0&cam=0' });
  await ada.evaluate(breakAfterPublish);
  await ada.click('mute-button');
  await bea.hears([500]);
  assert.equal(await ada.attribute('mute-button', 'aria-pressed'), 'true');
  assert.equal(await countPeerConnections(ada), 1);
});

call.story('somebody who comes while a WebSocket is away is seen after it is back', async () => {
  const bea = await call.enter(blue, 'Bea', { query: 'mic=0&cam=0', port: proxy.port });
  proxy.cut();
  await eventually('Bea notices', () => bea.attribute('status-pill', 'data-signalling'), (state) => state === 'reconnecting');
  await call.enter(red, 'Ada', { query: CAMERA });
  proxy.mend();
  await bea.seesPicture('Ada', 'red');
  assert.equal(await countPeerConnections(bea), 1);
});

call.story('after a restart of the server everybody is in the call again, and sees and hears', async () => {
  const ada = await call.enter(red, 'Ada', { query: CAMERA });
  const bea = await call.enter(blue, 'Bea', { query: CAMERA });
  await ada.seesPicture('Bea', 'blue');

  await call.server.stop();
  await eventually('Ada sees the connection go', () => ada.attribute('status-pill', 'data-state'), (state) => state === 'reconnecting');
  await call.server.run();

  await ada.isConnected();
  await bea.isConnected();
  await ada.seesPicture('Bea', 'blue');
  await bea.seesPicture('Ada', 'red');
  await ada.hears([700]);
  await bea.hears([500]);
  assert.deepEqual((await ada.tiles()).length, 2);
});

call.story('what was off before a restart of the server stays off', async () => {
  const ada = await call.enter(red, 'Ada', { query: CAMERA });
  const bea = await call.enter(blue, 'Bea', { query: CAMERA });
  await ada.click('mute-button');
  await eventually('Bea sees that Ada is muted', () => bea.tileAttribute('Ada', 'data-muted'), (muted) => muted === 'true');

  await call.server.stop();
  await eventually('Bea sees the connection go', () => bea.attribute('status-pill', 'data-state'), (state) => state === 'reconnecting');
  await call.server.run();

  await bea.isConnected();
  await bea.seesPicture('Ada', 'red');
  assert.equal(await bea.tileAttribute('Ada', 'data-muted'), 'true');
  await bea.hears([]);
});

// What follows runs inside the page.

/** The request arrives, its reply does not. */
function breakAfterPublish() {
  const { socket } = /** @type {any} */ (window).madang.room;
  const send = socket.send.bind(socket);
  socket.send = (/** @type {string} */ text) => {
    send(text);
    if (JSON.parse(text).t !== 'publish') return;
    socket.onmessage = null;
    socket.close();
  };
}
