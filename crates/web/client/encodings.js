/**
 * What the camera and the screen are encoded to: simulcast layers and their bitrates.
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

/** Browsers send several rids of these; of VP9 and AV1 they make one stream with spatial layers instead. */
const SIMULCAST_CODECS = ['vp8', 'h264'];

/**
 * Three layers for a camera of this size, or one where the codec has no simulcast.
 * @param {import('./codecs.js').VideoCodec} [codec]
 * @param {number} [width]
 * @param {number} [height]
 * @returns {RTCRtpEncodingParameters[]}
 */
export function cameraEncodings(codec = 'vp8', width = 1280, height = 720) {
  const full = FULL_BPS * ((width * height) / FULL_PIXELS) ** PIXEL_EXPONENT;
  if (!SIMULCAST_CODECS.includes(codec)) return [{ maxBitrate: Math.round(full) }];
  return CAMERA_LAYERS.map(({ rid, scale, share }) => ({
    rid,
    scaleResolutionDownBy: scale,
    maxBitrate: Math.round(full * share),
  }));
}

/** @returns {RTCRtpEncodingParameters[]} */
export function screenEncodings() {
  return [{ maxBitrate: SCREEN_BPS }];
}

/**
 * Encodes only the layers that somebody watches (dynacast), each within its ceiling.
 * @param {RTCRtpSender} sender
 * @param {RTCRtpEncodingParameters[]} ceilings
 * @param {LayerRequest[]} layers the server's request; empty = all of them
 * @param {import('./codecs.js').VideoCodec} [videoCodec] what to encode to, where it was negotiated; else the first of the answer
 */
export async function applyEncodings(sender, ceilings, layers, videoCodec) {
  const parameters = sender.getParameters();
  if (!parameters.encodings?.length) return;
  const codec = parameters.codecs?.find((negotiated) => codecName(negotiated) === videoCodec);
  for (const encoding of parameters.encodings) {
    const ceiling = ceilings.find(({ rid }) => rid === encoding.rid) ?? ceilings[0];
    const wish = layers.find(({ rid }) => (rid ?? '') === (encoding.rid ?? ''));
    encoding.active = wish?.active ?? true;
    // Firefox has no `codec` here, and ignores it.
    if (codec) Object.assign(encoding, { codec });
    if (ceiling?.maxBitrate) encoding.maxBitrate = Math.min(ceiling.maxBitrate, wish?.max_bps || Infinity);
    if (wish?.max_fps) encoding.maxFramerate = wish.max_fps;
    else delete encoding.maxFramerate;
  }
  await sender.setParameters(parameters);
}
