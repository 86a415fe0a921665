/** What a viewer can do: sound, quality, full screen. */
import { element, part, setAttributes, setIcon, setPressed } from './dom.js';
import { toastError } from './toast.js';

/**
 * @typedef {import('../client/index.js').WhepPlayer} WhepPlayer
 * @typedef {import('../client/server-events.js').VideoLayer} VideoLayer
 * @typedef {import('../client/playback-stats.js').PlaybackStats} PlaybackStats
 */

/** The controls go when nobody has moved for so long. */
const IDLE_MS = 3_000;
const AUTOMATIC = 'auto';

export class PlayerControls {
  /** @type {(layer: VideoLayer | null) => Promise<void>} */
  onQuality = async () => {};
  #root;
  #video;
  #mute;
  #unmute;
  #volume;
  #quality;
  /** @type {VideoLayer[]} */
  #layers = [];
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #idle;

  /**
   * @param {HTMLElement} root
   * @param {HTMLVideoElement} video
   * @param {boolean} muted whether to begin without sound
   */
  constructor(root, video, muted) {
    this.#root = root;
    this.#video = video;
    this.#mute = part(root, 'mute-button', HTMLButtonElement);
    this.#unmute = part(root, 'unmute-button', HTMLButtonElement);
    this.#volume = part(root, 'volume', HTMLInputElement);
    this.#quality = part(root, 'quality-select', HTMLSelectElement);
    video.muted = muted;
    this.#wireSound();
    this.#wireWindow();
    this.#quality.addEventListener('change', () => this.#choose());
    for (const type of ['pointermove', 'pointerdown', 'keydown', 'focusin']) root.addEventListener(type, () => this.#stir());
    this.#stir();
  }

  /** Plays with sound where the browser allows it, else without, and then offers a click for it. */
  async play() {
    try {
      await this.#video.play();
    } catch (error) {
      if (!(error instanceof Error && error.name === 'NotAllowedError') || this.#video.muted) return;
      this.#video.muted = true;
      this.#unmute.hidden = false;
      // Another stream may have taken its place meanwhile.
      await this.#video.play().catch(() => {});
    }
  }

  /** @param {WhepPlayer} player */
  showLayers({ layers, chosen, canChoose }) {
    this.#layers = layers;
    part(this.#root, 'quality', HTMLElement).hidden = !canChoose || layers.length < 2;
    const options = layers.map((layer) => element('option', { value: keyOf(layer) }, layerWords(layer)));
    const wanted = chosen ? keyOf(chosen) : AUTOMATIC;
    // A menu that is open would close.
    const known = [...this.#quality.options].slice(1).map(({ value, text }) => `${value} ${text}`);
    if (known.join() !== layers.map((layer) => `${keyOf(layer)} ${layerWords(layer)}`).join()) {
      this.#quality.replaceChildren(element('option', { value: AUTOMATIC }, 'Auto'), ...options);
    }
    this.#quality.value = wanted;
  }

  /**
   * @param {PlaybackStats} stats
   * @param {WhepPlayer} player
   */
  showStats({ flowing, latencyMs, rttMs, bufferMs, height }, { chosen }) {
    const latency = part(this.#root, 'latency', HTMLElement);
    latency.hidden = !flowing || latencyMs === null;
    if (latencyMs !== null) {
      latency.textContent = `${Math.round(latencyMs)} ms`;
      latency.title = `From the server to this screen: jitter buffer and decoding ${Math.round(bufferMs ?? 0)} ms, half a round trip ${((rttMs ?? 0) / 2).toFixed(1)} ms. What the publisher needs is not in it.`;
      setAttributes(latency, { 'data-ms': latencyMs.toFixed(1), 'data-basis': 'buffer+rtt/2', 'aria-label': `Delay ${Math.round(latencyMs)} milliseconds` });
    }
    const [automatic] = this.#quality.options;
    if (automatic) automatic.text = chosen || !height ? 'Auto' : `Auto (${height}p)`;
  }

  async #choose() {
    const layer = this.#layers.find((each) => keyOf(each) === this.#quality.value) ?? null;
    try {
      await this.onQuality(layer);
    } catch (error) {
      this.#quality.value = AUTOMATIC;
      toastError(error);
    }
  }

  #wireSound() {
    this.#mute.addEventListener('click', () => this.#setMuted(!this.#video.muted));
    this.#unmute.addEventListener('click', () => this.#setMuted(false));
    this.#volume.addEventListener('input', () => {
      this.#video.volume = Number(this.#volume.value) / 100;
      this.#setMuted(this.#video.volume === 0);
    });
    this.#video.addEventListener('volumechange', () => this.#showSound());
    this.#showSound();
  }

  /** @param {boolean} muted */
  #setMuted(muted) {
    this.#video.muted = muted;
    if (!muted && this.#video.volume === 0) this.#video.volume = 1;
    this.#unmute.hidden = true;
    // From a click, sound is allowed.
    this.#video.play().catch(() => {});
  }

  #showSound() {
    const { muted, volume } = this.#video;
    setPressed(this.#mute, !muted, 'sound', 'sound-off');
    this.#volume.value = String(muted ? 0 : Math.round(volume * 100));
  }

  #wireWindow() {
    const fullscreen = part(this.#root, 'fullscreen-button', HTMLButtonElement);
    fullscreen.hidden = !document.fullscreenEnabled;
    setIcon(fullscreen, 'fullscreen');
    fullscreen.addEventListener('click', () => this.#toggleFullscreen());
    const pip = part(this.#root, 'pip-button', HTMLButtonElement);
    pip.hidden = !document.pictureInPictureEnabled;
    setIcon(pip, 'pip');
    pip.addEventListener('click', () => this.#togglePictureInPicture().catch(toastError));
    this.#video.addEventListener('dblclick', () => this.#toggleFullscreen());
    document.addEventListener('keydown', (event) => {
      const typing = event.target instanceof HTMLSelectElement || event.ctrlKey || event.metaKey || event.altKey;
      if (typing) return;
      if (event.key === 'm') this.#setMuted(!this.#video.muted);
      if (event.key === 'f') this.#toggleFullscreen();
    });
  }

  #toggleFullscreen() {
    // A frame that its page does not allow this has no such button.
    if (document.fullscreenElement) document.exitFullscreen();
    else if (document.fullscreenEnabled) this.#root.requestFullscreen().catch(() => {});
  }

  async #togglePictureInPicture() {
    if (document.pictureInPictureElement) await document.exitPictureInPicture();
    else await this.#video.requestPictureInPicture();
  }

  #stir() {
    setAttributes(this.#root, { 'data-idle': 'false' });
    clearTimeout(this.#idle);
    this.#idle = setTimeout(() => setAttributes(this.#root, { 'data-idle': 'true' }), IDLE_MS);
  }
}

/** @param {VideoLayer} layer */
function keyOf({ rid, spatialLayerId }) {
  return `${rid ?? ''}/${spatialLayerId ?? ''}`;
}

/** @param {VideoLayer} layer */
function layerWords({ rid, height, spatialLayerId }) {
  return height ? `${height}p` : `Layer ${rid ?? spatialLayerId}`;
}
