/**
 * Opus in stereo (RFC 7587 section 6.1). Browsers have no API for it, but for the session description: `stereo=1` in the own offer makes
 * a decoder of two channels, `stereo=1` in the answer an encoder of two. Bundled sections with one payload type must have the
 * same parameters, so it is all of them or none.
 */

/** Music needs about twice what speech in stereo gets by default. In bit/s, all channels together. */
const STEREO_BPS = 128_000;

/**
 * The own offer, which can hear whoever sends stereo.
 * @param {string} sdp
 */
export function hearStereo(sdp) {
  return mapOpus(sdp, (parameters) => (parameters.some(isStereo) ? parameters : [...parameters, 'stereo=1']));
}

/**
 * The server's answer, by which the own encoders go.
 * @param {string} sdp an answer to an offer from {@link hearStereo}
 * @param {boolean} stereo what to send
 */
export function sendStereo(sdp, stereo) {
  return mapOpus(sdp, (parameters) => {
    if (stereo) return [...parameters, `maxaveragebitrate=${STEREO_BPS}`];
    return parameters.filter((parameter) => !isStereo(parameter));
  });
}

/** @param {string} parameter */
function isStereo(parameter) {
  return /^(sprop-)?stereo=/.test(parameter);
}

/**
 * Changes the parameters of Opus wherever they stand.
 * @param {string} sdp
 * @param {(parameters: string[]) => string[]} change
 */
function mapOpus(sdp, change) {
  const payloadTypes = new Set([...sdp.matchAll(/^a=rtpmap:(\d+) opus\//gim)].map(([, payloadType]) => payloadType));
  return sdp.replace(/^a=fmtp:(\d+) ([^\r\n]*)/gm, (line, payloadType, parameters) => {
    if (!payloadTypes.has(payloadType)) return line;
    const trimmed = parameters.split(';').map((/** @type {string} */ parameter) => parameter.trim());
    return `a=fmtp:${payloadType} ${change(trimmed).join(';')}`;
  });
}
