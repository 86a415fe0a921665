/**
 * What the fake cameras and microphones of the browsers play: a raw picture of one colour with a moving bar, and a tone.
 * Both are files of a fraction of a second which the browser repeats for ever.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createRandom } from './random.mjs';

/** @typedef {[red: number, green: number, blue: number]} Colour each 0 to 255 */

/** Colours that no codec and no rounding of a colour space can confuse with each other, nor with black. */
export const COLOURS = Object.freeze({
  /** @type {Colour} */ red: [200, 30, 30],
  /** @type {Colour} */ blue: [40, 60, 210],
  /** @type {Colour} */ yellow: [210, 200, 40],
  // Not a camera of ours: what Chromium's simulated camera and screen show.
  /** @type {Colour} */ 'test picture': [9, 151, 2],
});

const FRAMES_PER_SECOND = 30;
const SAMPLES_PER_SECOND = 48_000;

/**
 * Writes a camera: `colour` everywhere, but for a white bar that walks along the lowest eighth of the picture, so that
 * every frame differs from the last and an encoder has something to send.
 *
 * @param {string} folder
 * @param {{ name: string, colour: Colour, width: number, height: number, frames?: number }} camera
 * @returns {string} the file, YUV4MPEG2
 */
export function writeCamera(folder, { name, colour, width, height, frames = 12 }) {
  const parts = [Buffer.from(`YUV4MPEG2 W${width} H${height} F${FRAMES_PER_SECOND}:1 Ip A1:1 C420jpeg\n`)];
  for (let n = 0; n < frames; n += 1) {
    parts.push(Buffer.from('FRAME\n'), frame(colour, width, height, n / frames));
  }
  const file = join(folder, `${name}-${width}x${height}.y4m`);
  writeFileSync(file, Buffer.concat(parts));
  return file;
}

/**
 * Writes a camera whose picture is grain, so that an encoder spends all that it is given, as it does on a real camera.
 *
 * @param {string} folder
 * @param {{ name: string, width: number, height: number, frames?: number }} camera
 * @returns {string} the file, YUV4MPEG2
 */
export function writeGrain(folder, { name, width, height, frames = 30 }) {
  const random = createRandom(1);
  const parts = [Buffer.from(`YUV4MPEG2 W${width} H${height} F${FRAMES_PER_SECOND}:1 Ip A1:1 C420jpeg\n`)];
  // Coarse grain outlives the scaling to smaller layers.
  const GRAIN = 8;
  for (let n = 0; n < frames; n += 1) {
    const luma = Buffer.alloc(width * height);
    for (let row = 0; row < height; row += GRAIN) {
      for (let column = 0; column < width; column += GRAIN) luma.fill(110 + random() * 40, row * width + column, row * width + column + GRAIN);
      for (let copy = 1; copy < GRAIN && row + copy < height; copy += 1) luma.copyWithin((row + copy) * width, row * width, (row + 1) * width);
    }
    parts.push(Buffer.from('FRAME\n'), luma, Buffer.alloc((width / 2) * (height / 2) * 2, 128));
  }
  const file = join(folder, `${name}-${width}x${height}.y4m`);
  writeFileSync(file, Buffer.concat(parts));
  return file;
}

/**
 * Writes a microphone: a tone for each channel (whole numbers of Hz, so that the second repeats without a click).
 *
 * @param {string} folder
 * @param {number[]} tones one, or left and right
 * @returns {string} the file, 16-bit WAV of one second
 */
export function writeTones(folder, tones) {
  const samples = Buffer.alloc(SAMPLES_PER_SECOND * tones.length * 2);
  for (let n = 0; n < SAMPLES_PER_SECOND; n += 1) {
    for (const [channel, hertz] of tones.entries()) {
      const sample = Math.round(12_000 * Math.sin((2 * Math.PI * hertz * n) / SAMPLES_PER_SECOND));
      samples.writeInt16LE(sample, (n * tones.length + channel) * 2);
    }
  }
  const file = join(folder, `tone-${tones.join('-')}.wav`);
  writeFileSync(file, Buffer.concat([wavHeader(samples.length, tones.length), samples]));
  return file;
}

/**
 * One I420 picture; the bar stands at `phase` (0 to 1) of the way.
 *
 * @param {Colour} colour
 * @param {number} width
 * @param {number} height
 * @param {number} phase
 */
function frame([red, green, blue], width, height, phase) {
  // BT.601, limited range: what Chromium takes a 4:2:0 file for.
  const y = Math.round(16 + 0.257 * red + 0.504 * green + 0.098 * blue);
  const u = Math.round(128 - 0.148 * red - 0.291 * green + 0.439 * blue);
  const v = Math.round(128 + 0.439 * red - 0.368 * green - 0.071 * blue);
  const luma = Buffer.alloc(width * height, y);
  const barWidth = Math.round(width / 8);
  const barLeft = Math.round((width - barWidth) * phase);
  for (let row = Math.round((height * 7) / 8); row < height; row += 1) {
    luma.fill(235, row * width + barLeft, row * width + barLeft + barWidth);
  }
  const chroma = (width / 2) * (height / 2);
  return Buffer.concat([luma, Buffer.alloc(chroma, u), Buffer.alloc(chroma, v)]);
}

/**
 * @param {number} bytes of samples that follow
 * @param {number} channels
 */
function wavHeader(bytes, channels) {
  const header = Buffer.alloc(44);
  header.write('RIFF', 0);
  header.writeUInt32LE(36 + bytes, 4);
  header.write('WAVEfmt ', 8);
  header.writeUInt32LE(16, 16);
  header.writeUInt16LE(1, 20); // PCM
  header.writeUInt16LE(channels, 22);
  header.writeUInt32LE(SAMPLES_PER_SECOND, 24);
  header.writeUInt32LE(SAMPLES_PER_SECOND * channels * 2, 28);
  header.writeUInt16LE(channels * 2, 32);
  header.writeUInt16LE(16, 34);
  header.write('data', 36);
  header.writeUInt32LE(bytes, 40);
  return header;
}
