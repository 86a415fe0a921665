/**
 * Plays the audio slots. Browsers refuse sound on pages that the user has not touched yet; then a click is needed.
 */

export class AudioOutput {
  /** @type {Map<MediaStream, HTMLAudioElement>} */
  #elements = new Map();
  #onBlocked;
  #deviceId = '';
  blocked = false;

  /** @param {(blocked: boolean) => void} onBlocked called when sound is refused, and when it plays after that */
  constructor(onBlocked) {
    this.#onBlocked = onBlocked;
  }

  /** @param {MediaStream} stream */
  add(stream) {
    const audio = document.createElement('audio');
    audio.autoplay = true;
    audio.hidden = true;
    audio.srcObject = stream;
    if (this.#deviceId) this.#route(audio);
    document.body.append(audio);
    this.#elements.set(stream, audio);
    this.#play(audio);
  }

  /** Tries again; call it from a click. */
  start() {
    return Promise.all([...this.#elements.values()].map((audio) => this.#play(audio)));
  }

  /**
   * Plays on this loudspeaker, where the browser lets a page choose.
   * @param {string} deviceId
   */
  async setSpeaker(deviceId) {
    this.#deviceId = deviceId;
    await Promise.all([...this.#elements.values()].map((audio) => this.#route(audio)));
  }

  close() {
    for (const audio of this.#elements.values()) {
      audio.srcObject = null;
      audio.remove();
    }
    this.#elements.clear();
  }

  /** @param {HTMLAudioElement} audio */
  async #route(audio) {
    // A loudspeaker that was unplugged is no reason to be silent: the default one plays on.
    if ('setSinkId' in audio) await audio.setSinkId(this.#deviceId).catch(() => {});
  }

  /** @param {HTMLAudioElement} audio */
  async #play(audio) {
    try {
      await audio.play();
      this.#report(false);
    } catch (error) {
      if (error instanceof Error && error.name === 'NotAllowedError') this.#report(true);
    }
  }

  /** @param {boolean} blocked */
  #report(blocked) {
    if (this.blocked === blocked) return;
    this.blocked = blocked;
    this.#onBlocked(blocked);
  }
}
