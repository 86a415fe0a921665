/**
 * What a site that encrypts end to end runs in a Worker: every encoded frame is encrypted as a whole with AES-GCM, and followed by the
 * initialisation vector. No byte of the codec's own is left in the clear.
 */

const VECTOR_BYTES = 12;

/** TypeScript's DOM has no encoded transforms within a worker. */
const scope = /** @type {any} */ (self);

/** @param {{ transformer: { readable: ReadableStream, writable: WritableStream, options: { key: number[], encrypts: boolean } } }} event */
scope.onrtctransform = ({ transformer: { readable, writable, options } }) => {
  const usage = options.encrypts ? 'encrypt' : 'decrypt';
  const key = crypto.subtle.importKey('raw', Uint8Array.from(options.key), 'AES-GCM', false, [usage]);
  const change = options.encrypts ? encrypt : decrypt;
  const transform = new TransformStream({
    /** @param {RTCEncodedVideoFrame | RTCEncodedAudioFrame} frame */
    async transform(frame, controller) {
      const data = await change(await key, frame.data);
      if (!data) return;
      frame.data = data;
      controller.enqueue(frame);
    },
  });
  readable.pipeThrough(transform).pipeTo(writable);
};

/**
 * @param {CryptoKey} key
 * @param {ArrayBuffer} plain
 */
async function encrypt(key, plain) {
  const iv = crypto.getRandomValues(new Uint8Array(VECTOR_BYTES));
  const hidden = await crypto.subtle.encrypt({ name: 'AES-GCM', iv }, key, plain);
  const data = new Uint8Array(hidden.byteLength + VECTOR_BYTES);
  data.set(new Uint8Array(hidden));
  data.set(iv, hidden.byteLength);
  return data.buffer;
}

/**
 * @param {CryptoKey} key
 * @param {ArrayBuffer} data
 * @returns {Promise<ArrayBuffer | null>} null: not encrypted with this key, or not whole
 */
async function decrypt(key, data) {
  if (data.byteLength < VECTOR_BYTES) return null;
  const iv = new Uint8Array(data.slice(-VECTOR_BYTES));
  return crypto.subtle.decrypt({ name: 'AES-GCM', iv }, key, data.slice(0, -VECTOR_BYTES)).catch(() => null);
}
