/** What is broadcast: the camera or a screen, and a sound. */
import { explainMediaError, openScreen } from '../client/index.js';
import { TypedEvents } from '../client/events.js';

/**
 * @typedef {import('./local-media.js').LocalMedia} LocalMedia
 * @typedef {import('../client/devices.js').MediaErrorWords} MediaErrorWords
 */

/** @extends {TypedEvents<{change: undefined, failed: MediaErrorWords}>} */
export class BroadcastSource extends TypedEvents {
  #media;
  /** @type {{video: MediaStreamTrack, audio: MediaStreamTrack | null} | null} */
  #screen = null;

  /** @param {LocalMedia} media */
  constructor(media) {
    super();
    this.#media = media;
    media.on('change', () => this.emit('change', undefined));
  }

  get sharesScreen() {
    return this.#screen !== null;
  }

  get video() {
    return this.#screen?.video ?? this.#media.tracks.camera;
  }

  /** A session has one sound: the microphone, or that of the screen where the microphone is off. */
  get audio() {
    return this.#media.tracks.microphone ?? this.#screen?.audio ?? null;
  }

  async toggleScreen() {
    if (this.#screen) return this.#endScreen();
    try {
      this.#screen = await openScreen();
    } catch (error) {
      this.emit('failed', explainMediaError(error, 'screen'));
      return;
    }
    const { video } = this.#screen;
    // Text needs sharp edges more than smooth movement; Firefox has no such hint.
    video.contentHint = 'detail';
    video.addEventListener('ended', () => this.#screen?.video === video && this.#endScreen());
    this.emit('change', undefined);
  }

  #endScreen() {
    this.#screen?.video.stop();
    this.#screen?.audio?.stop();
    this.#screen = null;
    this.emit('change', undefined);
  }
}
