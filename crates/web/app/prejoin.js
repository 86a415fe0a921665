/** The page before the call: preview, devices, name. */
import { makeCopyButton } from './copy-link.js';
import { DeviceMenus } from './device-menus.js';
import { elementOf, part, setAttributes, setPressed, element, setIcon } from './dom.js';
import { mediaFailures, showFailures } from './failures.js';
import { Meter } from './meter.js';
import { linkTo } from './place.js';
import { recall, remember } from './preferences.js';

/**
 * @typedef {import('./local-media.js').LocalMedia} LocalMedia
 * @typedef {import('./local-media.js').Kind} Kind
 * @typedef {import('./failures.js').Failure} Failure
 */

const TOGGLES = /** @type {const} */ ([
  ['microphone', 'mic-toggle', 'mic', 'mic-off'],
  ['camera', 'cam-toggle', 'cam', 'cam-off'],
]);

export class PrejoinPage {
  root = elementOf('prejoin-page');
  #media;
  #meter;
  #menus;
  #stop;
  /** Why the last attempt to join failed. @type {Failure | null} */
  #failure = null;

  /**
   * @param {import('./place.js').Place} place
   * @param {LocalMedia} media
   * @param {(name: string) => Promise<void>} onJoin rejects with why not
   */
  constructor(place, media, onJoin) {
    this.#media = media;
    this.#meter = new Meter(part(this.root, 'mic-level', HTMLElement));
    this.#menus = new DeviceMenus(part(this.root, 'device-menus', HTMLElement), media, () => {});
    this.#stop = media.on('change', () => this.#render());
    part(this.root, 'room-name', HTMLElement).textContent = place.room;
    makeCopyButton(part(this.root, 'copy-link', HTMLButtonElement), linkTo(place.room));
    part(this.root, 'name-input', HTMLInputElement).value = place.name ?? recall('name');
    for (const [kind, name] of TOGGLES) {
      part(this.root, name, HTMLButtonElement).addEventListener('click', () => this.#toggle(kind));
    }
    part(this.root, 'entrance', HTMLFormElement).addEventListener('submit', (event) => {
      event.preventDefault();
      this.#submit(onJoin);
    });
    this.#render();
    media.open();
  }

  /** @param {Failure} failure why joining failed */
  explain(failure) {
    this.#failure = failure;
    this.#render();
  }

  close() {
    this.#stop();
    this.#menus.close();
    this.#meter.stop();
  }

  /** @param {(name: string) => Promise<void>} onJoin */
  async #submit(onJoin) {
    const name = part(this.root, 'name-input', HTMLInputElement).value.trim();
    remember('name', name);
    this.#failure = null;
    this.#setBusy(true);
    try {
      await onJoin(name);
    } finally {
      this.#setBusy(false);
      this.#render();
    }
  }

  /** @param {boolean} busy */
  #setBusy(busy) {
    const button = part(this.root, 'join-button', HTMLButtonElement);
    button.disabled = busy;
    button.textContent = busy ? 'Joining…' : 'Join now';
  }

  /** @param {Kind} kind */
  async #toggle(kind) {
    // After a failure, a click means another try.
    const on = this.#media.errors[kind] ? true : !this.#media.wanted[kind];
    const setting = this.#media.set(kind, on);
    this.#render();
    await setting;
  }

  #render() {
    const { tracks, wanted, errors } = this.#media;
    for (const [kind, name, on, off] of TOGGLES) {
      const button = part(this.root, name, HTMLButtonElement);
      setPressed(button, wanted[kind] && !errors[kind], on, off);
      button.classList.toggle('failed', errors[kind] !== null);
    }
    this.#renderPreview(tracks.camera);
    this.#meter.listenTo(tracks.microphone);
    showFailures(this.root, this.#failure ? [this.#failure] : mediaFailures(errors));
  }

  /** @param {MediaStreamTrack | null} camera */
  #renderPreview(camera) {
    const video = part(this.root, 'preview', HTMLVideoElement);
    const shown = /** @type {MediaStream | null} */ (video.srcObject)?.getVideoTracks()[0] ?? null;
    if (shown !== camera) video.srcObject = camera && new MediaStream([camera]);
    const { wanted, errors } = this.#media;
    const state = camera ? 'live' : errors.camera ? 'error' : 'off';
    setAttributes(video, { 'data-state': state });
    const empty = part(this.root, 'preview-empty', HTMLElement);
    setIcon(empty, wanted.camera && !errors.camera ? 'cam' : 'cam-off');
    const words = errors.camera ? 'No camera' : wanted.camera ? 'Starting the camera…' : 'Camera is off';
    empty.querySelector('span')?.remove();
    empty.append(element('span', {}, words));
  }
}
