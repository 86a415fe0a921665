/** Clients of WHIP and WHEP that others have written: in pages of another site, and programs. */
import assert from 'node:assert/strict';
import { after, before } from 'node:test';
import { Call } from './support/call.mjs';
import { startFirefox } from './support/firefox.mjs';
import { COLOURS } from './support/media.mjs';
import { OtherSite } from './support/other-site.mjs';
import { aiortc, ffmpeg } from './support/programs.mjs';
import { broadcast, playerIs, watch, watches } from './support/streams.mjs';
import { KEY_OPTIONS, nowInSeconds, signToken } from './support/tokens.mjs';
import { eventually } from './support/wait.mjs';

/** @typedef {import('./support/call.mjs').Browser} Browser */
/** @typedef {import('./support/programs.mjs').Program} Program */

const PAGE = '<script type="module" src="/clients.js"></script><video autoplay playsinline muted></video>';
const FFMPEG_HERTZ = 900;

const call = new Call(KEY_OPTIONS);
/** @type {Browser} */ let chromium;
/** @type {Browser} */ let firefox;
/** @type {OtherSite} */ let site;
/** @type {Program[]} */
const programs = [];

before(async () => {
  site = await OtherSite.start('third-party.mjs');
  chromium = await call.chromium({ colour: COLOURS.red, hertz: 500 });
  firefox = call.keep(await startFirefox());
});

after(async () => {
  await Promise.all(programs.map((program) => program.stop()));
  site?.close();
});

for (const maker of ['medooze', 'eyevinn']) {
  for (const [name, browser, colour] of /** @type {const} */ ([['Chromium', () => chromium, 'red'], ['Firefox', () => firefox, null]])) {
    call.story(`the client of ${maker} publishes and watches in ${name}`, async () => {
      const publisher = await run(browser(), 'Pub', [maker, 'publish', url('whip')]);
      const viewer = await run(browser(), 'View', [maker, 'watch', url('whep')]);
      await watches(viewer, colour, 'video');
      for (const client of [viewer, publisher]) await client.evaluate(() => /** @type {any} */ (window).client.stop());
      const bea = await look();
      await playerIs(bea, 'waiting');
    });
  }
}

for (const [role, flags] of /** @type {const} */ ([['server', []], ['client', ['-whip_flags', 'dtls_active']]])) {
  call.story(`FFmpeg publishes as DTLS ${role}`, async () => {
    const program = start(ffmpeg(url('whip'), [...flags]));
    const bea = await look();
    await told(program, () => watches(bea, 'blue'));
    await told(program, () => bea.hears([FFMPEG_HERTZ]));
    await program.stop();
    await playerIs(bea, 'waiting');
  });
}

call.story('aiortc publishes', async () => {
  const program = start(aiortc('publish', url('whip')));
  const bea = await look();
  await told(program, () => watches(bea, 'yellow'));
  await program.stop();
  assert.ok(program.lines.includes('deleted 200'), program.lines.join('\n'));
});

call.story('aiortc watches', async () => {
  await broadcast(call, chromium, 'Ada', { query: `width=320&height=180&layers=one&token=${token('ada')}` });
  const program = start(aiortc('watch', url('whep')));
  const isRed = (/** @type {string} */ line) => {
    const [, luma = 0, blueness = 0, redness = 0] = line.startsWith('picture') ? line.split(' ').map(Number) : [];
    return Math.abs(luma - 86) < 20 && Math.abs(blueness - 103) < 20 && Math.abs(redness - 203) < 20;
  };
  await told(program, () => eventually('aiortc decodes red pictures', () => program.lines.filter(isRed).length, (count) => count > 3));
  await told(program, () => eventually('aiortc decodes sound', () => program.lines.includes('sound')));
});

call.story('a player in the frame of another site plays', async () => {
  await broadcast(call, chromium, 'Ada', { query: `width=320&height=180&layers=one&token=${token('ada')}` });
  const bea = await call.tab(chromium, 'Bea');
  const src = `http://127.0.0.1:${call.server.httpPort}/watch/${call.room}?embed&muted=1&token=${token('bea')}`;
  await bea.open(site.page(`<iframe src="${src}" width="640" height="360" allow="autoplay; fullscreen"></iframe>`), 'other-site');
  const frame = /** @type {import('playwright-core').Page} */ (bea.page).frames()[1];
  await eventually('the frame plays', () => frame?.evaluate(framesShown), (frames) => Number(frames) > 5);
});

/** The endpoint with the token in its path: not all of these clients can send one otherwise. @param {'whip' | 'whep'} protocol */
function url(protocol) {
  return `http://127.0.0.1:${call.server.httpPort}/${protocol}/${call.room}/${token(protocol)}`;
}

/** @param {string} sub */
function token(sub) {
  return signToken({ sub, exp: nowInSeconds() + 600, madang: { room: call.room, join: true } });
}

/** Opens the page that watches, with a token behind the `#`. */
async function look() {
  return watch(call, chromium, 'Bea', { query: `#token=${token('bea')}` });
}

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

/** @param {Program} program that is stopped at the end */
function start(program) {
  programs.push(program);
  return program;
}

/**
 * A failure says what the program said.
 *
 * @template T
 * @param {Program} program
 * @param {() => Promise<T>} attempt
 */
async function told(program, attempt) {
  try {
    return await attempt();
  } catch (error) {
    throw new Error(`${/** @type {Error} */ (error).message}\n--- program (${program.exitCode})\n${program.lines.slice(-30).join('\n')}`, { cause: error });
  }
}

// What follows runs inside the page.

function framesShown() {
  return document.querySelector('video')?.getVideoPlaybackQuality().totalVideoFrames;
}
