/** Clients of WHIP and WHEP that others have written, in pages of another site. */
import assert from 'node:assert/strict';
import { after, before } from 'node:test';
import { Call } from './support/call.mjs';
import { startFirefox } from './support/firefox.mjs';
import { COLOURS } from './support/media.mjs';
import { OtherSite } from './support/other-site.mjs';
import { broadcast, endpoint, playerIs, streamToken, watch, watches } from './support/streams.mjs';
import { KEY_OPTIONS } from './support/tokens.mjs';
import { eventually } from './support/wait.mjs';

/** @typedef {import('./support/call.mjs').Browser} Browser */

const PAGE = '<script type="module" src="/clients.js"></script><video autoplay playsinline muted></video>';

const call = new Call(KEY_OPTIONS);
/** @type {Browser} */ let chromium;
/** @type {Browser} */ let firefox;
/** @type {OtherSite} */ let site;

before(async () => {
  site = await OtherSite.start('third-party.mjs');
  chromium = await call.chromium({ colour: COLOURS.red, hertz: 500 });
  firefox = call.keep(await startFirefox());
});

after(() => site?.close());

for (const maker of ['medooze', 'eyevinn']) {
  for (const [name, browser, colour] of /** @type {const} */ ([['Chromium', () => chromium, 'red'], ['Firefox', () => firefox, null]])) {
    call.story(`the client of ${maker} publishes and watches in ${name}`, async () => {
      const publisher = await run(browser(), 'Pub', [maker, 'publish', endpoint(call, 'whip')]);
      const viewer = await run(browser(), 'View', [maker, 'watch', endpoint(call, 'whep')]);
      await watches(viewer, colour, 'video');
      for (const client of [viewer, publisher]) await client.evaluate(() => /** @type {any} */ (window).client.stop());
      const bea = await watch(call, chromium, 'Bea', { query: `#token=${streamToken(call, 'bea')}` });
      await playerIs(bea, 'waiting');
    });
  }
}

call.story('a player in the frame of another site plays', async () => {
  await broadcast(call, chromium, 'Ada', { query: `width=320&height=180&layers=one&token=${streamToken(call, 'ada')}` });
  const bea = await call.tab(chromium, 'Bea');
  const src = `http://127.0.0.1:${call.server.httpPort}/watch/${call.room}?embed&muted=1&token=${streamToken(call, 'bea')}`;
  await bea.open(site.page(`<iframe src="${src}" width="640" height="360" allow="autoplay; fullscreen"></iframe>`), 'other-site');
  const frame = /** @type {import('playwright-core').Page} */ (bea.page).frames()[1];
  await eventually('the frame plays', () => frame?.evaluate(framesShown), (frames) => Number(frames) > 5);
});

/**
 * Runs a client in a page of the other site.
 *
 * @param {Browser} browser
 * @param {string} name
 * @param {string[]} what of `runClient`
 */
async function run(browser, name, what) {
  const tab = await call.tab(browser, name);
  await tab.open(site.page(PAGE), 'other-site');
  await eventually('the clients are loaded', () => tab.evaluate(() => 'runClient' in window));
  await tab.evaluate((/** @type {string[]} */ all) => /** @type {any} */ (window).runClient(...all), what);
  return tab;
}

call.story('a viewer without a token is refused, and told why', async () => {
  const bea = await watch(call, chromium, 'Bea');
  await playerIs(bea, 'refused');
  assert.equal(await bea.attribute('player', 'data-code'), 'unauthorized');
  assert.match(await bea.text('curtain'), /invitation is not valid/);
});

// What follows runs inside the page.

function framesShown() {
  return document.querySelector('video')?.getVideoPlaybackQuality().totalVideoFrames;
}
