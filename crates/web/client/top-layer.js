/**
 * Brings a camera's largest layer back that its encoder had to let go.
 *
 * libwebrtc stops the layer that the uplink does not carry. What is left takes less than the uplink has, so that its estimate of
 * the uplink hardly grows: after one of 300 kbit/s has widened, Chromium 156 took 14 to 25 s until the layer fitted again. It
 * probes at once when the most that it may send changes, if it does not fill up what it has just then; a limit that changes by
 * next to nothing costs no keyframe, as stopping and starting a layer does.
 */

/** So often, as the encoder fills up what it has at times. A probe lasts for 15 ms. */
export const LOOK_EVERY_MS = 2_000;
/** libwebrtc reckons with whole bits a second; other browsers may round. */
const STEP_BPS = 1_000;

export class TopLayer {
  #sender;
  /** Frames that each layer had encoded when it was last looked at, by rid. @type {Map<string, number>} */
  #frames = new Map();
  #lowered = false;

  /** @param {RTCRtpSender} sender */
  constructor(sender) {
    this.#sender = sender;
  }

  /** To be called every {@link LOOK_EVERY_MS}, and while nobody else sets the sender's parameters. */
  async look() {
    if (!(await this.#hasStopped())) return;
    const parameters = this.#sender.getParameters();
    const top = active(parameters).at(-1);
    if (!top?.maxBitrate) return;
    top.maxBitrate += this.#lowered ? STEP_BPS : -STEP_BPS;
    this.#lowered = !this.#lowered;
    await this.#sender.setParameters(parameters);
  }

  /** Whether the largest layer that is to be encoded has stopped, while smaller ones go on. */
  async #hasStopped() {
    const before = this.#frames;
    this.#frames = new Map();
    for (const { type, rid, framesEncoded } of (await this.#sender.getStats()).values()) {
      if (type === 'outbound-rtp' && rid) this.#frames.set(rid, framesEncoded ?? 0);
    }
    const goesOn = (/** @type {string} */ rid) => (this.#frames.get(rid) ?? 0) > (before.get(rid) ?? Infinity);
    const rids = active(this.#sender.getParameters()).map(({ rid }) => rid ?? '');
    const top = rids.pop() ?? '';
    // One that has never been there is more than the camera's picture gives.
    return Boolean(before.get(top)) && !goesOn(top) && rids.some(goesOn);
  }
}

/**
 * Smallest first, as they were asked for.
 * @param {RTCRtpSendParameters} parameters
 */
function active({ encodings }) {
  return (encodings ?? []).filter((encoding) => encoding.active);
}
