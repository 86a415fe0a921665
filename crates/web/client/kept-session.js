/**
 * A WHIP or WHEP session that is opened again for as long as that helps.
 */
import { Backoff } from './backoff.js';
import { MadangError } from './errors.js';
import { TypedEvents } from './events.js';
import { HttpSession } from './http-session.js';

/** How often to ask for a broadcast that has not begun, where the server does not say. */
const ASK_AGAIN_MS = 3_000;

/**
 * @typedef {'connecting' | 'connected' | 'reconnecting' | 'closed'} SessionState
 *
 * @typedef {object} KeptEvents
 * @property {SessionState} state
 * @property {HttpSession} opened a session has been made, the first or a new one
 * @property {MadangError} failed an attempt has failed, and another follows
 * @property {MadangError | null} closed it is over: null where {@link KeptSession.close} was called
 */

/** @extends {TypedEvents<KeptEvents>} */
export class KeptSession extends TypedEvents {
  /** @type {SessionState} */
  state = 'connecting';
  /** @type {HttpSession | null} */
  session = null;
  #endpoint;
  #options;
  #prepare;
  #over = new AbortController();
  #moved = false;
  #onPageHide = () => this.close();

  /**
   * @param {string} endpoint
   * @param {import('./http-session.js').SessionOptions} options
   * @param {(pc: RTCPeerConnection) => void} prepare adds what is offered
   */
  constructor(endpoint, options, prepare) {
    super();
    this.#endpoint = endpoint;
    this.#options = options;
    this.#prepare = prepare;
  }

  start() {
    window.addEventListener('pagehide', this.#onPageHide);
    this.#run().catch((error) => this.#end(error instanceof MadangError ? error : new MadangError('internal', String(error))));
  }

  /** Leaves, and frees the server's half. */
  close() {
    this.#end(null);
  }

  /**
   * Opens a new session elsewhere, as the server has asked.
   * @param {string} [endpoint] by default the same
   */
  move(endpoint) {
    if (endpoint) this.#endpoint = endpoint;
    this.#moved = true;
    this.session?.close();
    this.session?.emit('lost', { ended: false });
  }

  async #run() {
    let backoff = new Backoff();
    /** @type {MadangError} */
    let reason = new MadangError('unreachable');
    /** @type {number | undefined} */
    let wait;
    while (await this.#due(reason, backoff, wait)) {
      try {
        const lost = await this.#live();
        if (lost.connected) backoff = new Backoff();
        if (lost.ended) throw new MadangError('ended');
        [reason, wait] = [new MadangError('disconnected'), undefined];
      } catch (error) {
        if (!(error instanceof MadangError && error.passing) || this.#over.signal.aborted) throw error;
        [reason, wait] = [error, error.retryMs];
        this.emit('failed', error);
      }
      this.#set('reconnecting');
    }
    throw reason;
  }

  /**
   * Waits until another attempt is due; false when there is no sense in more.
   * @param {MadangError} reason of the failure before
   * @param {Backoff} backoff
   * @param {number | undefined} wait what the server asked for
   */
  async #due(reason, backoff, wait) {
    if (this.#moved) {
      this.#moved = false;
      return true;
    }
    // A broadcast may begin at any time: who waits for it does not give up.
    if (reason.code === 'no_publisher') return new Backoff().next(this.#over.signal, wait ?? ASK_AGAIN_MS);
    return backoff.next(this.#over.signal, wait);
  }

  /** Opens one session, and stays with it until it is lost. */
  async #live() {
    const pc = new RTCPeerConnection({ bundlePolicy: 'max-bundle', rtcpMuxPolicy: 'require' });
    this.#prepare(pc);
    const session = new HttpSession(pc, this.#options);
    this.session = session;
    let connected = false;
    session.on('connected', () => {
      connected = true;
      this.#set('connected');
    });
    session.on('interrupted', () => this.#set('reconnecting'));
    /** @type {Promise<{ended: boolean}>} */
    const lost = new Promise((resolve) => session.on('lost', resolve));
    try {
      await session.open(this.#endpoint, this.#over.signal);
    } catch (error) {
      session.close();
      throw error;
    }
    this.emit('opened', session);
    const { ended } = await lost;
    return { connected, ended };
  }

  /** @param {MadangError | null} reason */
  #end(reason) {
    if (this.state === 'closed') return;
    window.removeEventListener('pagehide', this.#onPageHide);
    this.#set('closed');
    this.#over.abort();
    this.session?.close();
    this.session?.emit('lost', { ended: false });
    this.emit('closed', reason);
  }

  /** @param {SessionState} state */
  #set(state) {
    if (this.state === state || this.state === 'closed') return;
    this.state = state;
    this.emit('state', state);
  }
}
