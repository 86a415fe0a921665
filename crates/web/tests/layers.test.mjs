/** Simulcast and layers within a stream: a tile gets the layer that fits its size, and the camera sends only the layers that somebody looks at. */
import { before } from 'node:test';
import { Call } from './support/call.mjs';
import { COLOURS } from './support/media.mjs';
import { receivesHeight, resizeTile, styleTile } from './support/tiles.mjs';
import { eventually } from './support/wait.mjs';

/** @typedef {import('./support/participant.mjs').Participant} Participant */

const CAMERA = 'width=320&height=180';
/** The top layer is the last that the encoder gets bandwidth for. */
const TOP_LAYER_SECONDS = 40;

const call = new Call();
/** @type {import('./support/call.mjs').Browser} */ let sender;
/** @type {import('./support/call.mjs').Browser} */ let layered;
/** @type {import('./support/call.mjs').Browser} */ let viewers;

before(async () => {
  sender = await call.chromium({ colour: COLOURS.red, hertz: 500, width: 320, height: 180 });
  layered = await call.chromium({ colour: COLOURS.red, hertz: 500, width: 480, height: 270 });
  viewers = await call.chromium();
});

for (const codec of ['vp8', 'h264']) {
  call.story(`a tile that shrinks and grows changes its layer (${codec})`, async () => {
    await call.enter(sender, 'Ada', { query: `${CAMERA}&codec=${codec}` });
    const bea = await call.enter(viewers, 'Bea', { query: 'mic=0&cam=0' });

    await resizeTile(bea, 'Ada', 320, 180);
    await receivesHeight(bea, 'Ada', 180, TOP_LAYER_SECONDS);
    await resizeTile(bea, 'Ada', 72, 40);
    await receivesHeight(bea, 'Ada', 45);
    await resizeTile(bea, 'Ada', 150, 84);
    await receivesHeight(bea, 'Ada', 90);
    await resizeTile(bea, 'Ada', 320, 180);
    await receivesHeight(bea, 'Ada', 180);
    await bea.seesPicture('Ada', 'red');
  });
}

for (const codec of ['vp9', 'av1']) {
  call.story(`a tile that shrinks and grows changes its layer within one stream (${codec})`, async () => {
    const ada = await call.enter(layered, 'Ada', { query: `width=480&height=270&codec=${codec}` });
    const bea = await call.enter(viewers, 'Bea', { query: 'mic=0&cam=0' });

    await resizeTile(bea, 'Ada', 480, 270);
    await receivesHeight(bea, 'Ada', 270, TOP_LAYER_SECONDS);
    // The browser makes fewer sizes of a small picture: none is below 240 × 135. The smaller one is rounded up.
    await eventually('Ada sends one stream with layers', () => ada.evaluate(modesSent), (modes) => modes.join() === `${codec} L2T3_KEY`);
    await eventually('both read descriptors', () => bea.evaluate(slotsWithDescriptors), (slots) => slots > 0);
    await resizeTile(bea, 'Ada', 120, 68);
    await receivesHeight(bea, 'Ada', 136);
    await eventually('Ada sends the smaller size alone', () => heightsSent(ada), (heights) => heights.length === 1 && heights[0] <= 136);
    await bea.seesMovement('Ada');
    await resizeTile(bea, 'Ada', 480, 270);
    await receivesHeight(bea, 'Ada', 270);
    await bea.seesPicture('Ada', 'red');
  });
}

call.story('two tiles of different size get two layers of one camera', async () => {
  await call.enter(sender, 'Ada', { query: CAMERA });
  const bea = await call.enter(viewers, 'Bea', { query: 'mic=0&cam=0' });
  const cai = await call.enter(viewers, 'Cai', { query: 'mic=0&cam=0' });

  await resizeTile(bea, 'Ada', 320, 180);
  await resizeTile(cai, 'Ada', 72, 40);
  await receivesHeight(bea, 'Ada', 180, TOP_LAYER_SECONDS);
  await receivesHeight(cai, 'Ada', 45);
  await bea.seesPicture('Ada', 'red');
  await cai.seesPicture('Ada', 'red');
});

call.story('a layer that nobody looks at is not sent', async () => {
  const ada = await call.enter(sender, 'Ada', { query: CAMERA });
  const bea = await call.enter(viewers, 'Bea', { query: 'mic=0&cam=0' });
  await resizeTile(bea, 'Ada', 320, 180);
  await receivesHeight(bea, 'Ada', 180, TOP_LAYER_SECONDS);

  await resizeTile(bea, 'Ada', 72, 40);
  await eventually('Ada sends the lowest layer alone', () => heightsSent(ada), (heights) => heights.join() === '45');
  await bea.seesMovement('Ada');

  await resizeTile(bea, 'Ada', 320, 180);
  await receivesHeight(bea, 'Ada', 180, TOP_LAYER_SECONDS);
});

call.story('a camera keeps to what the server says is enough', async () => {
  const ada = await call.enter(sender, 'Ada', { query: CAMERA });
  const bea = await call.enter(viewers, 'Bea', { query: 'mic=0&cam=0' });
  await resizeTile(bea, 'Ada', 320, 180);
  await receivesHeight(bea, 'Ada', 180, TOP_LAYER_SECONDS);
  const topLayer = () => ada.evaluate(topEncoding);
  const own = await topLayer();

  await ada.evaluate(receiveLayers, { max_bps: 90_000, max_fps: 10 });
  await eventually('the encoder is told', topLayer, (limits) => limits.join() === '90000,10');
  await eventually('and keeps to it', () => framesInASecond(bea), (frames) => frames > 0 && frames <= 12);

  await ada.evaluate(receiveLayers, { max_bps: null, max_fps: null });
  await eventually('its own limits are back', topLayer, (limits) => limits.join() === own.join());
});

call.story('a tile that nobody can see receives nothing, the camera rests, and both come back', async () => {
  const ada = await call.enter(sender, 'Ada', { query: CAMERA });
  const bea = await call.enter(viewers, 'Bea', { query: 'mic=0&cam=0' });
  await bea.seesPicture('Ada', 'red');

  await styleTile(bea, 'Ada', 'display: none');
  await eventually('the slot says why it is empty', () => bea.tileAttribute('Ada', 'data-why'), (why) => why === 'not_visible');
  await eventually('Bea receives no more frames', () => framesInASecond(bea), (frames) => frames === 0);
  await eventually('Ada sends no layer', () => heightsSent(ada), (heights) => heights.length === 0);

  await styleTile(bea, 'Ada', '');
  await bea.seesPicture('Ada', 'red');
});

/** @param {Participant} viewer */
async function framesInASecond(viewer) {
  return viewer.evaluate(framesDecodedInASecond);
}

/**
 * The layers that a camera sends: the heights of those that had frames within a second.
 *
 * @param {Participant} participant
 * @returns {Promise<number[]>} ascending
 */
function heightsSent(participant) {
  return participant.evaluate(layersEncodedInASecond);
}

// What follows runs inside the page: each function stands alone.

async function framesDecodedInASecond() {
  const count = async () => {
    let sum = 0;
    for (const pc of /** @type {any} */ (window).peerConnections) {
      for (const entry of (await pc.getStats()).values()) if (entry.type === 'inbound-rtp') sum += entry.framesDecoded ?? 0;
    }
    return sum;
  };
  const before = await count();
  await new Promise((resolve) => setTimeout(resolve, 1000));
  return (await count()) - before;
}

/** Codecs and scalability modes of the video streams that are sent. */
async function modesSent() {
  const modes = [];
  for (const pc of /** @type {any} */ (window).peerConnections) {
    const stats = await pc.getStats();
    for (const entry of stats.values()) {
      if (entry.type !== 'outbound-rtp' || entry.kind !== 'video' || !entry.framesEncoded) continue;
      const codec = stats.get(entry.codecId)?.mimeType?.split('/')[1]?.toLowerCase();
      modes.push(`${codec} ${entry.scalabilityMode}`);
    }
  }
  return modes;
}

/** How many video slots have negotiated the dependency descriptor. */
function slotsWithDescriptors() {
  const { room } = /** @type {any} */ (window).madang;
  const slots = room.pc.getTransceivers().filter((/** @type {any} */ { currentDirection, receiver }) =>
    currentDirection === 'recvonly' && receiver.track.kind === 'video');
  const reads = (/** @type {any} */ slot) => slot.getNegotiatedHeaderExtensions().some((/** @type {any} */ { uri, direction }) =>
    uri.includes('dependency-descriptor') && direction !== 'stopped');
  return slots.filter(reads).length;
}

async function layersEncodedInASecond() {
  const frames = async () => {
    const byLayer = new Map();
    for (const pc of /** @type {any} */ (window).peerConnections) {
      for (const entry of (await pc.getStats()).values()) {
        if (entry.type === 'outbound-rtp' && entry.kind === 'video') {
          byLayer.set(entry.id, { encoded: entry.framesEncoded ?? 0, height: entry.frameHeight ?? 0 });
        }
      }
    }
    return byLayer;
  };
  const before = await frames();
  await new Promise((resolve) => setTimeout(resolve, 1000));
  const after = await frames();
  return [...after.entries()]
    .filter(([id, { encoded }]) => encoded > (before.get(id)?.encoded ?? 0))
    .map(([, { height }]) => height)
    .sort((a, b) => a - b);
}

/** The ceilings of the camera's top layer: bits and frames per second. */
function topEncoding() {
  const { room } = /** @type {any} */ (window).madang;
  const camera = room.publications.get('camera').track;
  const sender = room.pc.getSenders().find((/** @type {RTCRtpSender} */ { track }) => track === camera);
  const { maxBitrate, maxFramerate } = sender.getParameters().encodings[2];
  return [maxBitrate, maxFramerate];
}

/** @param {{ max_bps: number | null, max_fps: number | null }} limits of the top layer */
function receiveLayers(limits) {
  const { room } = /** @type {any} */ (window).madang;
  const all = ['q', 'h', 'f'].map((rid) => ({ rid, active: rid === 'f', max_bps: null, max_fps: null, ...(rid === 'f' && limits) }));
  const frame = { t: 'layers', track: room.publications.get('camera').id, layers: all };
  room.socket.dispatchEvent(new MessageEvent('message', { data: JSON.stringify(frame) }));
}
