/**
 * A bad network between browsers and the server's media port, without the kernel's help: a UDP proxy at the address that
 * the server tells clients. It changes no datagram; it delays, queues and loses them, each participant's on links of their own.
 */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { createRandom } from './random.mjs';

/**
 * @typedef {object} LinkConfig How one direction treats datagrams.
 * @property {number | null} [rate_bps] null is infinitely fast
 * @property {number} [queue_ms] how long a datagram may wait for its turn; one that would wait longer is dropped
 * @property {number} [delay_ms]
 * @property {number} [jitter_ms] up to this much is added to the delay; it does not reorder
 * @property {number} [loss] probability, 0 to 1
 * @property {{ every_ms: number, for_ms: number } | null} [burst] everything is lost for so long, so often
 */

/** @type {Required<LinkConfig>} */
const WIRE = { rate_bps: null, queue_ms: 300, delay_ms: 25, jitter_ms: 0, loss: 0, burst: null };

/** Where clients are told to send to; the server itself listens on the same port of another address. */
const ADVERTISED = '127.0.0.2';
const SERVER = '127.0.0.1';

/** The server's options. It must not look for clients by itself, or it would find a way past the proxy. */
export const NETWORK_OPTIONS = ['--media-bind', SERVER, '--media-advertise', ADVERTISED, '--media-ice-lite', 'true'];

export class Network {
  #listener;
  #serverPort;
  /** @type {Person[]} */
  #people = [];
  /** By the ICE fragment under which the server knows them. @type {Map<string, Person>} */
  #byFragment = new Map();
  /** By address and port: browsers have several. @type {Map<string, { person: Person, socket: import('node:dgram').Socket }>} */
  #clients = new Map();

  /** @param {number} serverPort of media */
  constructor(serverPort) {
    this.#serverPort = serverPort;
    this.#listener = createSocket({ type: 'udp4', recvBufferSize: 4 << 20, sendBufferSize: 4 << 20 });
    this.#listener.on('message', (datagram, from) => this.#fromClient(datagram, from));
  }

  /** @param {number} serverPort of media */
  static async start(serverPort) {
    const network = new Network(serverPort);
    network.#listener.bind(serverPort, ADVERTISED);
    await once(network.#listener, 'listening');
    return network;
  }

  /**
   * The links of who comes first (0), second, and so on; they can be made bad before the person is there.
   *
   * @param {number} number
   */
  person(number) {
    while (this.#people.length <= number) this.#people.push(new Person(this.#people.length));
    return /** @type {Person} */ (this.#people[number]);
  }

  /** Forgets who was there: the next to come is number 0. */
  reset() {
    for (const { socket } of this.#clients.values()) socket.close();
    for (const person of this.#people) person.close();
    this.#clients.clear();
    this.#byFragment.clear();
    this.#people = [];
  }

  async close() {
    this.reset();
    this.#listener.close();
    await once(this.#listener, 'close');
  }

  /**
   * @param {Buffer} datagram
   * @param {import('node:dgram').RemoteInfo} from
   */
  #fromClient(datagram, from) {
    const name = `${from.address}:${from.port}`;
    const client = this.#clients.get(name) ?? this.#meet(datagram, name, from);
    client?.person.up.send(datagram, (late) => client.socket.send(late, this.#serverPort, SERVER, () => {}));
  }

  /**
   * @param {Buffer} datagram the first of this address
   * @param {string} name
   * @param {import('node:dgram').RemoteInfo} from
   */
  #meet(datagram, name, from) {
    const fragment = serverFragment(datagram);
    if (fragment === null) return undefined;
    let person = this.#byFragment.get(fragment);
    if (!person) {
      person = this.person(this.#byFragment.size);
      this.#byFragment.set(fragment, person);
    }
    const socket = createSocket({ type: 'udp4', recvBufferSize: 4 << 20, sendBufferSize: 4 << 20 });
    const { down } = person;
    socket.on('message', (answer) => {
      down.send(answer, (late) => this.#listener.send(late, from.port, from.address, () => {}));
    });
    socket.bind(0, SERVER);
    const client = { person, socket };
    this.#clients.set(name, client);
    return client;
  }
}

class Person {
  /** @param {number} number */
  constructor(number) {
    /** From the browser to the server. */
    this.up = new Link(2 * number + 1);
    /** From the server to the browser. */
    this.down = new Link(2 * number + 2);
  }

  close() {
    this.up.close();
    this.down.close();
  }
}

class Link {
  /** What went in, by the bytes of UDP payload, and what did not come out. */
  stats = { datagrams: 0, bytes: 0, lost: 0, dropped: 0 };
  #config = WIRE;
  #configured = performance.now();
  #random;
  #busyUntil = 0;
  #lastArrival = 0;
  /** @type {Array<{ at: number, deliver: () => void }>} */
  #flying = [];
  /** @type {NodeJS.Timeout | null} */
  #timer = null;

  /** @param {number} seed */
  constructor(seed) {
    this.#random = createRandom(seed);
  }

  /** @param {LinkConfig} config the rest is as on a good wire */
  configure(config) {
    this.#config = { ...WIRE, ...config };
    this.#configured = performance.now();
    // What waits in the old queue leaves at the new rate.
    this.#busyUntil = Math.min(this.#busyUntil, this.#configured + this.#config.queue_ms);
  }

  /**
   * @param {Buffer} datagram
   * @param {(datagram: Buffer) => void} deliver
   */
  send(datagram, deliver) {
    const now = performance.now();
    const { rate_bps, queue_ms, delay_ms, jitter_ms, loss, burst } = this.#config;
    this.stats.datagrams += 1;
    this.stats.bytes += datagram.length;
    const inBurst = burst !== null && (now - this.#configured) % burst.every_ms >= burst.every_ms - burst.for_ms;
    if (inBurst || this.#random() < loss) {
      this.stats.lost += 1;
      return;
    }
    const starts = Math.max(now, this.#busyUntil);
    if (starts - now > queue_ms) {
      this.stats.dropped += 1;
      return;
    }
    this.#busyUntil = starts + (rate_bps === null ? 0 : ((datagram.length + UDP_IP_HEADER_BYTES) * 8000) / rate_bps);
    const at = Math.max(this.#lastArrival, this.#busyUntil + delay_ms + this.#random() * jitter_ms);
    this.#lastArrival = at;
    this.#flying.push({ at, deliver: () => deliver(datagram) });
    this.#arm();
  }

  close() {
    this.#flying = [];
    if (this.#timer) clearTimeout(this.#timer);
  }

  #arm() {
    const next = this.#flying[0];
    if (this.#timer || !next) return;
    this.#timer = setTimeout(() => this.#land(), Math.max(0, next.at - performance.now()));
  }

  #land() {
    this.#timer = null;
    // A timer has whole milliseconds: what is due in the next half goes now.
    const now = performance.now() + 0.5;
    let next = this.#flying[0];
    while (next && next.at <= now) {
      this.#flying.shift();
      next.deliver();
      next = this.#flying[0];
    }
    this.#arm();
  }
}

/** What a datagram takes on the wire beside its payload. */
const UDP_IP_HEADER_BYTES = 28;

const STUN_REQUEST = 0x0001;
const STUN_COOKIE = 0x2112a442;
const STUN_USERNAME = 0x0006;

/**
 * Whom a STUN request is for: the part before the colon of its USERNAME (RFC 8445 section 7.2.2).
 *
 * @param {Buffer} datagram
 * @returns {string | null} null for everything else
 */
function serverFragment(datagram) {
  if (datagram.length < 20 || datagram.readUInt16BE(0) !== STUN_REQUEST || datagram.readUInt32BE(4) !== STUN_COOKIE) return null;
  for (let at = 20; at + 4 <= datagram.length; ) {
    const length = datagram.readUInt16BE(at + 2);
    if (datagram.readUInt16BE(at) === STUN_USERNAME) {
      return datagram.toString('utf8', at + 4, at + 4 + length).split(':')[0] ?? null;
    }
    at += 4 + Math.ceil(length / 4) * 4;
  }
  return null;
}
