/**
 * What a person would see and hear, read from a page: pixels of decoded pictures, frequencies of received sound, and the
 * statistics of the PeerConnection. Works for Playwright and for Puppeteer: a probe needs only `evaluate`.
 */
import { COLOURS } from './media.mjs';

/** @typedef {import('./media.mjs').Colour} Colour */
/** @typedef {{ evaluate: (body: any, argument?: any) => Promise<any> }} Evaluates a page of either library */

/**
 * Runs in a page before its own scripts: keeps every RTCPeerConnection that the page makes, so that tests can count
 * them and read their statistics whatever the page does with them.
 */
export function recordPeerConnections() {
  const scope = /** @type {any} */ (window);
  const recorded = /** @type {RTCPeerConnection[]} */ ([]);
  scope.peerConnections = recorded;
  scope.RTCPeerConnection = class extends RTCPeerConnection {
    /** @param {RTCConfiguration} [configuration] */
    constructor(configuration) {
      super(configuration);
      recorded.push(this);
    }
  };
}

/**
 * The colour that a video element shows: the mean over its upper three quarters, named if it is one of `COLOURS`.
 *
 * @param {Evaluates} page
 * @param {string} selector of a video element
 * @returns {Promise<string>} a name of `COLOURS`, `no picture`, `black`, or the mean as `rgb(r,g,b)`
 */
export async function colourOf(page, selector) {
  const mean = await page.evaluate(meanColour, selector);
  return mean === null ? 'no picture' : nameOf(mean);
}

/**
 * @typedef {object} Reception of one video element
 * @property {number} framesDecoded
 * @property {number} frameWidth
 * @property {number} frameHeight
 * @property {number} freezeCount
 * @property {number} packetsLost
 * @property {number} keyFramesDecoded
 * @property {string} codec the MIME type
 */

/**
 * The receiver's statistics of the track that a video element shows.
 *
 * @param {Evaluates} page
 * @param {string} selector
 * @returns {Promise<Reception | null>} null while nothing has been received
 */
export function receptionOf(page, selector) {
  return page.evaluate(inboundVideo, selector);
}

/**
 * The tones in the sound that a page receives, over all its PeerConnections' audio, at most one per receiver.
 *
 * @param {Evaluates} page
 * @returns {Promise<number[]>} frequencies in Hz, rounded to 10 Hz; silence yields none
 */
export function tonesHeard(page) {
  return page.evaluate(dominantTones);
}

/**
 * The tones in the two channels of the one sound that a page receives.
 *
 * @param {Evaluates} page
 * @returns {Promise<Array<number | null>>} left and right, in Hz, rounded to 10 Hz; null for silence, nothing before there is sound
 */
export function channelsHeard(page) {
  return page.evaluate(tonesOfChannels);
}

/**
 * The receiver's statistics of all sound. RED (RFC 2198) carries the sound of the packet before once more; where that packet has
 * come, the second copy is discarded. The statistics name the codec inside of RED, so that is how to tell it.
 *
 * @param {Evaluates} page
 * @returns {Promise<Array<{ packets: number, copies: number, codecs: string[] }>>} for each stream that carries any; `codecs` are
 *   those of its m-line, best first
 */
export function soundReception(page) {
  return page.evaluate(inboundSound);
}

/**
 * The energy of all sound that a page has received so far, as the browser's decoders measure it.
 *
 * @param {Evaluates} page
 * @returns {Promise<number>} seconds of full loudness
 */
export function soundEnergy(page) {
  return page.evaluate(totalAudioEnergy);
}

/**
 * A short account of every PeerConnection of a page, for the output of a failed test.
 *
 * @param {Evaluates} page
 * @returns {Promise<string>}
 */
export function mediaReport(page) {
  return page.evaluate(describeConnections);
}

/** @param {Evaluates} page */
export function countPeerConnections(page) {
  return page.evaluate(() => /** @type {any} */ (window).peerConnections.length);
}

/** @param {Colour} mean */
function nameOf(mean) {
  if (Math.max(...mean) < 24) return 'black';
  for (const [name, colour] of Object.entries(COLOURS)) {
    // Colour conversion and quantisation move a channel by about 10; the colours are over 100 apart.
    if (colour.every((channel, index) => Math.abs(channel - (mean[index] ?? 0)) < 40)) return name;
  }
  return `rgb(${mean.join(',')})`;
}

// What follows runs inside the page: each function stands alone.

/** @param {string} selector */
function meanColour(selector) {
  const video = /** @type {HTMLVideoElement | null} */ (document.querySelector(selector));
  if (!video || video.readyState < HTMLMediaElement.HAVE_CURRENT_DATA || video.videoWidth === 0) return null;
  const canvas = document.createElement('canvas');
  canvas.width = 32;
  canvas.height = 24;
  const context = canvas.getContext('2d', { willReadFrequently: true });
  if (!context) return null;
  context.drawImage(video, 0, 0, video.videoWidth, video.videoHeight * 0.75, 0, 0, 32, 24);
  const { data } = context.getImageData(0, 0, 32, 24);
  const mean = [0, 1, 2].map((channel) => {
    let sum = 0;
    for (let at = channel; at < data.length; at += 4) sum += data[at] ?? 0;
    return Math.round(sum / (data.length / 4));
  });
  return mean;
}

/** @param {string} selector */
async function inboundVideo(selector) {
  const video = /** @type {HTMLVideoElement | null} */ (document.querySelector(selector));
  const stream = /** @type {MediaStream | null | undefined} */ (video?.srcObject);
  const track = stream?.getVideoTracks()[0];
  if (!track) return null;
  for (const pc of /** @type {any} */ (window).peerConnections) {
    const receiver = pc.getReceivers().find((/** @type {RTCRtpReceiver} */ each) => each.track.id === track.id);
    if (!receiver) continue;
    const report = await receiver.getStats();
    for (const entry of report.values()) {
      if (entry.type !== 'inbound-rtp') continue;
      return {
        framesDecoded: entry.framesDecoded ?? 0,
        frameWidth: entry.frameWidth ?? 0,
        frameHeight: entry.frameHeight ?? 0,
        freezeCount: entry.freezeCount ?? 0,
        packetsLost: entry.packetsLost ?? 0,
        keyFramesDecoded: entry.keyFramesDecoded ?? 0,
        codec: report.get(entry.codecId)?.mimeType ?? '',
      };
    }
  }
  return null;
}

async function dominantTones() {
  const scope = /** @type {any} */ (window);
  scope.listening ??= { context: new AudioContext(), analysers: new Map() };
  const { context, analysers } = scope.listening;
  await context.resume();
  const tones = [];
  for (const pc of scope.peerConnections) {
    for (const { track } of pc.getReceivers()) {
      if (track.kind !== 'audio' || track.readyState !== 'live') continue;
      let analyser = analysers.get(track.id);
      if (!analyser) {
        analyser = context.createAnalyser();
        analyser.fftSize = 16384;
        analyser.smoothingTimeConstant = 0;
        context.createMediaStreamSource(new MediaStream([track])).connect(analyser);
        analysers.set(track.id, analyser);
      }
      const bins = new Float32Array(analyser.frequencyBinCount);
      analyser.getFloatFrequencyData(bins);
      let loudest = 1;
      bins.forEach((level, bin) => {
        if (level > (bins[loudest] ?? -Infinity)) loudest = bin;
      });
      // -60 dBFS: far above what comfort noise has, far below any tone of the tests.
      if ((bins[loudest] ?? -Infinity) < -60) continue;
      tones.push(Math.round((loudest * context.sampleRate) / analyser.fftSize / 10) * 10);
    }
  }
  return tones.sort((a, b) => a - b);
}

async function tonesOfChannels() {
  const scope = /** @type {any} */ (window);
  scope.channels ??= { context: new AudioContext(), analysers: new Map() };
  const { context, analysers } = scope.channels;
  await context.resume();
  for (const pc of scope.peerConnections) {
    for (const { track } of pc.getReceivers()) {
      if (track.kind !== 'audio' || track.readyState !== 'live') continue;
      if (!analysers.has(track.id)) {
        const source = context.createMediaStreamSource(new MediaStream([track]));
        const splitter = source.connect(context.createChannelSplitter(2));
        const pair = [0, 1].map((channel) => {
          const analyser = new AnalyserNode(context, { fftSize: 16384, smoothingTimeConstant: 0 });
          splitter.connect(analyser, channel);
          return analyser;
        });
        analysers.set(track.id, pair);
      }
      const tones = analysers.get(track.id).map((/** @type {AnalyserNode} */ analyser) => {
        const bins = new Float32Array(analyser.frequencyBinCount);
        analyser.getFloatFrequencyData(bins);
        const loudest = bins.reduce((best, level, bin) => (level > (bins[best] ?? -Infinity) ? bin : best), 1);
        // As above.
        if ((bins[loudest] ?? -Infinity) < -60) return null;
        return Math.round((loudest * context.sampleRate) / analyser.fftSize / 10) * 10;
      });
      if (tones.some((/** @type {number | null} */ tone) => tone !== null)) return tones;
    }
  }
  return [];
}

async function inboundSound() {
  const found = [];
  for (const pc of /** @type {any} */ (window).peerConnections) {
    for (const entry of (await pc.getStats()).values()) {
      if (entry.type !== 'inbound-rtp' || entry.kind !== 'audio' || entry.packetsReceived === 0) continue;
      const { receiver } = pc.getTransceivers().find((/** @type {RTCRtpTransceiver} */ { mid }) => mid === entry.mid);
      const codecs = receiver.getParameters().codecs.map((/** @type {RTCRtpCodec} */ { mimeType }) => mimeType);
      found.push({ packets: entry.packetsReceived, copies: entry.packetsDiscarded ?? 0, codecs });
    }
  }
  return found;
}

async function totalAudioEnergy() {
  let sum = 0;
  for (const pc of /** @type {any} */ (window).peerConnections) {
    for (const entry of (await pc.getStats()).values()) if (entry.type === 'inbound-rtp') sum += entry.totalAudioEnergy ?? 0;
  }
  return sum;
}

async function describeConnections() {
  const lines = [];
  for (const pc of /** @type {any} */ (window).peerConnections) {
    lines.push(`pc ${pc.connectionState}, ice ${pc.iceConnectionState}, signalling ${pc.signalingState}`);
    const report = await pc.getStats();
    for (const entry of report.values()) {
      if (entry.type === 'inbound-rtp' && entry.packetsReceived > 0) {
        lines.push(
          `  in ${entry.mid} ${entry.kind} ${entry.packetsReceived} packets, lost ${entry.packetsLost}, ` +
            `${entry.framesDecoded ?? '-'} frames, ${entry.frameWidth ?? '-'}×${entry.frameHeight ?? '-'}, ` +
            `pli ${entry.pliCount ?? '-'}, freezes ${entry.freezeCount ?? '-'}, energy ${entry.totalAudioEnergy ?? '-'}`,
        );
      }
      if (entry.type === 'outbound-rtp' && entry.packetsSent > 0) {
        lines.push(
          `  out ${entry.mid} ${entry.kind} ${entry.rid ?? ''} ${entry.packetsSent} packets, ` +
            `${entry.framesEncoded ?? '-'} frames, ${entry.frameWidth ?? '-'}×${entry.frameHeight ?? '-'}, ` +
            `key frames ${entry.keyFramesEncoded ?? '-'}, pli ${entry.pliCount ?? '-'}, nack ${entry.nackCount ?? '-'}, ` +
            `limited by ${entry.qualityLimitationReason ?? '-'}, active ${entry.active ?? '-'}`,
        );
      }
    }
  }
  return lines.join('\n');
}
