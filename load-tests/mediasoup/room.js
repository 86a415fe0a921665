/**
 * A room is a router. A participant has two transports, as mediasoup wants it: one for what it publishes, one for what it
 * watches.
 */
import { offerOf, readAnswer, readOffer } from './negotiation.js';

/** @typedef {import('mediasoup').types.WebRtcTransport} Transport */
/**
 * @typedef {object} Seat
 * @property {string} name
 * @property {Transport[]} transports
 * @property {import('mediasoup').types.Producer[]} producers
 * @property {Transport | undefined} watching
 */

const CODECS = [
  { kind: 'audio', mimeType: 'audio/opus', clockRate: 48_000, channels: 2 },
  { kind: 'video', mimeType: 'video/VP8', clockRate: 90_000 },
  {
    kind: 'video',
    mimeType: 'video/H264',
    clockRate: 90_000,
    parameters: { 'packetization-mode': 1, 'profile-level-id': '42e01f', 'level-asymmetry-allowed': 1 },
  },
];
/** Where estimates begin: enough for all that a room has, so that nobody waits for the estimate to grow. */
const OUTGOING_BITRATE = 10_000_000;

/**
 * Newcomers share a keyframe. Else encoders pay back for one for each of them, and much less media than with other servers
 * is measured.
 */
const KEYFRAME_DELAY_MS = 1_000;

export class Room {
  #router;
  #entrance;
  /** What participants can receive: they all are the same program, and the first offer says it. */
  #capabilities;
  /** By the name of the seat. @type {Map<string, Seat>} */
  #seats = new Map();

  /**
   * @param {import('mediasoup').types.Worker} worker
   * @param {import('mediasoup').types.WebRtcServer} entrance
   */
  static async open(worker, entrance) {
    return new Room(await worker.createRouter({ mediaCodecs: CODECS }), entrance);
  }

  constructor(router, entrance) {
    this.#router = router;
    this.#entrance = entrance;
  }

  /** Takes an offer of what a participant publishes, and answers it. */
  async publish(name, sdp) {
    const transport = await this.#transport(name);
    const offer = readOffer(sdp, this.#router.rtpCapabilities);
    this.#capabilities ??= offer.capabilities;
    await transport.connect({ dtlsParameters: offer.dtlsParameters });
    for (const { kind, rtpParameters } of offer.tracks) {
      const wish = { kind, rtpParameters, keyFrameRequestDelay: KEYFRAME_DELAY_MS };
      this.#seat(name).producers.push(await transport.produce(wish));
    }
    return offer.answer(transport);
  }

  /** Offers all that the others publish. */
  async watch(name) {
    const transport = await this.#transport(name);
    this.#seat(name).watching = transport;
    const others = [...this.#seats.values()].filter((seat) => seat.name !== name);
    const consume = (producer) =>
      transport.consume({ producerId: producer.id, rtpCapabilities: this.#capabilities });
    const consumers = await Promise.all(others.flatMap((seat) => seat.producers).map(consume));
    return offerOf(transport, consumers);
  }

  /** Takes the answer to that. */
  async start(name, sdp) {
    await this.#seat(name).watching.connect({ dtlsParameters: readAnswer(sdp) });
    return '';
  }

  leave(name) {
    this.#seat(name).transports.forEach((transport) => transport.close());
    this.#seats.delete(name);
    return '';
  }

  async #transport(name) {
    const transport = await this.#router.createWebRtcTransport({
      webRtcServer: this.#entrance,
      initialAvailableOutgoingBitrate: OUTGOING_BITRATE,
    });
    this.#seat(name).transports.push(transport);
    return transport;
  }

  #seat(name) {
    let seat = this.#seats.get(name);
    if (!seat) {
      seat = { name, transports: [], producers: [], watching: undefined };
      this.#seats.set(name, seat);
    }
    return seat;
  }
}
