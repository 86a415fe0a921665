/**
 * What this participant sends. The wanted state is kept here and brought to the server whenever there is a connection, so that
 * a lost request, a resumed session and a new one are all the same case.
 */
import { codecName } from './codecs.js';
import { applyEncodings, cameraEncodings, screenEncodings } from './encodings.js';
import { MadangError } from './errors.js';
import { LOOK_EVERY_MS, TopLayer } from './top-layer.js';

/**
 * @typedef {import('./protocol.js').Source} Source
 * @typedef {import('./protocol.js').LayerRequest} LayerRequest
 * @typedef {import('./peer.js').Peer} Peer
 * @typedef {(t: string, fields: object) => Promise<import('./socket.js').Frame>} Request
 *
 * @typedef {object} Publication
 * @property {Source} source
 * @property {MediaStreamTrack | null} track null while the device is released
 * @property {boolean} stereo whether its sound is sent in stereo
 * @property {boolean} muted wanted
 * @property {boolean} ended whether it is to be unpublished
 * @property {string | null} id the server's track id, once it is published
 * @property {boolean} serverMuted what the server knows
 * @property {LayerRequest[]} layers what the server wants encoded
 */

export class Publisher {
  /** @type {Map<Source, Publication>} */
  #publications = new Map();
  /** @type {Peer | null} */
  #peer = null;
  /** @type {Request} */
  #request = () => Promise.reject(new MadangError('disconnected'));
  /** Requests and setParameters go one after the other. @type {Promise<unknown>} */
  #turn = Promise.resolve();
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #looks;
  #onChange;

  /** @param {() => void} onChange called when what is published, or muted, has changed */
  constructor(onChange) {
    this.#onChange = onChange;
  }

  /** What is published, for display. @returns {ReadonlyMap<Source, Readonly<Publication>>} */
  get active() {
    return new Map([...this.#publications].filter(([, { ended }]) => !ended));
  }

  /**
   * Moves everything to a new session, in which nothing is published yet.
   * @param {Peer} peer
   * @param {Request} request
   */
  async bind(peer, request) {
    this.#peer = peer;
    this.#request = request;
    this.#lookAfter(peer);
    for (const publication of [...this.#publications.values()]) {
      if (publication.ended) this.#publications.delete(publication.source);
      Object.assign(publication, { id: null, layers: [] });
      if (publication.stereo) await peer.setStereo(true);
      await peer.senders[publication.source].sender.replaceTrack(publication.track);
    }
  }

  /**
   * Publishes a track, or puts it in the place of the one before.
   * @param {Source} source
   * @param {MediaStreamTrack} track
   * @param {{stereo?: boolean}} [options]
   */
  async publish(source, track, { stereo = false } = {}) {
    const before = this.#publications.get(source);
    if (before?.track && before.track !== track) before.track.stop();
    /** @type {Publication} */
    const publication = before ?? { source, track, stereo, muted: false, ended: false, id: null, serverMuted: false, layers: [] };
    Object.assign(publication, { track, stereo, muted: false, ended: false });
    this.#publications.set(source, publication);
    if (source === 'screen') track.contentHint = 'detail';
    track.enabled = true;
    this.#onChange();
    if (source === 'microphone') await this.#peer?.setStereo(stereo);
    await this.#sender(source)?.replaceTrack(track);
    await this.sync();
  }

  /**
   * Stops a source and releases its device.
   * @param {Source} source
   */
  async unpublish(source) {
    const publication = this.#publications.get(source);
    if (!publication) return;
    publication.ended = true;
    publication.track?.stop();
    publication.track = null;
    this.#onChange();
    await this.#sender(source)?.replaceTrack(null);
    await this.sync();
  }

  /**
   * Mutes or unmutes. Muting a camera releases the device: to unmute it, publish a new track.
   * @param {Source} source
   * @param {boolean} muted
   */
  async setMuted(source, muted) {
    const publication = this.#publications.get(source);
    if (!publication) return;
    if (!muted && !publication.track) throw new Error(`the ${source} was released; publish a new track`);
    publication.muted = muted;
    if (publication.track) publication.track.enabled = !muted;
    if (muted && source === 'camera') {
      publication.track?.stop();
      publication.track = null;
      await this.#sender(source)?.replaceTrack(null);
    }
    this.#onChange();
    await this.sync();
  }

  /**
   * The server's word that an admin has muted a track.
   * @param {string} id
   * @returns {Promise<Source | null>} what it was
   */
  async mutedByServer(id) {
    const publication = this.#byId(id);
    if (!publication) return null;
    publication.serverMuted = true;
    await this.setMuted(publication.source, true);
    return publication.source;
  }

  /**
   * Forgets what the server has taken away together with the right to publish it, and releases the devices.
   * @param {Source[]} allowed
   * @returns {Promise<boolean>} whether there was anything
   */
  async withdraw(allowed) {
    const gone = [...this.#publications.values()].filter(({ source, id }) => id && !allowed.includes(source));
    for (const { source, track } of gone) {
      this.#publications.delete(source);
      track?.stop();
      await this.#sender(source)?.replaceTrack(null);
    }
    if (gone.length > 0) this.#onChange();
    return gone.length > 0;
  }

  /**
   * Encodes what the server asks for.
   * @param {string} id
   * @param {LayerRequest[]} layers
   */
  setLayers(id, layers) {
    const publication = this.#byId(id);
    if (!publication) return;
    publication.layers = layers;
    this.#next(() => this.#applyEncodings(publication));
  }

  /**
   * Brings the wanted state to the server. A lost connection is no failure here: it happens again when there is a new one.
   * Rejects with the first refusal; what was refused is no longer published, and its device is released.
   */
  async sync() {
    await this.#next(async () => {
      /** @type {unknown[]} */
      const refusals = [];
      for (const publication of [...this.#publications.values()]) {
        try {
          await this.#syncOne(publication);
        } catch (error) {
          if (error instanceof MadangError && error.passing) continue;
          this.#publications.delete(publication.source);
          publication.track?.stop();
          this.#onChange();
          // What should end has ended.
          if (!publication.ended) refusals.push(error);
        }
      }
      if (refusals.length > 0) throw refusals[0];
    });
  }

  /** Stops every device. */
  stop() {
    for (const { track } of this.#publications.values()) track?.stop();
    this.forget();
  }

  /** Gives the devices back as they are. */
  forget() {
    this.#publications.clear();
    clearInterval(this.#looks);
  }

  /** @param {Peer} peer */
  #lookAfter({ senders }) {
    clearInterval(this.#looks);
    const top = new TopLayer(senders.camera.sender);
    this.#looks = setInterval(() => {
      if (this.#publications.get('camera')?.track) this.#next(() => top.look()).catch(() => {});
    }, LOOK_EVERY_MS);
  }

  /** @param {Publication} publication */
  async #syncOne(publication) {
    const { source } = publication;
    if (!this.#peer?.senders[source].mid) return;
    if (publication.ended) {
      if (publication.id) await this.#request('unpublish', { tracks: [publication.id] });
      // It may have been published again while the server was being told.
      if (publication.ended) this.#publications.delete(source);
      publication.id = null;
    }
    if (publication.ended) return;
    if (!publication.id) {
      await this.#applyEncodings(publication);
      const description = this.#describe(publication, this.#peer.senders[source]);
      const { tracks } = await this.#request('publish', { tracks: [description] });
      publication.id = tracks[0].id;
      publication.serverMuted = description.muted;
      this.#onChange();
    }
    if (publication.muted !== publication.serverMuted) {
      const now = publication.muted;
      await this.#request('mute', { track: publication.id, muted: now });
      publication.serverMuted = now;
    }
  }

  /** @param {Publication} publication */
  async #applyEncodings({ source, track, layers }) {
    // By its source: a sender has no track yet where it is still being attached, and Opus with a camera's rate takes 510 kbit/s.
    if (source !== 'camera' && source !== 'screen') return;
    const sender = this.#sender(source);
    if (!sender || !track) return;
    const { width, height } = track.getSettings();
    const videoCodec = source === 'camera' ? this.#peer?.videoCodec : undefined;
    const ceilings = source === 'camera' ? cameraEncodings(videoCodec, width, height) : screenEncodings();
    // A browser that cannot change an encoding goes on with the one it has.
    await applyEncodings(sender, ceilings, layers, videoCodec).catch(() => {});
  }

  /** @param {Source} source */
  #sender(source) {
    return this.#peer?.senders[source].sender;
  }

  /** @param {string} id */
  #byId(id) {
    return [...this.#publications.values()].find((publication) => publication.id === id);
  }

  /**
   * @template T
   * @param {() => Promise<T>} work
   * @returns {Promise<T>}
   */
  #next(work) {
    const run = this.#turn.then(work);
    this.#turn = run.catch(() => {});
    return run;
  }

  /**
   * The description of a track for `publish`.
   * @param {Publication} publication
   * @param {RTCRtpTransceiver} transceiver
   */
  #describe({ source, track, muted }, { mid, sender }) {
    const kind = source === 'camera' || source === 'screen' ? 'video' : 'audio';
    const { width, height } = track?.getSettings() ?? {};
    const { codecs, encodings } = sender.getParameters();
    const limits = (encodings ?? []).map(({ maxBitrate }) => maxBitrate ?? 0);
    const rids = (encodings ?? []).flatMap(({ rid }) => (rid ? [rid] : []));
    const names = (codecs ?? []).map(codecName).filter((name) => name !== 'red' && name !== 'rtx');
    const preferred = source === 'camera' && names.find((name) => name === this.#peer?.videoCodec);
    const codec = preferred || names[0];
    return {
      cid: source,
      mid,
      kind,
      source,
      muted,
      ...(rids.length > 0 && { rids }),
      ...(kind === 'video' && width && height && { w: width, h: height }),
      ...(codec && { codec }),
      ...(kind === 'video' && limits.some((bps) => bps > 0) && { max_bps: limits }),
    };
  }
}
