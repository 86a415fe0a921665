/**
 * What the camera and the screen are encoded to: layers and their bitrates.
 */

import { codecName } from './codecs.js';

/** @typedef {import('./protocol.js').LayerRequest} LayerRequest */

/** Bitrate of the full picture at 1280×720: above it VP8 gains little, below it fine detail goes first. */
const FULL_BPS = 2_000_000;
const FULL_PIXELS = 1280 * 720;
/** Bitrate grows a little slower than the number of pixels. */
const PIXEL_EXPONENT = 0.75;
/** Text at 15 frames per second stays sharp with this; a film in a shared window needs it all. */
const SCREEN_BPS = 2_500_000;

/** Smallest first, as RFC 8853 and the browsers order them. `share` is the part of the full picture's bitrate. */
const CAMERA_LAYERS = [
  { rid: 'q', scale: 4, share: 1 / 12 },
  { rid: 'h', scale: 2, share: 2 / 7 },
  { rid: 'f', scale: 1, share: 1 },
];

/** Each layer is a stream of its own. */
const SIMULCAST_CODECS = ['vp8', 'h264'];
/**
 * VP9 and AV1 have three sizes of three frame rates each in one stream, for less work and fewer bits than three streams. A larger
 * size needs the smaller ones in keyframes alone, so that whoever sees it gets nothing else.
 */
const LAYERED_MODE = 'L3T3_KEY';

/** Sizes are rounded to even numbers of lines. */
const ROUNDING_LINES = 2;

/** @typedef {RTCRtpEncodingParameters & { scalabilityMode?: string }} Encoding TypeScript does not know it (WebRTC-SVC section 4.1) */

/**
 * Three layers for a camera of this size.
 * @param {import('./codecs.js').VideoCodec} [codec]
 * @param {number} [width]
 * @param {number} [height]
 * @returns {Encoding[]}
 */
export function cameraEncodings(codec = 'vp8', width = 1280, height = 720) {
  const full = FULL_BPS * ((width * height) / FULL_PIXELS) ** PIXEL_EXPONENT;
  if (!SIMULCAST_CODECS.includes(codec)) return [{ maxBitrate: Math.round(full), scalabilityMode: LAYERED_MODE }];
  return CAMERA_LAYERS.map(({ rid, scale, share }) => ({
    rid,
    scaleResolutionDownBy: scale,
    maxBitrate: Math.round(full * share),
  }));
}

/**
 * Adds a sender. A browser whose encoders cannot do the mode sends one layer.
 * @param {RTCPeerConnection} pc
 * @param {MediaStreamTrack | string} what
 * @param {Omit<RTCRtpTransceiverInit, 'sendEncodings'> & { sendEncodings?: Encoding[] }} init
 */
export function addSender(pc, what, init) {
  try {
    return pc.addTransceiver(what, init);
  } catch {
    const sendEncodings = init.sendEncodings?.map(({ scalabilityMode, ...encoding }) => encoding);
    return pc.addTransceiver(what, { ...init, ...(sendEncodings && { sendEncodings }) });
  }
}

/** @returns {Encoding[]} */
export function screenEncodings() {
  return [{ maxBitrate: SCREEN_BPS }];
}

/**
 * Encodes only the layers that somebody watches (dynacast), each within its ceiling.
 * @param {RTCRtpSender} sender
 * @param {Encoding[]} ceilings
 * @param {LayerRequest[]} layers the server's request; empty = all of them
 * @param {import('./codecs.js').VideoCodec} [videoCodec] what to encode to, where it was negotiated; else the first of the answer
 */
export async function applyEncodings(sender, ceilings, layers, videoCodec) {
  const height = sender.track?.getSettings().height ?? 0;
  const parameters = sender.getParameters();
  if (!parameters.encodings?.length) return;
  const codec = parameters.codecs?.find((negotiated) => codecName(negotiated) === videoCodec);
  for (const encoding of parameters.encodings) {
    const ceiling = ceilings.find(({ rid }) => rid === encoding.rid) ?? ceilings[0];
    const wish = layers.find(({ rid }) => (rid ?? '') === (encoding.rid ?? ''));
    encoding.active = wish?.active ?? true;
    // Firefox has neither here, and ignores them. Chromium forgets a mode that the first codec of the answer does not have.
    if (codec) Object.assign(encoding, { codec, ...(ceiling?.scalabilityMode && { scalabilityMode: ceiling.scalabilityMode }) });
    const scale = ceiling?.scalabilityMode ? scaleFor(height, wish?.max_height) : 1;
    if (ceiling?.scalabilityMode) encoding.scaleResolutionDownBy = scale;
    const bps = (ceiling?.maxBitrate ?? 0) * scale ** (-2 * PIXEL_EXPONENT);
    if (bps) encoding.maxBitrate = Math.round(Math.min(bps, wish?.max_bps || Infinity));
    if (wish?.max_fps) encoding.maxFramerate = wish.max_fps;
    else delete encoding.maxFramerate;
  }
  await sender.setParameters(parameters);
}

/**
 * How often a picture can be halved and still have the lines that anybody looks at.
 * @param {number} height
 * @param {number | null} [wanted]
 */
function scaleFor(height, wanted) {
  let scale = 1;
  while (wanted && height / (scale * 2) + ROUNDING_LINES > wanted) scale *= 2;
  return scale;
}
