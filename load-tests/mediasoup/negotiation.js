/**
 * SDP on one side, mediasoup's parameters on the other. mediasoup's servers speak no SDP: their browser client turns the one
 * into the other, and its parts do so here.
 */
import * as ortc from 'mediasoup-client/ortc';
import { extractDtlsParameters, extractRtpCapabilities, getCname } from 'mediasoup-client/handlers/sdp/commonUtils';
import { RemoteSdp } from 'mediasoup-client/handlers/sdp/RemoteSdp';
import { getRtpEncodings } from 'mediasoup-client/handlers/sdp/unifiedPlanUtils';
import { parse } from 'sdp-transform';

/**
 * What a participant offers to publish.
 * @param {string} sdp
 * @param {import('mediasoup').types.RtpCapabilities} routerCapabilities
 */
export function readOffer(sdp, routerCapabilities) {
  const offer = parse(sdp);
  const own = extractRtpCapabilities({ sdpObject: offer });
  ortc.validateAndNormalizeRtpCapabilities(own);
  const common = ortc.getExtendedRtpCapabilities(own, routerCapabilities, false);
  const tracks = offer.media.map((section) => ({
    kind: section.type,
    section,
    rtpParameters: sendingParameters(section, common),
  }));
  return {
    tracks,
    capabilities: ortc.getRecvRtpCapabilities(common),
    // Who offers is the DTLS client.
    dtlsParameters: { ...extractDtlsParameters({ sdpObject: offer }), role: 'client' },
    /** @param {import('mediasoup').types.WebRtcTransport} transport */
    answer(transport) {
      const remote = remoteOf(transport, 'server');
      for (const { kind, section, rtpParameters } of tracks) {
        const answered = ortc.getSendingRemoteRtpParameters(kind, common);
        answered.codecs = ortc.reduceCodecs(answered.codecs);
        remote.send({ offerMediaObject: section, offerRtpParameters: rtpParameters, answerRtpParameters: answered });
      }
      return textOf(remote);
    },
  };
}

/** What the sender of this section sends: one codec, and an encoding for each layer. */
function sendingParameters(section, common) {
  const parameters = ortc.getSendingRtpParameters(section.type, common);
  parameters.codecs = ortc.reduceCodecs(parameters.codecs);
  parameters.mid = String(section.mid);
  parameters.rtcp.cname = getCname({ offerMediaObject: section });
  parameters.encodings = section.simulcast
    ? section.rids.map(({ id }) => ({ rid: String(id) }))
    : getRtpEncodings({ offerMediaObject: section, codecs: parameters.codecs });
  return parameters;
}

/**
 * An offer of consumers.
 * @param {import('mediasoup').types.WebRtcTransport} transport
 * @param {import('mediasoup').types.Consumer[]} consumers
 */
export function offerOf(transport, consumers) {
  const remote = remoteOf(transport, 'auto');
  const add = (kind, rtpParameters, trackId) =>
    remote.receive({ mid: rtpParameters.mid, kind, offerRtpParameters: rtpParameters, streamId: trackId, trackId });
  for (const { id, kind, rtpParameters } of consumers) add(kind, rtpParameters, id);
  const video = consumers.find(({ kind }) => kind === 'video');
  // The padding that probes for bandwidth is a stream of its own.
  if (video) add('video', ortc.generateProbatorRtpParameters(video.rtpParameters), 'probator');
  return textOf(remote);
}

/** An attribute without its last word ends in a space, for which a strict reader does not know it: `rtcp-fb:101 transport-cc `. */
function textOf(remote) {
  return remote.getSdp().replaceAll(' \r\n', '\r\n');
}

/** The DTLS parameters of an answer. */
export function readAnswer(sdp) {
  return extractDtlsParameters({ sdpObject: parse(sdp) });
}

function remoteOf(transport, role) {
  // The client's part takes the last fingerprint there is, by SHA-512; the generator's peers know SHA-256.
  const fingerprints = transport.dtlsParameters.fingerprints.filter(({ algorithm }) => algorithm === 'sha-256');
  return new RemoteSdp({
    iceParameters: transport.iceParameters,
    iceCandidates: transport.iceCandidates,
    dtlsParameters: { fingerprints, role },
  });
}
