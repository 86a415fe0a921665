/** The page that watches a room: one picture, its sound, and what is to be known about them. */
import { describeError, WhepPlayer } from '../client/index.js';
import { part, setAttributes } from './dom.js';
import { PlayerControls } from './player-controls.js';
import { endpointOf, readStreamPlace } from './stream-place.js';

/**
 * @typedef {import('../client/errors.js').MadangError} MadangError
 * @typedef {'connecting' | 'waiting' | 'playing' | 'reconnecting' | 'ended' | 'refused'} Shown
 */

const READ_EVERY_MS = 1_000;
/** A publisher that changes networks is back sooner; one that has gone home is not. */
const GONE_AFTER_MS = 30_000;
/** Codes for which another attempt is senseless until somebody changes something. */
const REFUSALS = ['unauthorized', 'token_expired', 'forbidden', 'not_found', 'room_closed', 'room_full', 'sdp_rejected', 'bad_request', 'bad_version'];

class WatchPage {
  #root = part(document, 'player', HTMLElement);
  #video = part(document, 'video', HTMLVideoElement);
  #place = readStreamPlace();
  /** @type {WhepPlayer} */
  player;
  #controls;
  /** Whether somebody publishes, as far as the server says. @type {boolean | null} */
  #active = null;
  /** When somebody began to. */
  #activeAt = 0;
  #flowing = false;
  /** When media came last. @type {number | null} */
  #seenAt = null;
  /** @type {MadangError | null} */
  #failure = null;

  constructor() {
    const { room, query } = this.#place;
    document.title = `${room} · Madang`;
    part(document, 'room-name', HTMLElement).textContent = room;
    setAttributes(this.#root, { 'data-embed': String(query.has('embed')), 'data-picture': 'false' });
    this.player = this.#makePlayer();
    this.#controls = new PlayerControls(this.#root, this.#video, query.get('muted') === '1');
    this.#controls.onQuality = (layer) => this.player.choose(layer);
    part(document, 'again-button', HTMLButtonElement).addEventListener('click', () => this.#again());
    setInterval(() => this.#read(), READ_EVERY_MS);
    this.#render();
    // A video without data holds up the end of loading, and with it that of a page which frames this one.
    if (document.readyState === 'complete') this.player.start();
    else window.addEventListener('load', () => this.player.start(), { once: true });
  }

  #makePlayer() {
    const { room, token, query } = this.#place;
    const player = new WhepPlayer({ url: endpointOf('whep', room, { participant: query.get('participant') }), token });
    player.on('stream', (stream) => {
      this.#video.srcObject = stream;
      this.#video.requestVideoFrameCallback?.(() => this.#saw(true));
      this.#controls.play();
    });
    player.on('state', () => this.#render());
    player.on('failed', (error) => this.#failed(error));
    player.on('closed', (error) => this.#failed(error));
    player.on('active', (active) => {
      if (active && !this.#active) this.#activeAt = performance.now();
      this.#active = active;
      this.#render();
    });
    player.on('layers', () => this.#controls.showLayers(player));
    player.on('viewers', showViewers);
    return player;
  }

  #again() {
    [this.#failure, this.#active, this.#seenAt] = [null, null, null];
    this.player = this.#makePlayer();
    this.#render();
    this.player.start();
  }

  /** @param {MadangError | null} error */
  #failed(error) {
    this.#failure = error;
    this.#render();
  }

  async #read() {
    const stats = await this.player.stats();
    this.#controls.showStats(stats, this.player);
    if (stats.flowing) return this.#saw(stats.video);
    this.#flowing = false;
    this.#render();
  }

  /** Media has come. @param {boolean} picture whether there is a picture among it */
  #saw(picture) {
    // The end of a track shows a last, empty frame.
    if (this.player.state !== 'connected') return;
    [this.#flowing, this.#seenAt, this.#failure] = [true, performance.now(), null];
    if (picture) setAttributes(this.#root, { 'data-picture': 'true' });
    this.#render();
  }

  #render() {
    const shown = this.#shown();
    if (this.#root.getAttribute('data-state') === shown && shown === 'playing') return;
    setAttributes(this.#root, { 'data-state': shown, 'data-code': this.#failure?.code ?? '' });
    const [title, text] = this.#words(shown);
    setText('curtain-title', title);
    setText('curtain-text', text);
    part(document, 'live-badge', HTMLElement).hidden = shown !== 'playing';
    const again = part(document, 'again-button', HTMLButtonElement);
    again.hidden = this.player.state !== 'closed';
  }

  /** @returns {Shown} */
  #shown() {
    const { state } = this.player;
    if (state === 'closed') return REFUSALS.includes(this.#failure?.code ?? '') ? 'refused' : 'ended';
    if (this.#failure?.code === 'no_publisher') return 'waiting';
    if (state !== 'connected') return this.#seenAt !== null || this.#failure ? 'reconnecting' : 'connecting';
    if (this.#flowing) return 'playing';
    // The server takes 30 seconds to notice that a publisher has gone without a word.
    if (this.#active && (this.#seenAt ?? 0) <= this.#activeAt) return 'connecting';
    const gone = this.#seenAt !== null && performance.now() - this.#seenAt > GONE_AFTER_MS;
    return gone ? 'ended' : 'waiting';
  }

  /** @param {Shown} shown @returns {[title: string, text: string]} */
  #words(shown) {
    switch (shown) {
      case 'connecting':
        return this.#active ? ['The picture is on its way…', ''] : ['Connecting…', ''];
      case 'waiting':
        return this.#seenAt === null
          ? ['Waiting for the broadcast', 'It starts by itself as soon as somebody goes live.']
          : ['The broadcast is interrupted', 'It goes on by itself as soon as it is back.'];
      case 'reconnecting':
        return ['Reconnecting…', this.#failure ? this.#failure.title : 'The connection was lost.'];
      case 'ended':
        return this.#failure ? failureWords(this.#failure) : ['The broadcast has ended', 'Should it go on, it is shown here by itself.'];
      case 'refused':
        return failureWords(this.#failure);
      case 'playing':
        return ['', ''];
    }
  }
}

/** @param {MadangError | null} failure @returns {[title: string, text: string]} */
function failureWords(failure) {
  const { title, remedy } = failure ?? describeError('disconnected');
  const said = failure?.message ?? title;
  return [title, said === title ? remedy : `${remedy} (The server said: ${said})`];
}

/** @param {number} count */
function showViewers(count) {
  const shown = part(document, 'viewer-count', HTMLElement);
  shown.hidden = false;
  setAttributes(shown, { 'data-count': String(count), 'aria-label': count === 1 ? '1 viewer' : `${count} viewers` });
  const words = shown.querySelector('span');
  if (words) words.textContent = count.toLocaleString();
}

/** @param {string} name @param {string} text */
function setText(name, text) {
  const target = part(document, name, HTMLElement);
  // A live region announces what changes.
  if (target.textContent !== text) target.textContent = text;
}

/** For tests and for the console. */
Object.assign(window, { madang: new WatchPage() });
