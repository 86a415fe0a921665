/**
 * Clients of WHIP and WHEP that are programs: FFmpeg and aiortc, from the virtual environment that MADANG_STREAM_PYTHON names, and
 * GStreamer, from Debian.
 */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const AIORTC = fileURLToPath(new URL('aiortc_client.py', import.meta.url));
const GSTREAMER = fileURLToPath(new URL('gstreamer_client.py', import.meta.url));
/** The Python that Debian's packages are for. */
const DEBIAN_PYTHON = '/usr/bin/python3';
/** What the test picture of {@link ffmpeg} is filled with: blue of `COLOURS`. */
const SOURCE = 'color=0x283CD2:size=320x180:rate=30';

export class Program {
  /** @type {string[]} */
  lines = [];
  #child;

  /** @param {string} command @param {string[]} options */
  constructor(command, options) {
    this.#child = spawn(command, options, { stdio: ['ignore', 'pipe', 'pipe'] });
    for (const input of [this.#child.stdout, this.#child.stderr]) {
      createInterface({ input }).on('line', (line) => line && this.lines.push(line));
    }
  }

  get exitCode() {
    return this.#child.exitCode;
  }

  /** Ends it without a word to anybody. */
  kill() {
    this.#child.kill('SIGKILL');
  }

  /** Asks it to leave as a person would, and waits until it has, and all that it said is read. */
  async stop() {
    if (this.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, 'close');
    this.#child.kill('SIGINT');
    const patience = setTimeout(() => this.#child.kill('SIGKILL'), 5_000);
    await exited;
    clearTimeout(patience);
  }
}

/**
 * FFmpeg that publishes H.264 and Opus until it is stopped.
 *
 * @param {string} url
 * @param {string[]} [flags] of `-f whip`
 * @param {object} [encoder]
 * @param {number} [encoder.interval] between two keyframes, in frames of which there are 30 a second
 * @param {string} [encoder.profile]
 */
export function ffmpeg(url, flags = [], { interval = 30, profile = 'baseline' } = {}) {
  const program = execFileSync(python(), ['-c', 'import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())'], { encoding: 'utf8' }).trim();
  const inputs = ['-re', '-f', 'lavfi', '-i', SOURCE, '-re', '-f', 'lavfi', '-i', 'sine=frequency=900:sample_rate=48000'];
  // What is faster has nothing that baseline lacks.
  const preset = profile === 'baseline' ? 'ultrafast' : 'superfast';
  const encoder = ['-preset', preset, '-profile:v', profile, '-tune', 'zerolatency', '-pix_fmt', 'yuv420p', '-g', String(interval), '-bf', '0'];
  const video = ['-c:v', 'libx264', ...encoder];
  const audio = ['-c:a', 'libopus', '-ar', '48000', '-ac', '2'];
  return new Program(program, ['-hide_banner', '-loglevel', 'verbose', ...inputs, ...video, ...audio, '-f', 'whip', ...flags, url]);
}

/**
 * aiortc that publishes, or watches and prints what it decodes.
 *
 * @param {'publish' | 'watch'} what
 * @param {string} url
 */
export function aiortc(what, url) {
  return new Program(python(), ['-u', AIORTC, what, url]);
}

/**
 * GStreamer's webrtcbin that publishes H.264 and Opus, or watches and prints what it decodes.
 *
 * @param {'publish' | 'watch'} what
 * @param {string} url
 * @param {'new' | 'old'} [age] old: as before 1.28, with a certificate of RSA
 */
export function gstreamer(what, url, age = 'new') {
  return new Program(DEBIAN_PYTHON, ['-u', GSTREAMER, what, url, age]);
}

function python() {
  const path = process.env.MADANG_STREAM_PYTHON;
  if (!path) throw new Error('MADANG_STREAM_PYTHON names no Python with aiortc and imageio-ffmpeg: set it, or run `cargo xtask test`');
  return path;
}
