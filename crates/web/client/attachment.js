/**
 * A remote video track on an element. No event of the browser says that a sender has stopped, so the state follows the
 * protocol's messages and the first decoded frame.
 */

/**
 * @typedef {import('./slots.js').Slot} Slot
 * @typedef {'live' | 'waiting' | 'avatar'} PictureState shown; expected soon; none
 *
 * @typedef {object} AttachOptions
 * @property {number} [priority] 0 to 255; higher is more important when bandwidth is short
 * @property {number} [minHeight] do not go below this height while anything else can give way, in pixels
 * @property {number} [fps] frames per second that are enough
 * @property {(state: PictureState, why: string) => void} [onState] called on every change, and once at the start
 */

export class Attachment {
  /** @type {PictureState} */
  state = 'avatar';
  why = '';
  #arrived = false;
  #allowed = true;
  /** Counts what was asked for, so that a frame of the track before does not count. */
  #expecting = 0;

  /**
   * @param {string} track
   * @param {HTMLVideoElement} video
   * @param {AttachOptions} options
   */
  constructor(track, video, options) {
    this.track = track;
    this.video = video;
    this.options = options;
    video.muted = true;
    video.autoplay = true;
    video.playsInline = true;
  }

  /**
   * Shows what the server says about the track.
   * @param {Slot | undefined} slot the slot that the track is in, if any
   * @param {boolean} muted whether the publisher has muted it
   * @param {boolean} allowed whether this participant may receive
   */
  update(slot, muted, allowed) {
    this.#allowed = allowed;
    this.#play(slot?.stream ?? null);
    const why = muted ? 'muted' : (slot?.why ?? '');
    if (why !== 'live' && why !== 'no_keyframe') this.#forgetPicture();
    if (why === 'live' && this.why !== 'live' && !this.#arrived) this.#awaitFrame();
    this.#set(this.#pictureState(why), why);
  }

  end() {
    this.#forgetPicture();
    this.video.srcObject = null;
  }

  /** @param {string} why @returns {PictureState} */
  #pictureState(why) {
    if (why === 'live' || why === 'no_keyframe') return this.#arrived ? 'live' : 'waiting';
    // Without a slot yet, the answer to the newest view is on its way.
    return why === '' && this.#allowed ? 'waiting' : 'avatar';
  }

  /** @param {MediaStream | null} stream */
  #play(stream) {
    if (this.video.srcObject === stream) return;
    this.#forgetPicture();
    this.why = '';
    this.video.srcObject = stream;
    // Muted video may always play; it rejects only when the element is taken away meanwhile.
    if (stream) this.video.play().catch(() => {});
  }

  #forgetPicture() {
    this.#arrived = false;
    this.#expecting++;
  }

  #awaitFrame() {
    const expected = ++this.#expecting;
    onNextFrame(this.video, () => {
      if (expected !== this.#expecting) return;
      this.#arrived = true;
      this.#set(this.#pictureState(this.why), this.why);
    });
  }

  /**
   * @param {PictureState} state
   * @param {string} why
   */
  #set(state, why) {
    this.state = state;
    this.why = why;
    this.options.onState?.(state, why);
  }
}

/**
 * @param {HTMLVideoElement} video
 * @param {() => void} listener
 */
function onNextFrame(video, listener) {
  if ('requestVideoFrameCallback' in video) video.requestVideoFrameCallback(listener);
  else /** @type {HTMLElement} */ (video).addEventListener('timeupdate', listener, { once: true });
}
