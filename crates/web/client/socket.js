/**
 * One WebSocket: frames in and out, replies matched to requests, and a watch that notices when the far side is gone.
 */
import { MadangError } from './errors.js';
import { TypedEvents } from './events.js';
import { SUBPROTOCOL } from './protocol.js';

/** Long enough for a slow mobile network; a shorter one would give up on answers that are under way. */
const REPLY_TIMEOUT_MS = 10_000;
const OPEN_TIMEOUT_MS = 8_000;
/** The server closes a WebSocket on which nothing came for 30 s; the client notices as early by missing pongs. */
const SILENCE_MS = 30_000;

/**
 * @typedef {{t: string, re?: number, s?: number, [field: string]: any}} Frame
 * @typedef {{resolve: (frame: Frame) => void, reject: (error: MadangError) => void, timer: ReturnType<typeof setTimeout>}} Waiting
 */

/** @extends {TypedEvents<{frame: Frame, closed: number}>} */
export class Socket extends TypedEvents {
  /** @type {WebSocket} */
  #ws;
  #nextId = 1;
  /** @type {Map<number, Waiting>} */
  #waiting = new Map();
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #pinger;
  #lastHeard = performance.now();

  /**
   * Resolves when the WebSocket is open; rejects with `unreachable`.
   * @param {string} url
   * @returns {Promise<Socket>}
   */
  static open(url) {
    return new Promise((resolve, reject) => {
      const ws = new WebSocket(url, SUBPROTOCOL);
      const timer = setTimeout(() => ws.close(), OPEN_TIMEOUT_MS);
      ws.onopen = () => {
        clearTimeout(timer);
        resolve(new Socket(ws));
      };
      ws.onclose = () => {
        clearTimeout(timer);
        reject(new MadangError('unreachable'));
      };
    });
  }

  /** @param {WebSocket} ws an open one */
  constructor(ws) {
    super();
    this.#ws = ws;
    ws.onmessage = ({ data }) => this.#receive(data);
    ws.onclose = ({ code }) => this.#ended(code);
  }

  /** The browser's own object, for tests and diagnosis. */
  get raw() {
    return this.#ws;
  }

  /**
   * Sends a frame that wants a reply. Rejects with the server's error, `timeout`, or `disconnected`.
   * @param {string} t
   * @param {object} [fields]
   * @returns {Promise<Frame>}
   */
  request(t, fields = {}) {
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      if (!this.send(t, { id, ...fields })) {
        reject(new MadangError('disconnected'));
        return;
      }
      const timer = setTimeout(() => this.#settle(id)?.reject(new MadangError('timeout')), REPLY_TIMEOUT_MS);
      this.#waiting.set(id, { resolve, reject, timer });
    });
  }

  /**
   * Sends a frame; false if the WebSocket is not open.
   * @param {string} t
   * @param {object} [fields]
   */
  send(t, fields = {}) {
    if (this.#ws.readyState !== WebSocket.OPEN) return false;
    this.#ws.send(JSON.stringify({ t, ...fields }));
    return true;
  }

  /**
   * Pings, and closes the WebSocket when nothing has come for long.
   * @param {number} intervalMs
   */
  keepAlive(intervalMs) {
    clearInterval(this.#pinger);
    this.#lastHeard = performance.now();
    this.#pinger = setInterval(() => {
      if (performance.now() - this.#lastHeard > SILENCE_MS) this.abandon();
      else this.send('ping');
    }, intervalMs);
  }

  /** Closes in good order. */
  close() {
    this.#ws.close(1000);
  }

  /** Ends at once: the close handshake of a dead network would take minutes. */
  abandon() {
    this.#ws.onclose = null;
    this.#ws.onmessage = null;
    this.#ws.close();
    this.#ended(1006);
  }

  /** @param {unknown} data */
  #receive(data) {
    this.#lastHeard = performance.now();
    const frame = parse(data);
    if (!frame) return;
    const waiting = frame.re === undefined ? undefined : this.#settle(frame.re);
    if (!waiting) this.emit('frame', frame);
    else if (frame.t === 'err') waiting.reject(new MadangError(frame.code, frame.msg, frame.retry_ms, frame.url));
    else waiting.resolve(frame);
  }

  /** @param {number} id */
  #settle(id) {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    clearTimeout(waiting?.timer);
    return waiting;
  }

  /** @param {number} code */
  #ended(code) {
    clearInterval(this.#pinger);
    for (const id of [...this.#waiting.keys()]) this.#settle(id)?.reject(new MadangError('disconnected'));
    this.emit('closed', code);
  }
}

/**
 * @param {unknown} data
 * @returns {Frame | null}
 */
function parse(data) {
  if (typeof data !== 'string') return null;
  try {
    const frame = JSON.parse(data);
    return typeof frame?.t === 'string' ? frame : null;
  } catch {
    return null;
  }
}
