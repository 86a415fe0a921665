/** The dependency descriptor: which frames a receiver needs, where it gets some of a stream's layers only. */

const URI = 'https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension';

/**
 * Offers to read it. Chromium does so by itself only where it sends layers; other browsers have no say in it.
 * @param {RTCRtpTransceiver & { getHeaderExtensionsToNegotiate?: () => {uri: string, direction: string}[],
 *   setHeaderExtensionsToNegotiate?: (extensions: {uri: string, direction: string}[]) => void }} transceiver
 */
export function offerDescriptors(transceiver) {
  const extensions = transceiver.getHeaderExtensionsToNegotiate?.() ?? [];
  if (!extensions.some(({ uri }) => uri === URI)) return;
  transceiver.setHeaderExtensionsToNegotiate?.(
    extensions.map(({ uri, direction }) => ({ uri, direction: uri === URI ? 'sendrecv' : direction })),
  );
}
