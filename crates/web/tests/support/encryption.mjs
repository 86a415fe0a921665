/** End-to-end encryption as sites do it: with the worker that the documentation shows, and a key that the server never has. */
import { readFileSync } from 'node:fs';
import { startFirefox } from './firefox.mjs';

/** The page's content security policy allows workers of its own origin alone. */
const WORKER_PATH = '/encryption-worker.js';
const DOCUMENT = readFileSync(new URL('../../../../docs/security.md', import.meta.url), 'utf8');
const WORKER = /^```js\n(\/\/ encryption-worker\.js[^]*?)^```/m.exec(DOCUMENT)?.[1] ?? '';
const SERVED = { body: WORKER, contentType: 'text/javascript' };

/** 16 bytes, which the server never has. */
export const KEY = [...'a key of 16 byte'].map((letter) => letter.charCodeAt(0));

/**
 * A browser whose pages are served the worker, as their site would.
 *
 * @param {import('./call.mjs').Call} call
 * @param {import('./chromium.mjs').ChromiumOptions} [options]
 */
export async function encryptingChromium(call, options) {
  const browser = await call.chromium(options);
  await browser.context.route(`**${WORKER_PATH}`, (route) => route.fulfill(SERVED));
  return browser;
}

/**
 * The same with Firefox.
 *
 * @param {import('./call.mjs').Call} call
 */
export async function encryptingFirefox(call) {
  const browser = await startFirefox();
  return call.keep({
    async newPage() {
      const page = await browser.newPage();
      await page.setRequestInterception(true);
      page.on('request', (request) => (request.url().endsWith(WORKER_PATH) ? request.respond(SERVED) : request.continue()));
      return page;
    },
    close: () => browser.close(),
  });
}

/**
 * How somebody enters an encrypted call.
 *
 * @param {number[]} key 16 bytes
 */
export function withKey(key) {
  return { beforeScripts: encryptEverything, argument: { key, path: WORKER_PATH } };
}

// What follows runs inside the page.

/** @param {{ key: number[], path: string }} _ */
function encryptEverything({ key, path }) {
  /** @type {Worker | undefined} */
  let worker;
  const transform = (/** @type {boolean} */ encrypts) => {
    worker ??= new Worker(path, { type: 'module' });
    return new RTCRtpScriptTransform(worker, { key: Uint8Array.from(key), encrypts });
  };
  /** @type {import('../../client/encryption.js').Encryption} */
  const encryption = { sender: () => transform(true), receiver: () => transform(false) };
  Object.assign(window, { madang: { options: { encryption } } });
}
