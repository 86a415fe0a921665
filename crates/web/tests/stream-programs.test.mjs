/** Clients of WHIP and WHEP that are programs. */
import assert from 'node:assert/strict';
import { after, before } from 'node:test';
import { Call, screenshot } from './support/call.mjs';
import { COLOURS } from './support/media.mjs';
import { aiortc, ffmpeg, gstreamer } from './support/programs.mjs';
import { colourOf, receptionOf } from './support/probe.mjs';
import { broadcast, endpoint, playerIs, seesMovement, streamToken, VIDEO, watch, watches } from './support/streams.mjs';
import { KEY_OPTIONS } from './support/tokens.mjs';
import { eventually } from './support/wait.mjs';

/** @typedef {import('./support/programs.mjs').Program} Program */

const FFMPEG_HERTZ = 900;
/** Eight seconds: a late viewer would have to wait for most of that. */
const KEYFRAME_FRAMES = 240;
const SOON_SECONDS = 4;

const call = new Call(KEY_OPTIONS);
/** @type {import('./support/call.mjs').Browser} */ let chromium;
/** @type {Program[]} */
const programs = [];

before(async () => {
  chromium = await call.chromium({ colour: COLOURS.red, hertz: 500 });
});

after(() => Promise.all(programs.map((program) => program.stop())));

for (const [role, flags] of /** @type {const} */ ([['server', []], ['client', ['-whip_flags', 'dtls_active']]])) {
  call.story(`FFmpeg publishes as DTLS ${role}`, async () => {
    const program = start(ffmpeg(endpoint(call, 'whip'), [...flags]));
    const bea = await watch(call, chromium, 'Bea', { query: `#token=${streamToken(call, 'bea')}` });
    await told(program, () => watches(bea, 'blue'));
    await told(program, () => bea.hears([FFMPEG_HERTZ]));
    await program.stop();
    await playerIs(bea, 'waiting');
  });
}

call.story('who watches a publisher that dies without a word is told that it is interrupted, before the server gives it up', async () => {
  const before = start(ffmpeg(endpoint(call, 'whip')));
  const bea = await watch(call, chromium, 'Bea', { query: `#token=${streamToken(call, 'bea')}` });
  await told(before, () => watches(bea, 'blue'));
  // The page says so a moment after the picture can be seen.
  await playerIs(bea, 'playing');
  await bea.evaluate(recordStates);
  before.kill();
  await playerIs(bea, 'waiting');
  assert.match(await bea.text('curtain'), /interrupted/);
  // No picture is promised that does not come.
  assert.deepEqual(await bea.evaluate(recordedStates), ['playing', 'waiting']);
  const after = start(ffmpeg(endpoint(call, 'whip')));
  await told(after, () => playerIs(bea, 'playing'));
  await seesMovement(bea);
  await after.stop();
});

call.story('whip_43: who comes late to a publisher that sends keyframes when it likes sees a picture at once', async () => {
  const program = start(ffmpeg(endpoint(call, 'whip'), [], { interval: KEYFRAME_FRAMES }));
  const ada = await watch(call, chromium, 'Ada', { query: `#token=${streamToken(call, 'ada')}` });
  // Before the second keyframe the server has found out, and two seconds after it nobody would be given it who could ask for another.
  const frames = async () => (await receptionOf(ada, VIDEO))?.framesDecoded ?? 0;
  await told(program, () => eventually('Ada is past the second keyframe', frames, (count) => count > KEYFRAME_FRAMES + 60));
  const bea = await watch(call, chromium, 'Bea', { query: `#token=${streamToken(call, 'bea')}` });
  await told(program, () => eventually('Bea has a picture', () => colourOf(bea, VIDEO), (colour) => colour === 'blue', SOON_SECONDS));
  await seesMovement(bea);
  // What she was sent at once is behind her: she is where Ada is.
  await eventually('Bea has caught up', () => bea.attribute('latency', 'data-ms'), (ms) => ms !== '' && Number(ms) < 500);
  await program.stop();
});

call.story('whip_39_43: a call knows how a program encodes, and says what is wrong with it', async () => {
  // Seen by its answers, and not by three seconds without a keyframe.
  const program = start(ffmpeg(endpoint(call, 'whip'), [], { profile: 'high', interval: 60 }));
  const bea = await call.enter(chromium, 'Bea', { query: `mic=0&cam=0&token=${streamToken(call, 'bea')}` });
  await told(program, () => bea.seesPicture('whip', 'blue'));
  await bea.click('stats-button');
  await told(program, () => eventually('Bea is told', () => bea.text('stats-warning'), (text) => text.includes('keyframes when it likes')));
  await screenshot(bea, 'call-warnings');
  const formats = await bea.evaluate(formatsOf);
  assert.ok(formats.some((/** @type {string} */ format) => format.startsWith('h264 64')), formats.join());
  await program.stop();
});

for (const [name, client] of /** @type {const} */ ([['aiortc', aiortc], ['GStreamer', gstreamer]])) {
  call.story(`${name} publishes`, async () => {
    const program = start(client('publish', endpoint(call, 'whip')));
    const bea = await watch(call, chromium, 'Bea', { query: `#token=${streamToken(call, 'bea')}` });
    await told(program, () => watches(bea, 'yellow'));
    await program.stop();
    assert.ok(program.lines.includes('deleted 200'), program.lines.join('\n'));
  });

  call.story(`${name} watches`, async () => {
    await broadcast(call, chromium, 'Ada', { query: `width=320&height=180&layers=one&token=${streamToken(call, 'ada')}` });
    const program = start(client('watch', endpoint(call, 'whep')));
    await told(program, () => eventually(`${name} decodes red pictures`, () => program.lines.filter(isRed).length, (count) => count > 3));
    await told(program, () => eventually(`${name} decodes sound`, () => program.lines.includes('sound')));
  });
}

call.story('the log says why GStreamer before 1.28 cannot connect', async () => {
  const program = start(gstreamer('publish', endpoint(call, 'whip'), 'old'));
  const said = () => call.server.log.some((line) => line.includes('its certificate must be one of ECDSA'));
  await told(program, () => eventually('the server gives the reason', said));
});

/** Notes every state of the player. */
function recordStates() {
  const player = /** @type {HTMLElement} */ (document.querySelector('[data-test="player"]'));
  const states = [player.dataset.state];
  new MutationObserver(() => player.dataset.state !== states.at(-1) && states.push(player.dataset.state)).observe(player, { attributes: true });
  Object.assign(window, { states });
}

function recordedStates() {
  return /** @type {any} */ (window).states;
}

function formatsOf() {
  /** @type {import('../client/roster.js').RemoteTrack[]} */
  const tracks = [.../** @type {any} */ (window).madang.room.tracks.values()];
  return tracks.map(({ codec, profile }) => `${codec} ${profile}`);
}

/** @param {string} line luma and the two chromas of a picture */
function isRed(line) {
  const [, luma = 0, blueness = 0, redness = 0] = line.startsWith('picture') ? line.split(' ').map(Number) : [];
  return Math.abs(luma - 86) < 20 && Math.abs(blueness - 103) < 20 && Math.abs(redness - 203) < 20;
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
