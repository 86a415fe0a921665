/** Broadcasts by WHIP and their viewers by WHEP, on the pages of the server, alone and in the rooms of calls. */
import assert from 'node:assert/strict';
import { before } from 'node:test';
import { Call, screenshot } from './support/call.mjs';
import { startFirefox } from './support/firefox.mjs';
import { COLOURS } from './support/media.mjs';
import { countPeerConnections, soundEnergy } from './support/probe.mjs';
import { broadcast, isLive, playerIs, seesMovement, watch, watches, watchesHeight } from './support/streams.mjs';
import { eventually } from './support/wait.mjs';

/** @typedef {import('./support/call.mjs').Browser} Browser */

const CAMERA = 'width=320&height=180';
const call = new Call();
/** @type {Browser} */ let red;
/** @type {Browser} */ let blue;
/** @type {Browser} */ let firefox;
/** @type {Browser} */ let refusing;

before(async () => {
  red = await call.chromium({ colour: COLOURS.red, hertz: 500 });
  blue = await call.chromium({ colour: COLOURS.blue, hertz: 700 });
  firefox = call.keep(await startFirefox());
  refusing = await call.chromium({ grant: false });
});

call.story('Chromium broadcasts; Chromium and Firefox watch and hear it', async () => {
  const ada = await broadcast(call, red, 'Ada');
  const [bea, fay] = await Promise.all([watch(call, blue, 'Bea'), watch(call, firefox, 'Fay')]);
  for (const viewer of [bea, fay]) {
    await watches(viewer, 'red');
    await playerIs(viewer, 'playing');
  }
  await bea.hears([500]);
  await eventually('Fay hears Ada', () => soundEnergy(fay), (energy) => energy > 0.001);
  await eventually('Bea sees how many watch', () => bea.attribute('viewer-count', 'data-count'), (count) => count === '2');
  await eventually('Bea sees the delay', () => bea.attribute('latency', 'data-ms'), (ms) => Number(ms) > 0 && Number(ms) < 2000);
  await bea.page.focus('[data-test="mute-button"]');
  await screenshot(bea, 'watch-playing');
  await screenshot(ada, 'broadcast-live');
});

call.story('Firefox broadcasts, Chromium watches', async () => {
  await broadcast(call, firefox, 'Fay');
  const bea = await watch(call, blue, 'Bea');
  await watches(bea, null);
  await playerIs(bea, 'playing');
});

call.story('a broadcast has a tile in a call, and a viewer watches whoever is in the call', async () => {
  const bea = await call.enter(blue, 'Bea', { query: CAMERA });
  const cai = await watch(call, blue, 'Cai');
  await watches(cai, 'blue');
  await broadcast(call, red, 'Ada');
  await bea.seesPicture('Ada', 'red');
  await bea.hears([500]);
  const dan = await watch(call, red, 'Dan', { query: 'participant=Bea' });
  await watches(dan, 'blue');
});

call.story('a broadcast whose connection is lost keeps its tile in a call until it is back', async () => {
  const bea = await call.enter(blue, 'Bea', { query: CAMERA });
  const ada = await broadcast(call, red, 'Ada');
  await bea.seesPicture('Ada', 'red');
  await ada.evaluate(loseConnection);
  await eventually('Bea sees that Ada is away', () => bea.tileAttribute('Ada', 'data-why'), (why) => why === 'away');
  await screenshot(bea, 'call-away');
  await ada.page.reload();
  await ada.click('live-button');
  await bea.seesPicture('Ada', 'red');
  assert.equal((await bea.tiles()).length, 2);
});

call.story('a viewer who was there first watches as soon as the broadcast begins', async () => {
  const bea = await watch(call, blue, 'Bea');
  await playerIs(bea, 'waiting');
  await screenshot(bea, 'watch-waiting');
  await broadcast(call, red, 'Ada');
  await watches(bea, 'red');
  await playerIs(bea, 'playing');
  assert.equal(await countPeerConnections(bea), 1);
});

call.story('a broadcast that is interrupted goes on for its viewers without a new offer', async () => {
  const ada = await broadcast(call, red, 'Ada');
  const bea = await watch(call, blue, 'Bea');
  await watches(bea, 'red');
  await ada.page.reload();
  await playerIs(bea, 'waiting');
  await ada.click('live-button');
  await isLive(ada);
  await watches(bea, 'red');
  await playerIs(bea, 'playing');
  assert.equal(await countPeerConnections(bea), 1);
});

call.story('a broadcast that somebody else takes over ends, and its page says so', async () => {
  const studio = { query: `${CAMERA}&layers=one&participant=studio` };
  const ada = await broadcast(call, red, 'Ada', studio);
  const bea = await watch(call, blue, 'Bea');
  await watches(bea, 'red');
  await broadcast(call, blue, 'Cai', studio);
  await watches(bea, 'blue');
  await eventually('Ada is told', () => ada.attribute('error-box', 'data-code'), (code) => code === 'ended');
  assert.equal(await ada.attribute('broadcast', 'data-state'), 'off');
});

call.story('a broadcast that cannot reach the server says so, until it goes on', async () => {
  const ada = await broadcast(call, red, 'Ada');
  assert.equal(await ada.attribute('error-box', 'data-code'), '');
  await call.server.stop();
  await eventually('Ada is told', () => ada.attribute('error-box', 'data-code'), (code) => code === 'unreachable');
  assert.equal(await ada.attribute('broadcast', 'data-state'), 'reconnecting');
  await call.server.run();
  await isLive(ada);
  assert.equal(await ada.attribute('error-box', 'data-code'), '');
});

call.story('two broadcasts in one room leave each other alone', async () => {
  const ada = await broadcast(call, red, 'Ada');
  const cai = await broadcast(call, blue, 'Cai');
  for (const [name, colour] of [['Ada', 'red'], ['Cai', 'blue']]) {
    const viewer = await watch(call, blue, `${name}'s`, { query: `participant=${name}` });
    await watches(viewer, colour);
  }
  for (const publisher of [ada, cai]) await isLive(publisher);
});

call.story('where the browser gives neither camera nor microphone, the page says so, and what can be done', async () => {
  const cai = await call.tab(refusing, 'Cai');
  await cai.open(`http://127.0.0.1:${call.server.httpPort}/broadcast/${call.room}`, 'broadcast');
  await eventually('Cai is told of both', () => cai.text('error-text'), (text) => /camera and microphone/.test(text));
  await cai.click('live-button');
  await eventually('Cai is told what that means', () => cai.attribute('error-box', 'data-code'), (code) => code === 'nothing');
  assert.match(await cai.text('error-text'), /camera and microphone/);
  await screenshot(cai, 'broadcast-refused');
});

call.story('a broadcast goes over to a screen and back to the camera, and who watches goes along', async () => {
  const ada = await broadcast(call, red, 'Ada');
  const bea = await watch(call, blue, 'Bea');
  await watches(bea, 'red');
  await ada.click('screen-toggle');
  await eventually('Ada shares a screen', () => ada.attribute('preview', 'data-source'), (source) => source === 'screen');
  await watches(bea, 'test picture');
  await screenshot(bea, 'watch-screen');
  await ada.click('screen-toggle');
  await watches(bea, 'red');
  await playerIs(bea, 'playing');
  assert.equal(await countPeerConnections(bea), 1);
});

call.story('a broadcast that begins with a screen is one in calls, and its voice is a voice', async () => {
  const bea = await call.enter(blue, 'Bea', { query: CAMERA });
  const ada = await call.tab(red, 'Ada');
  await ada.open(`http://127.0.0.1:${call.server.httpPort}/broadcast/${call.room}?name=Ada`, 'broadcast');
  await ada.click('screen-toggle');
  await eventually('Ada shares a screen', () => ada.attribute('preview', 'data-source'), (source) => source === 'screen');
  await ada.click('live-button');
  await isLive(ada);
  await bea.seesPicture('Ada', 'test picture', 'screen');
  await bea.hears([500]);
});

call.story('a viewer chooses a layer, and leaves the choice to the server again', async () => {
  await broadcast(call, red, 'Ada', { query: CAMERA });
  const bea = await watch(call, blue, 'Bea');
  await watchesHeight(bea, 180);
  await eventually('the menu names three layers', () => bea.evaluate(qualities), (names) => names.length === 4);
  await bea.page.focus('[data-test="quality-select"]');
  await screenshot(bea, 'watch-layers');
  await bea.evaluate(chooseQuality, '45p');
  await watchesHeight(bea, 45);
  await bea.evaluate(chooseQuality, '90p');
  await watchesHeight(bea, 90);
  await bea.evaluate(chooseQuality, 'Auto');
  await watchesHeight(bea, 180);
});

call.story('where the browser allows no sound yet, the picture is shown and a click brings the sound', async () => {
  await broadcast(call, red, 'Ada');
  const bea = await watch(call, blue, 'Bea', { beforeScripts: refuseSound });
  await watches(bea, 'red');
  assert.equal(await bea.attribute('mute-button', 'aria-pressed'), 'false');
  await bea.click('unmute-button');
  await eventually('the sound is on', () => bea.attribute('mute-button', 'aria-pressed'), (on) => on === 'true');
  await seesMovement(bea);
});

call.story('a broadcast in H.264 is watched', async () => {
  await broadcast(call, red, 'Ada', { query: `${CAMERA}&layers=one&codec=h264` });
  const bea = await watch(call, blue, 'Bea');
  await watches(bea, 'red');
});

call.story('a viewer whose connection fails is watching again by a restart of ICE', async () => {
  await broadcast(call, red, 'Ada');
  const bea = await watch(call, blue, 'Bea');
  await watches(bea, 'red');
  const [before] = await bea.evaluate(remoteFragments);
  await bea.evaluate(() => window.dispatchEvent(new Event('online')));
  await eventually('the server has new credentials', () => bea.evaluate(remoteFragments), ([after]) => after !== before);
  await playerIs(bea, 'playing');
  await seesMovement(bea);
  assert.equal(await countPeerConnections(bea), 1);
});

// What follows runs inside the page.

function qualities() {
  const menu = document.querySelector('[data-test="quality-select"]');
  return menu instanceof HTMLSelectElement && menu.checkVisibility() ? [...menu.options].map(({ text }) => text) : [];
}

/** @param {string} name its first words */
function chooseQuality(name) {
  const menu = /** @type {HTMLSelectElement} */ (document.querySelector('[data-test="quality-select"]'));
  const option = [...menu.options].find(({ text }) => text.startsWith(name));
  if (!option) throw new Error(`no quality ${name}`);
  menu.value = option.value;
  menu.dispatchEvent(new Event('change'));
}

/** Makes a browser that plays sound only after a click. */
function refuseSound() {
  const play = HTMLMediaElement.prototype.play;
  HTMLMediaElement.prototype.play = function () {
    if (this.muted || navigator.userActivation.hasBeenActive) return play.call(this);
    return Promise.reject(new DOMException('no click yet', 'NotAllowedError'));
  };
}

/** Ends the media without a word to the server's endpoint. */
function loseConnection() {
  /** @type {any} */ (window).madang.publisher.pc.close();
}

function remoteFragments() {
  const { pc } = /** @type {any} */ (window).madang.player;
  return [...pc.remoteDescription.sdp.matchAll(/a=ice-ufrag:(\S+)/g)].map(([, ufrag]) => ufrag);
}
