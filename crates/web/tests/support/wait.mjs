/** Waiting for something to become true, by looking again and again until a deadline. */
import { AssertionError } from 'node:assert';
import { setTimeout as delay } from 'node:timers/promises';

const LOOK_EVERY_MS = 100;
/** Far more than anything takes on two idle cores: on busy ones a page may not run for seconds. */
const DEADLINE_SECONDS = 30;

/**
 * Looks until what it sees is accepted.
 *
 * @template T
 * @param {string} what is waited for, as the message of a failure says it
 * @param {() => T | Promise<T>} look
 * @param {(seen: T) => boolean} [accept] by default anything truthy
 * @param {number} [seconds]
 * @returns {Promise<T>} what was seen at last
 */
export async function eventually(what, look, accept = Boolean, seconds = DEADLINE_SECONDS) {
  const deadline = performance.now() + seconds * 1000;
  /** @type {unknown} */
  let seen;
  do {
    try {
      const value = await look();
      if (accept(value)) return value;
      seen = value;
    } catch (error) {
      // A page that is just being loaded cannot be looked at; that is one more way of "not yet".
      seen = error instanceof Error ? error.message.split('\n')[0] : error;
    }
    await delay(LOOK_EVERY_MS);
  } while (performance.now() < deadline);
  throw new AssertionError({
    message: `not within ${seconds} s: ${what}. Last seen: ${JSON.stringify(seen)}`,
    stackStartFn: eventually,
  });
}
