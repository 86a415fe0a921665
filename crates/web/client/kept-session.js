/**
 * A WHIP or WHEP session that is opened again for as long as that helps.
 */
import { Backoff } from './backoff.js';
import { MadangError } from './errors.js';
import { TypedEvents } from './events.js';
import { HttpSession } from './http-session.js';

/** How often to ask for a broadcast that has not begun, where the server does not say. */
const ASK_AGAIN_MS = 3_000;
/** How long to wait with another attempt to go elsewhere. */
const MOVE_AGAIN_MS = 300;

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
  #ready;
  /** What still plays while the session that takes its place is being made. @type {HttpSession | null} */
  #before = null;
  #over = new AbortController();
  #moved = false;
  #onPageHide = () => this.close();

  /**
   * @param {string} endpoint
   * @param {import('./http-session.js').SessionOptions} options
   * @param {(pc: RTCPeerConnection) => void} prepare adds what is offered
   * @param {(pc: RTCPeerConnection) => Promise<void>} [ready] settles when a session may take the place of another. Without it, one ends
   *   before the next begins
   */
  constructor(endpoint, options, prepare, ready) {
    super();
    this.#ready = ready;
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

  /** The session whose media is shown. */
  get playing() {
    return this.#before ?? this.session;
  }

  /**
   * Opens a new session elsewhere, as the server has asked.
   * @param {string} [endpoint] by default the same
   */
  move(endpoint) {
    if (endpoint) this.#endpoint = endpoint;
    if (this.#before) return;
    this.#moved = true;
    if (this.#ready && this.state === 'connected') this.#before = this.session;
    else this.session?.close();
    this.session?.emit('lost', { ended: false });
  }

  /** @param {HttpSession} session that takes the place of the one before */
  async #takeOver(session) {
    const before = this.#before;
    if (!before) return;
    await this.#ready?.(session.pc);
    if (this.#before !== before || this.session !== session) return;
    this.#before = null;
    before.close();
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
        // What plays still is to be replaced before it ends.
        [reason, wait] = [error, this.#before ? MOVE_AGAIN_MS : error.retryMs];
        this.emit('failed', error);
      }
      if (!this.#before) this.#set('reconnecting');
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
    if (this.#before) return new Backoff().next(this.#over.signal, wait);
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
      this.#takeOver(session).catch(() => {});
    });
    session.on('interrupted', () => {
      if (this.playing === session) this.#set('reconnecting');
    });
    /** @type {Promise<{ended: boolean}>} */
    const lost = new Promise((resolve) => session.on('lost', resolve));
    session.on('lost', () => this.#lose(session));
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

  /** The session before is over sooner than the one that takes its place is there. @param {HttpSession} session */
  #lose(session) {
    if (this.#before !== session || this.session === session) return;
    this.#before = null;
    this.#set(this.session?.pc.connectionState === 'connected' ? 'connected' : 'reconnecting');
  }

  /** @param {MadangError | null} reason */
  #end(reason) {
    if (this.state === 'closed') return;
    window.removeEventListener('pagehide', this.#onPageHide);
    this.#set('closed');
    this.#over.abort();
    this.#before?.close();
    this.#before = null;
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
