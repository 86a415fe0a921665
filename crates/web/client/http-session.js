/**
 * One WHIP (RFC 9725) or WHEP session: the POST of an offer, the resource that it makes, and what is done to that.
 */
import { MadangError } from './errors.js';
import { TypedEvents } from './events.js';
import { iceServersOf, linksOf } from './link-header.js';
import { applyFragment, makeFragment } from './sdp-fragment.js';
import { hearStereo, sendStereo } from './stereo.js';

/** ICE `disconnected` often heals within a second or two; a restart at once would disturb that. */
const DISCONNECTED_GRACE_MS = 2_000;
/** Connectivity checks over all pairs take less, unless the network swallows them. */
const CONNECT_PATIENCE_MS = 12_000;

/**
 * @typedef {object} SessionOptions
 * @property {string} [token] sent as Bearer
 * @property {boolean} [stereo] whether sound is sent in stereo
 *
 * @typedef {object} SessionEvents
 * @property {undefined} connected media can flow, at the start and after each restart
 * @property {undefined} interrupted media is held up, and ICE tries to mend it
 * @property {{ended: boolean}} lost it cannot be mended; `ended`: the server has ended it
 */

/** @extends {TypedEvents<SessionEvents>} */
export class HttpSession extends TypedEvents {
  /** @readonly */ pc;
  /** What the server offers beyond the session. @type {import('./link-header.js').Link[]} */
  links = [];
  /** @type {string} */
  #resource = '';
  #token;
  #stereo;
  /** @type {string | null} */
  #etag = null;
  /** Candidates that the server does not know yet. @type {string[]} */
  #candidates = [];
  #gathered = false;
  /** PATCHes go one after the other: a candidate must not come before the restart that it belongs to. @type {Promise<unknown>} */
  #turn = Promise.resolve();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #patience;
  #closed = false;
  #online = () => this.#restart();

  /**
   * @param {RTCPeerConnection} pc
   * @param {SessionOptions} options
   */
  constructor(pc, { token, stereo = false }) {
    super();
    this.pc = pc;
    this.#token = token;
    this.#stereo = stereo;
    pc.onicecandidate = ({ candidate }) => this.#gather(candidate);
    pc.oniceconnectionstatechange = () => this.#watchIce();
    pc.onconnectionstatechange = () => this.#watchConnection();
  }

  /**
   * Offers what the connection holds, and applies the answer.
   * @param {string} endpoint
   * @param {AbortSignal} signal
   */
  async open(endpoint, signal) {
    const offer = await this.#createOffer();
    const response = await this.#fetch(endpoint, { method: 'POST', type: 'application/sdp', body: offer.sdp, signal });
    const location = response.headers.get('location');
    if (response.status !== 201 || !location) throw new MadangError('bad_version', `the server answered ${response.status} without a session`);
    this.#resource = new URL(location, response.url).href;
    this.#etag = response.headers.get('etag');
    this.links = linksOf(response);
    const answer = await response.text();
    // Before anything is gathered, so that relays are.
    const iceServers = iceServersOf(this.links);
    if (iceServers.length > 0) this.pc.setConfiguration({ ...this.pc.getConfiguration(), iceServers });
    this.#expectConnection();
    await this.pc.setLocalDescription(offer);
    await this.pc.setRemoteDescription({ type: 'answer', sdp: sendStereo(answer, this.#stereo) });
    window.addEventListener('online', this.#online);
    this.#watchDtls();
    this.#trickle();
  }

  /**
   * A request to one of the session's extensions.
   * @param {string} url
   * @param {'POST' | 'DELETE'} method
   * @param {unknown} [json]
   */
  ask(url, method, json) {
    return this.#fetch(url, { method, ...(json !== undefined && { type: 'application/json', body: JSON.stringify(json) }) });
  }

  /** Frees the server's half; also while the page is being left. */
  close() {
    if (this.#closed) return;
    this.#release();
    // It may be gone already, or the network may.
    if (this.#resource) this.#fetch(this.#resource, { method: 'DELETE', keepalive: true }).catch(() => {});
  }

  /** @param {RTCOfferOptions} [options] @returns {Promise<{type: 'offer', sdp: string}>} */
  async #createOffer(options) {
    const { sdp = '' } = await this.pc.createOffer(options);
    return { type: 'offer', sdp: hearStereo(sdp) };
  }

  #release() {
    this.#closed = true;
    clearTimeout(this.#patience);
    window.removeEventListener('online', this.#online);
    this.pc.close();
  }

  /** @param {RTCIceCandidate | null} candidate */
  #gather(candidate) {
    // The other sections are bundled into the first.
    if (candidate?.candidate && !candidate.sdpMLineIndex) this.#candidates.push(candidate.candidate);
    if (!candidate) this.#gathered = true;
    this.#trickle();
  }

  /** Tells the server the candidates that it does not know: all that have been gathered by the time the line is free. */
  #trickle() {
    if (!this.#resource) return;
    this.#next(async () => {
      const [candidates, complete] = [this.#candidates.splice(0), this.#gathered];
      this.#gathered = false;
      if (candidates.length === 0 && !complete) return;
      const fragment = makeFragment(this.pc.localDescription?.sdp ?? '', candidates, complete);
      // The server has its own candidates in the answer, and may find the way alone.
      await this.#patch(fragment, this.#etag).catch(() => {});
    });
  }

  #restart() {
    this.#next(async () => {
      if (this.#closed || !this.pc.remoteDescription) return;
      this.emit('interrupted', undefined);
      this.#expectConnection();
      this.#candidates = [];
      await this.pc.setLocalDescription(await this.#createOffer({ iceRestart: true }));
      try {
        const response = await this.#patch(makeFragment(this.pc.localDescription?.sdp ?? '', []), '*');
        const sdp = applyFragment(this.pc.remoteDescription.sdp, await response.text());
        this.#etag = response.headers.get('etag') ?? this.#etag;
        await this.pc.setRemoteDescription({ type: 'answer', sdp });
        // Where the old pair still worked, no event tells that the new one does.
        this.#watchConnection();
      } catch {
        this.#lose(false);
      }
    });
  }

  /**
   * @param {string} fragment
   * @param {string | null} etag
   */
  #patch(fragment, etag) {
    /** @type {Record<string, string>} */
    const headers = etag ? { 'If-Match': etag } : {};
    return this.#fetch(this.#resource, { method: 'PATCH', type: 'application/trickle-ice-sdpfrag', body: fragment, headers });
  }

  #watchIce() {
    const state = this.pc.iceConnectionState;
    if (state === 'connected' || state === 'completed') return this.#watchConnection();
    if (state === 'failed') this.#restart();
    if (state !== 'disconnected') return;
    this.emit('interrupted', undefined);
    clearTimeout(this.#patience);
    this.#patience = setTimeout(() => this.#restart(), DISCONNECTED_GRACE_MS);
  }

  #watchConnection() {
    if (this.pc.connectionState !== 'connected') return;
    clearTimeout(this.#patience);
    this.emit('connected', undefined);
  }

  /** The end of DTLS is how the server says that a session is over. */
  #watchDtls() {
    const [{ sender, receiver }] = this.pc.getTransceivers();
    const transport = sender.transport ?? receiver.transport;
    transport?.addEventListener('statechange', async () => {
      if (transport.state === 'failed') this.#lose(false);
      if (transport.state !== 'closed' || this.#closed) return;
      this.emit('interrupted', undefined);
      this.#lose(await this.#isGone());
    });
  }

  /** Whether the server is well and knows of no such session; a server that is going down is not. */
  async #isGone() {
    try {
      await this.#fetch(this.#resource, { method: 'GET' });
      return false;
    } catch (error) {
      return error instanceof MadangError && error.code === 'not_found';
    }
  }

  #expectConnection() {
    clearTimeout(this.#patience);
    this.#patience = setTimeout(() => this.#lose(false), CONNECT_PATIENCE_MS);
  }

  /** @param {boolean} ended */
  #lose(ended) {
    if (this.#closed) return;
    if (ended) this.#release();
    else this.close();
    this.emit('lost', { ended });
  }

  /** @param {() => Promise<void>} work */
  #next(work) {
    this.#turn = this.#turn.then(work).catch(() => this.#lose(false));
  }

  /**
   * @param {string} url
   * @param {{method: string, type?: string, body?: string, headers?: Record<string, string>, keepalive?: boolean, signal?: AbortSignal}} request
   */
  async #fetch(url, { type, headers, ...request }) {
    const all = {
      ...headers,
      ...(type && { 'Content-Type': type }),
      ...(this.#token && { Authorization: `Bearer ${this.#token}` }),
    };
    const response = await fetch(url, { ...request, headers: all }).catch((error) => {
      throw error instanceof DOMException && error.name === 'AbortError' ? error : new MadangError('unreachable');
    });
    if (!response.ok) throw await refusalOf(response);
    return response;
  }
}

/** For servers that say no more than a status. @type {Record<number, string>} */
const CODES = {
  401: 'unauthorized',
  403: 'forbidden',
  404: 'not_found',
  409: 'no_publisher',
  422: 'sdp_rejected',
  429: 'rate_limited',
  503: 'overloaded',
};

/**
 * What a response that is not `ok` says, in problem details (RFC 9457) or without.
 * @param {Response} response
 */
async function refusalOf(response) {
  const problem = await response.json().catch(() => null);
  const guess = CODES[response.status] ?? (response.status < 500 ? 'bad_request' : 'internal');
  const code = typeof problem?.code === 'string' ? problem.code : guess;
  const seconds = Number(response.headers.get('retry-after'));
  return new MadangError(code, problem?.detail ?? problem?.title, seconds > 0 ? seconds * 1000 : undefined);
}
