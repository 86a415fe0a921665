/**
 * The own camera and microphone: what is wanted, what is open, and what went wrong. The page before the call and the call share it.
 */
import { explainMediaError, openCamera, openCameraAndMicrophone, openMicrophone } from '../client/index.js';
import { TypedEvents } from '../client/events.js';
import { recall, remember } from './preferences.js';

/**
 * @typedef {'camera' | 'microphone'} Kind
 * @typedef {import('../client/devices.js').MediaErrorWords} MediaErrorWords
 */

/** @extends {TypedEvents<{change: Kind, failed: {kind: Kind, words: MediaErrorWords}}>} */
export class LocalMedia extends TypedEvents {
  /** What the user wants to have on. @type {Record<Kind, boolean>} */
  wanted;
  /** @type {Record<Kind, MediaStreamTrack | null>} */
  tracks = { camera: null, microphone: null };
  /** @type {Record<Kind, MediaErrorWords | null>} */
  errors = { camera: null, microphone: null };
  /** @readonly whether the microphone has both channels */
  stereo;
  #cameraOptions;
  /** Devices are opened one after the other. @type {Promise<void>} */
  #turn = Promise.resolve();

  /** @param {Pick<import('./place.js').Place, 'camera' | 'microphone' | 'stereo' | 'cameraOptions'>} place */
  constructor({ camera, microphone, stereo, cameraOptions }) {
    super();
    this.stereo = stereo;
    this.wanted = { camera, microphone };
    this.#cameraOptions = cameraOptions;
  }

  /** Opens what is wanted and not open. Failures are in `errors`. */
  open() {
    this.#turn = this.#turn.then(() => this.#openWanted());
    return this.#turn;
  }

  /**
   * Switches a device on or off. Off releases it.
   * @param {Kind} kind
   * @param {boolean} on
   */
  async set(kind, on) {
    this.wanted[kind] = on;
    this.errors[kind] = null;
    if (on) return this.open();
    this.#close(kind);
    this.emit('change', kind);
  }

  /**
   * Uses another device from now on.
   * @param {Kind} kind
   * @param {string} deviceId
   */
  async choose(kind, deviceId) {
    remember(kind, deviceId);
    if (!this.wanted[kind]) return;
    this.errors[kind] = null;
    // Some phones open one camera at a time only.
    this.#close(kind);
    await this.open();
  }

  /** Releases both; what is wanted stays. */
  close() {
    this.#close('camera');
    this.#close('microphone');
  }

  /** @param {Kind} kind the device that is in use, or was chosen */
  deviceId(kind) {
    return this.tracks[kind]?.getSettings().deviceId ?? recall(kind);
  }

  async #openWanted() {
    const missing = (/** @type {Kind} */ kind) => this.wanted[kind] && !isLive(this.tracks[kind]);
    const camera = { ...this.#cameraOptions, deviceId: recall('camera') };
    const microphone = { deviceId: recall('microphone'), stereo: this.stereo };
    if (missing('camera') && missing('microphone')) {
      const both = await openCameraAndMicrophone(camera, microphone);
      await this.#take('camera', async () => both.camera);
      await this.#take('microphone', async () => both.microphone);
      return;
    }
    if (missing('camera')) await this.#take('camera', () => openCamera(camera));
    if (missing('microphone')) await this.#take('microphone', () => openMicrophone(microphone));
  }

  /**
   * @param {Kind} kind
   * @param {() => Promise<unknown>} open gives a track, or gives or throws an error
   * @returns {Promise<void>}
   */
  async #take(kind, open) {
    const opened = await open().catch((error) => error);
    if (opened instanceof MediaStreamTrack) return this.#opened(kind, opened);
    if (isForgottenDevice(opened, kind)) {
      // The device of the last visit is not there today.
      remember(kind, '');
      return this.#take(kind, () => (kind === 'camera' ? openCamera(this.#cameraOptions) : openMicrophone({ stereo: this.stereo })));
    }
    this.#failed(kind, opened);
  }

  /**
   * @param {Kind} kind
   * @param {MediaStreamTrack} track
   */
  #opened(kind, track) {
    if (!this.wanted[kind]) {
      track.stop();
      return;
    }
    this.tracks[kind] = track;
    this.errors[kind] = null;
    track.addEventListener('ended', () => {
      if (this.tracks[kind] !== track) return;
      this.tracks[kind] = null;
      this.#failed(kind, new DOMException('the track has ended', 'LostError'));
    });
    this.emit('change', kind);
  }

  /**
   * @param {Kind} kind
   * @param {unknown} error
   */
  #failed(kind, error) {
    const words = explainMediaError(error, kind);
    this.errors[kind] = words;
    this.emit('change', kind);
    this.emit('failed', { kind, words });
  }

  /** @param {Kind} kind */
  #close(kind) {
    const track = this.tracks[kind];
    this.tracks[kind] = null;
    track?.stop();
  }
}

/** @param {MediaStreamTrack | null} track */
function isLive(track) {
  return track?.readyState === 'live';
}

/**
 * @param {unknown} error
 * @param {Kind} kind
 */
function isForgottenDevice(error, kind) {
  const name = error instanceof Error ? error.name : '';
  return recall(kind) !== '' && (name === 'OverconstrainedError' || name === 'NotFoundError');
}
