/**
 * The events of a WHEP session (draft-ietf-wish-whep, server-sent events): who broadcasts, in which layers, to how many.
 */
import { Backoff } from './backoff.js';
import { TypedEvents } from './events.js';

const RELATION = 'urn:ietf:params:whep:ext:core:server-sent-events';
const WANTED = /** @type {const} */ (['active', 'inactive', 'layers', 'reconnect', 'viewercount']);

/**
 * @typedef {object} VideoLayer
 * @property {string} [rid]
 * @property {number} [spatialLayerId]
 * @property {number} [temporalLayerId]
 * @property {number} [bitrate] in bit/s; none or 0: not sent at the moment
 * @property {number} [width]
 * @property {number} [height]
 *
 * @typedef {object} WhepEvents
 * @property {{}} active
 * @property {{}} inactive
 * @property {Record<string, VideoLayer[]>} layers by m-line
 * @property {{url?: string}} reconnect
 * @property {{viewercount: number}} viewercount
 */

/** @extends {TypedEvents<WhepEvents>} */
export class ServerEvents extends TypedEvents {
  #session;
  #url;
  #offered;
  /** @type {EventSource | null} */
  #source = null;
  #over = new AbortController();

  /** @param {import('./http-session.js').HttpSession} session that has been opened */
  constructor(session) {
    super();
    this.#session = session;
    const link = session.links.find(({ rel }) => rel === RELATION);
    this.#url = link?.url;
    const offered = link?.parameters.events?.split(',').map((type) => type.trim());
    this.#offered = WANTED.filter((type) => offered?.includes(type) ?? true);
  }

  /** Whether the server has this extension. */
  get supported() {
    return this.#url !== undefined && this.#offered.length > 0;
  }

  /** Listens until closed, over interruptions. */
  async start() {
    const backoff = new Backoff();
    // A session without its events still plays.
    while (this.supported && (await backoff.next(this.#over.signal).catch(() => false))) await this.#listen().catch(() => {});
  }

  close() {
    this.#over.abort();
    this.#source?.close();
  }

  /** One stream of events, until it ends. */
  async #listen() {
    const response = await this.#session.ask(this.#url ?? '', 'POST', this.#offered);
    const source = new EventSource(new URL(response.headers.get('location') ?? '', response.url));
    if (this.#over.signal.aborted) return source.close();
    this.#source = source;
    for (const type of this.#offered) {
      source.addEventListener(type, ({ data }) => this.emit(type, parse(data)));
    }
    // After a short cut the browser comes back by itself.
    await new Promise((resolve) => {
      source.onerror = () => source.readyState === EventSource.CLOSED && resolve(undefined);
      this.#over.signal.addEventListener('abort', resolve);
    });
  }
}

/** @param {string} data */
function parse(data) {
  try {
    return JSON.parse(data) ?? {};
  } catch {
    return {};
  }
}
