/** The level of a microphone, as a row of bars. */

const INTERVAL_MS = 80;
/** Speech at arm's length lies between these. */
const QUIET_DB = -60;
const LOUD_DB = -15;

export class Meter {
  #shown;
  /** @type {MediaStreamTrack | null} */
  #track = null;
  /** @type {AudioContext | null} */
  #context = null;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #timer;

  /** @param {HTMLElement} shown has role=meter, and bars as children */
  constructor(shown) {
    this.#shown = shown;
  }

  /** @param {MediaStreamTrack | null} track */
  listenTo(track) {
    if (track === this.#track) return;
    this.stop();
    this.#track = track;
    if (!track) return;
    const context = new AudioContext();
    const analyser = context.createAnalyser();
    analyser.fftSize = 1024;
    context.createMediaStreamSource(new MediaStream([track])).connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    this.#context = context;
    this.#timer = setInterval(() => {
      // Without a gesture of the user it starts suspended.
      if (context.state === 'suspended') context.resume().catch(() => {});
      analyser.getFloatTimeDomainData(samples);
      this.#show(level(samples));
    }, INTERVAL_MS);
  }

  stop() {
    clearInterval(this.#timer);
    this.#context?.close().catch(() => {});
    this.#context = null;
    this.#track = null;
    this.#show(0);
  }

  /** @param {number} percent */
  #show(percent) {
    this.#shown.setAttribute('aria-valuenow', String(percent));
    const bars = [...this.#shown.children];
    bars.forEach((bar, n) => bar.classList.toggle('lit', percent > (100 * n) / bars.length));
  }
}

/**
 * 0 to 100.
 * @param {Float32Array} samples
 */
function level(samples) {
  const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length;
  const db = 10 * Math.log10(power + 1e-12);
  return Math.round(100 * Math.min(1, Math.max(0, (db - QUIET_DB) / (LOUD_DB - QUIET_DB))));
}
