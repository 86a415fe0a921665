/** RTP header extensions about layers: browsers offer them only where they are told to. */

/** The dependency descriptor: which frames a receiver needs, where it gets some of a stream's layers only. */
const DESCRIPTOR = 'https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension';
/** The video layers allocation: which layers are sent, how large they are, and what each may take. */
const ALLOCATION = 'http://www.webrtc.org/experiments/rtp-hdrext/video-layers-allocation00';

/**
 * @typedef {RTCRtpTransceiver & { getHeaderExtensionsToNegotiate?: () => {uri: string, direction: string}[],
 *   setHeaderExtensionsToNegotiate?: (extensions: {uri: string, direction: string}[]) => void }} Transceiver
 */

/**
 * Offers to read descriptors. Chromium does so by itself only where it sends layers; other browsers have no say in it.
 * @param {Transceiver} transceiver
 */
export function offerDescriptors(transceiver) {
  offer(transceiver, DESCRIPTOR);
}

/**
 * Offers to say which layers are sent: one that stops is missed at once, and not when it has been silent for a while.
 * @param {Transceiver} transceiver
 */
export function offerAllocations(transceiver) {
  offer(transceiver, ALLOCATION);
}

/**
 * @param {Transceiver} transceiver
 * @param {string} offered
 */
function offer(transceiver, offered) {
  const extensions = transceiver.getHeaderExtensionsToNegotiate?.() ?? [];
  if (!extensions.some(({ uri }) => uri === offered)) return;
  transceiver.setHeaderExtensionsToNegotiate?.(
    extensions.map(({ uri, direction }) => ({ uri, direction: uri === offered ? 'sendrecv' : direction })),
  );
}
