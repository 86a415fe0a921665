/**
 * Tells the server what is on the screen: the size, in device pixels, and the visibility of every attached element. It decides
 * what is sent, so a tile that nobody sees costs nothing.
 */

/**
 * @typedef {import('./attachment.js').Attachment} Attachment
 * @typedef {import('./protocol.js').AudioWish} AudioWish
 * @typedef {import('./protocol.js').TileWish} TileWish
 */

/** A window that is being resized changes many times a second; a layer switch needs a keyframe each. */
const DEBOUNCE_MS = 120;

export class ViewReporter {
  /** @type {Map<HTMLVideoElement, Attachment>} */
  #attachments = new Map();
  /** @type {Set<Element>} */
  #offScreen = new Set();
  /** @type {AudioWish} */
  #audio = { mode: 'loudest' };
  #rev = 0;
  #sent = '';
  #sentAt = -Infinity;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #send;
  #resizes = new ResizeObserver(() => this.changed());
  #visibility = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) this.#offScreen.delete(target);
      else this.#offScreen.add(target);
    }
    this.changed();
  });
  #onVisibility = () => this.changed();

  /** @param {(view: {rev: number, video: TileWish[], audio: AudioWish}) => void} send */
  constructor(send) {
    this.#send = send;
    document.addEventListener('visibilitychange', this.#onVisibility);
  }

  /** @param {Attachment} attachment */
  add(attachment) {
    this.#attachments.set(attachment.video, attachment);
    this.#resizes.observe(attachment.video);
    this.#visibility.observe(attachment.video);
    this.changed();
  }

  /** @param {HTMLVideoElement} video @returns {Attachment | undefined} the one that was on it */
  remove(video) {
    const attachment = this.#attachments.get(video);
    this.#attachments.delete(video);
    this.#offScreen.delete(video);
    this.#resizes.unobserve(video);
    this.#visibility.unobserve(video);
    if (attachment) this.changed();
    return attachment;
  }

  attachments() {
    return [...this.#attachments.values()];
  }

  /** @param {AudioWish} audio */
  setAudio(audio) {
    this.#audio = audio;
    this.changed();
  }

  /** Sends soon, if anything is different from what was sent last. */
  changed() {
    if (this.#timer !== undefined) return;
    const wait = Math.max(0, this.#sentAt + DEBOUNCE_MS - performance.now());
    this.#timer = setTimeout(() => this.#report(), wait);
  }

  /** Sends soon, changed or not: new slots carry media from the first view after their answer. */
  repeat() {
    this.#sent = '';
    this.changed();
  }

  close() {
    clearTimeout(this.#timer);
    this.#resizes.disconnect();
    this.#visibility.disconnect();
    document.removeEventListener('visibilitychange', this.#onVisibility);
  }

  #report() {
    this.#timer = undefined;
    const video = this.attachments().map((attachment) => this.#wish(attachment));
    const wishes = JSON.stringify([video, this.#audio]);
    if (wishes === this.#sent) return;
    this.#sent = wishes;
    this.#sentAt = performance.now();
    this.#send({ rev: ++this.#rev, video, audio: this.#audio });
  }

  /** @param {Attachment} attachment @returns {TileWish} */
  #wish({ track, video, options }) {
    const hidden = document.hidden || this.#offScreen.has(video) || !video.isConnected;
    const scale = window.devicePixelRatio;
    return {
      track,
      w: hidden ? 0 : Math.round(video.clientWidth * scale),
      h: hidden ? 0 : Math.round(video.clientHeight * scale),
      ...(options.priority !== undefined && { prio: options.priority }),
      ...(options.minHeight !== undefined && { min_h: options.minHeight }),
      ...(options.fps !== undefined && { fps: options.fps }),
    };
  }
}
