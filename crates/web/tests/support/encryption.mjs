/** End-to-end encryption as sites do it: encoded transforms on every sender and receiver, with a key that the server never has. */
import { fileURLToPath } from 'node:url';

/** The page's content security policy allows workers of its own origin alone. */
const WORKER_PATH = '/encryption-worker.mjs';
const WORKER_FILE = fileURLToPath(new URL('encryption-worker.mjs', import.meta.url));

/**
 * Serves the worker to the pages of a browser, as their site would.
 *
 * @param {import('playwright-core').BrowserContext} context
 */
export async function serveWorker(context) {
  await context.route(`**${WORKER_PATH}`, (route) => route.fulfill({ path: WORKER_FILE, contentType: 'text/javascript' }));
}

/**
 * How somebody enters an encrypted call.
 *
 * @param {number[] | null} key 16 bytes; null: says that the call is encrypted, and can read nothing of it
 */
export function withKey(key) {
  return { beforeScripts: encryptEverything, argument: { key, path: WORKER_PATH } };
}

// What follows runs inside the page.

/** @param {{ key: number[] | null, path: string }} _ */
function encryptEverything({ key, path }) {
  // A slot may receive RED: the server makes none of what is marked as encrypted. It would take RED apart that is sent.
  const prefer = RTCRtpTransceiver.prototype.setCodecPreferences;
  RTCRtpTransceiver.prototype.setCodecPreferences = function preferWithoutRed(codecs) {
    const sends = this.direction === 'sendonly';
    prefer.call(this, [...codecs].filter(({ mimeType }) => !sends || mimeType !== 'audio/red'));
  };

  const send = WebSocket.prototype.send;
  WebSocket.prototype.send = function sendMarked(data) {
    const frame = typeof data === 'string' ? JSON.parse(data) : null;
    send.call(this, frame?.t === 'join' ? JSON.stringify({ ...frame, e2ee: true }) : data);
  };

  if (!key) return;
  const Transform = /** @type {any} */ (window).RTCRtpScriptTransform;
  /** @type {Worker | undefined} */
  let worker;
  const add = RTCPeerConnection.prototype.addTransceiver;
  RTCPeerConnection.prototype.addTransceiver = function addEncrypted(what, init) {
    worker ??= new Worker(path, { type: 'module' });
    const transceiver = add.call(this, what, init);
    // Before the first frame, so that none gets out as it is.
    Object.assign(transceiver.sender, { transform: new Transform(worker, { key, encrypts: true }) });
    Object.assign(transceiver.receiver, { transform: new Transform(worker, { key, encrypts: false }) });
    return transceiver;
  };
}
