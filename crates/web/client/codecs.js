/**
 * Which codecs the offer names. Pruning them takes an offer with 12 slots from 48 KB to 16 KB.
 */

/** @typedef {'vp8' | 'h264' | 'vp9' | 'av1'} VideoCodec */

/** Best first. RED first among audio: it repeats the last packet's sound, and the server answers with it only where it can. */
const AUDIO = ['red', 'opus'];
const VIDEO = ['vp8', 'h264', 'vp9', 'av1', 'rtx'];

/**
 * Prunes and orders what this transceiver offers.
 * @param {RTCRtpTransceiver} transceiver
 * @param {import('./protocol.js').Kind} kind
 * @param {{first?: VideoCodec, red?: boolean}} [options] the codec to prefer; whether RED may be used
 */
export function pruneCodecs(transceiver, kind, { first, red = true } = {}) {
  const capabilities = RTCRtpReceiver.getCapabilities(kind);
  if (!capabilities || !transceiver.setCodecPreferences) return;
  const audio = AUDIO.filter((name) => red || name !== 'red');
  const order = kind === 'audio' ? audio : [...(first ? [first] : []), ...VIDEO];
  const wanted = capabilities.codecs
    .filter((codec) => order.includes(codecName(codec)) && isForwardable(codec))
    .sort((a, b) => order.indexOf(codecName(a)) - order.indexOf(codecName(b)));
  if (wanted.length > 0) transceiver.setCodecPreferences(wanted);
}

/**
 * The name as the protocol writes it, for example `vp8`.
 * @param {{mimeType: string}} codec
 */
export function codecName({ mimeType }) {
  return mimeType.split('/')[1]?.toLowerCase() ?? '';
}

/**
 * One profile of each: 8 bit 4:2:0, and for H.264 the baseline that all browsers send, in packetization mode 1, whose receivers
 * take mode 0 too.
 * @param {RTCRtpCodec} codec
 */
function isForwardable(codec) {
  const fmtp = codec.sdpFmtpLine ?? '';
  switch (codecName(codec)) {
    case 'h264':
      return /packetization-mode=1\b/.test(fmtp) && /profile-level-id=42/i.test(fmtp);
    case 'vp9':
      return !fmtp.includes('profile-id=') || fmtp.includes('profile-id=0');
    case 'av1':
      return !/(^|;)\s*profile=[^0]/.test(fmtp);
    default:
      return true;
  }
}
