/**
 * How long to wait before each attempt to reach the server again.
 */

const DELAYS_MS = [0, 300, 1200, 2700, 4800, 7000, 7000, 7000, 7000, 7000];
/** Half as much again at the most, so that the clients of a restarted server do not come back in one instant. */
const JITTER = 0.5;

/** Waits between attempts. The browser's `online` event ends a wait early. */
export class Backoff {
  #attempt = 0;

  /**
   * Waits until the next attempt is due; false when there are no more. Rejects when aborted.
   * @param {AbortSignal} signal
   * @param {number} [atLeastMs] what the server asked for
   */
  async next(signal, atLeastMs = 0) {
    const delay = DELAYS_MS[this.#attempt++];
    if (delay === undefined) return false;
    await pause(Math.max(delay, atLeastMs) * (1 + JITTER * Math.random()), signal);
    return true;
  }
}

/**
 * @param {number} ms
 * @param {AbortSignal} signal
 * @returns {Promise<void>}
 */
function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const finish = () => {
      clearTimeout(timer);
      window.removeEventListener('online', finish);
      signal.removeEventListener('abort', finish);
      if (signal.aborted) reject(signal.reason);
      else resolve();
    };
    const timer = setTimeout(finish, ms);
    window.addEventListener('online', finish);
    signal.addEventListener('abort', finish);
    if (signal.aborted) finish();
  });
}
