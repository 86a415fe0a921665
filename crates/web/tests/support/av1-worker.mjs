/**
 * Makes the AV1 of a camera whose layers have different codecs. Chromium calls a layer AV1 that it has encoded as it does the first: here
 * each of its frames becomes one of AV1, a keyframe for a keyframe, so that its dependency descriptor tells the truth.
 */

const BITRATE_BPS = 300_000;

/** TypeScript's DOM has no encoded transforms within a worker. */
const scope = /** @type {any} */ (self);

/** @param {{ transformer: { readable: ReadableStream, writable: WritableStream, options: { colour: string } } }} event */
scope.onrtctransform = ({ transformer: { readable, writable, options } }) => {
  /** @type {ReturnType<typeof pictures> | undefined} */
  let encode;
  const transform = new TransformStream({
    /** @param {RTCEncodedVideoFrame} frame */
    async transform(frame, controller) {
      const { mimeType, width, height } = /** @type {any} */ (frame.getMetadata());
      if (mimeType === 'video/AV1') {
        encode ??= pictures(width, height, options.colour);
        frame.data = await encode(frame.type === 'key');
      }
      controller.enqueue(frame);
    },
  });
  readable.pipeThrough(transform).pipeTo(writable);
};

/**
 * An encoder of pictures of one colour.
 *
 * @param {number} width
 * @param {number} height
 * @param {string} colour
 */
function pictures(width, height, colour) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext('2d');
  if (!context) throw new Error('no canvas');
  context.fillStyle = colour;
  context.fillRect(0, 0, width, height);
  /** @type {(data: ArrayBuffer) => void} */
  let done;
  const encoder = new VideoEncoder({
    output(chunk) {
      const data = new ArrayBuffer(chunk.byteLength);
      chunk.copyTo(data);
      done(data);
    },
    error(error) {
      throw error;
    },
  });
  encoder.configure({ codec: 'av01.0.04M.08', width, height, bitrate: BITRATE_BPS, latencyMode: 'realtime' });
  let timestamp = 0;
  return (/** @type {boolean} */ keyFrame) => {
    const picture = new VideoFrame(canvas, { timestamp: (timestamp += 33_333) });
    const encoded = /** @type {Promise<ArrayBuffer>} */ (new Promise((resolve) => (done = resolve)));
    encoder.encode(picture, { keyFrame });
    picture.close();
    return encoded;
  };
}
