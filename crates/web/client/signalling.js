/**
 * One session's signalling: join, and resume on a new WebSocket when one is lost, for as long as the server keeps the session.
 */
import { Backoff } from './backoff.js';
import { MadangError } from './errors.js';
import { TypedEvents } from './events.js';
import { VERSION } from './protocol.js';
import { Socket } from './socket.js';

/**
 * @typedef {import('./socket.js').Frame} Frame
 * @typedef {import('./protocol.js').Joined} Joined
 * @typedef {import('./protocol.js').Resumed} Resumed
 *
 * @typedef {object} SignallingEvents
 * @property {Frame} frame an event of the server, each once and in order
 * @property {undefined} interrupted the WebSocket was lost; it is being replaced
 * @property {Resumed} resumed
 * @property {MadangError} lost the session is gone: join again
 */

/** @extends {TypedEvents<SignallingEvents>} */
export class Signalling extends TypedEvents {
  #url;
  /** @type {Socket | null} */
  #socket = null;
  /** @type {{session: string, secret: string, ping_ms: number} | null} */
  #session = null;
  #lastS = 0;
  #ended = new AbortController();
  /** Settles when there is a WebSocket again, or never will be. */
  #ready = deferred();

  /** @param {string} url of the server's `/v1/rtc` */
  constructor(url) {
    super();
    this.#url = url;
  }

  /** The current WebSocket, for tests and diagnosis. */
  get socket() {
    return this.#socket?.raw ?? null;
  }

  get connected() {
    return this.#socket !== null;
  }

  /**
   * Opens the WebSocket while the fields are still being made, and joins.
   * @param {Promise<object>} fields of the `join` message
   * @returns {Promise<Joined>}
   */
  async join(fields) {
    const opening = Socket.open(this.#url);
    // Whichever fails second would otherwise be reported as unhandled.
    fields.catch(() => {});
    const socket = await opening;
    this.#ended.signal.addEventListener('abort', () => socket.close());
    try {
      this.#ended.signal.throwIfAborted();
      const joined = /** @type {any} */ (await socket.request('join', { v: VERSION, ...(await fields) }));
      this.#session = { session: joined.session, secret: joined.secret, ping_ms: joined.ping_ms };
      this.#adopt(socket);
      return joined;
    } catch (error) {
      socket.close();
      throw error;
    }
  }

  /**
   * Sends a request, after the WebSocket is back if it is away. A request that was under way when the WebSocket was lost
   * rejects with `disconnected`: whether it was carried out is not known.
   * @param {string} t
   * @param {object} [fields]
   */
  async request(t, fields) {
    return (await this.#whenConnected()).request(t, fields);
  }

  /**
   * Sends a frame without waiting for anything. It goes out after the WebSocket is back; if the session ends before, it is dropped.
   * @param {string} t
   * @param {object} [fields]
   */
  send(t, fields) {
    this.#whenConnected().then((socket) => socket.send(t, fields), () => {});
  }

  /** Takes up the session elsewhere from the next attempt on. @param {string} url */
  moveTo(url) {
    this.#url = url;
  }

  /** Ends the session for good, telling the server if it can be told. */
  leave() {
    this.#socket?.send('leave');
    this.close();
  }

  /** Ends this side without a word. */
  close() {
    const error = new MadangError('disconnected');
    this.#ended.abort(error);
    this.#ready.reject(error);
    this.#socket?.close();
    this.#socket = null;
  }

  /** @returns {Promise<Socket>} */
  async #whenConnected() {
    while (!this.#socket) {
      this.#ended.signal.throwIfAborted();
      await this.#ready.promise;
    }
    return this.#socket;
  }

  /** @param {Socket} socket */
  #adopt(socket) {
    this.#socket = socket;
    socket.on('frame', (frame) => this.#receive(frame));
    socket.on('closed', () => this.#interrupted(socket));
    socket.keepAlive(this.#session?.ping_ms ?? 10_000);
    this.#ready.resolve();
  }

  /** @param {Frame} frame */
  #receive(frame) {
    if (frame.s !== undefined) {
      if (frame.s <= this.#lastS) return;
      this.#lastS = frame.s;
    }
    if (frame.t !== 'pong') this.emit('frame', frame);
  }

  /** @param {Socket} socket */
  #interrupted(socket) {
    if (this.#ended.signal.aborted || this.#socket !== socket) return;
    this.#socket = null;
    this.#ready = deferred();
    this.emit('interrupted', undefined);
    this.#resume().catch((error) => {
      if (this.#ended.signal.aborted) return;
      this.close();
      this.emit('lost', error);
    });
  }

  async #resume() {
    const backoff = new Backoff();
    let last = new MadangError('disconnected');
    while (await backoff.next(this.#ended.signal, last.retryMs)) {
      try {
        await this.#attemptResume();
        return;
      } catch (error) {
        if (!(error instanceof MadangError)) throw error;
        // Anything that the server says to `resume`, but to wait, means that the session is not there.
        if (!WORTH_ANOTHER_TRY.has(error.code)) throw error;
        last = error;
      }
    }
    throw last;
  }

  async #attemptResume() {
    const socket = await Socket.open(this.#url);
    try {
      const { session, secret } = this.#session ?? {};
      const fields = { v: VERSION, session, secret, last_s: this.#lastS };
      const resumed = /** @type {any} */ (await socket.request('resume', fields));
      this.#ended.signal.throwIfAborted();
      if (resumed.full) this.#lastS = resumed.s;
      this.#adopt(socket);
      this.emit('resumed', resumed);
    } catch (error) {
      socket.close();
      throw error;
    }
  }
}

const WORTH_ANOTHER_TRY = new Set(['unreachable', 'disconnected', 'timeout', 'rate_limited', 'internal']);

/** A promise that is settled from outside. */
function deferred() {
  let resolve = () => {};
  /** @type {(error: MadangError) => void} */
  let reject = () => {};
  /** @type {Promise<void>} */
  const promise = new Promise((...both) => [resolve, reject] = both);
  promise.catch(() => {});
  return { promise, resolve, reject };
}
