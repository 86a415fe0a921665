/** The server under test: started on free ports, watched, stopped, started again. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { createSocket } from 'node:dgram';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventually } from './wait.mjs';

const START_SECONDS = 10;
/** Longer than the default of `shutdown.grace`. */
const STOP_SECONDS = 15;

export class Server {
  /** Every line that the server has logged, over all its runs. @type {string[]} */
  log = [];
  #linesChecked = 0;
  #folder = mkdtempSync(join(tmpdir(), 'madang-server-'));
  #httpPort;
  #mediaPort;
  #options;
  /** @type {import('node:child_process').ChildProcess | null} */
  #process = null;

  /**
   * @param {number} httpPort
   * @param {number} mediaPort
   * @param {string[]} options
   */
  constructor(httpPort, mediaPort, options) {
    this.#httpPort = httpPort;
    this.#mediaPort = mediaPort;
    this.#options = options;
  }

  /**
   * Starts the program that MADANG_BIN names; returns when it is ready.
   *
   * @param {string[]} [options] more of the command line
   */
  static async start(options = []) {
    const server = new Server(await freeTcpPort(), await freeUdpPort(), options);
    await server.run();
    return server;
  }

  /** Starts servers that share the rooms among them. @param {number} count */
  static async startTogether(count) {
    const ports = await Promise.all(Array.from({ length: count }, freeTcpPort));
    const urls = ports.map((port) => `http://127.0.0.1:${port}`);
    const servers = await Promise.all(
      ports.map(async (port, at) => {
        const options = ['--http-public-url', urls[at], '--cluster-nodes', urls.join(',')];
        return new Server(port, await freeUdpPort(), options);
      }),
    );
    await Promise.all(servers.map((server) => server.run()));
    return servers;
  }

  get httpPort() {
    return this.#httpPort;
  }

  get mediaPort() {
    return this.#mediaPort;
  }

  get isRunning() {
    return this.#process !== null;
  }

  /** Starts it, again on the same ports; returns when it is ready. */
  async run() {
    const program = process.env.MADANG_BIN;
    if (!program) throw new Error('MADANG_BIN does not name the server program: set it, or run `cargo xtask test`');
    const options = ['--listen', `127.0.0.1:${this.#httpPort}`, '--media-port', String(this.#mediaPort), ...this.#options];
    // An empty folder and no settings in the environment: the defaults are tested, whoever runs the tests.
    const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('MADANG_')));
    const child = spawn(program, options, { cwd: this.#folder, env, stdio: ['ignore', 'pipe', 'pipe'] });
    this.#process = child;
    for (const stream of [child.stdout, child.stderr]) this.#collect(stream);
    await eventually(
      'the server is ready',
      async () => {
        if (child.exitCode !== null) return `exited with ${child.exitCode}: ${this.tail(10)}`;
        const response = await fetch(`http://127.0.0.1:${this.#httpPort}/readyz`);
        return response.ok ? 'ready' : `readyz ${response.status}`;
      },
      (seen) => seen === 'ready',
      START_SECONDS,
    );
  }

  /** Asks the server to stop, as a service manager does, and waits until it has. */
  async stop() {
    const child = this.#process;
    if (!child) return;
    this.#process = null;
    if (child.exitCode === null && child.signalCode === null) {
      const exited = once(child, 'exit');
      child.kill('SIGTERM');
      const patience = setTimeout(() => child.kill('SIGKILL'), STOP_SECONDS * 1000);
      await exited;
      clearTimeout(patience);
    }
    if (child.exitCode !== 0) {
      throw new Error(`the server ended with ${child.signalCode ?? child.exitCode} on SIGTERM:\n${this.tail(20)}`);
    }
  }

  /** Stops for good, and removes what it wrote. */
  async dispose() {
    try {
      await this.stop();
    } finally {
      rmSync(this.#folder, { recursive: true, force: true });
    }
  }

  /** @param {number} lines */
  tail(lines) {
    return this.log.slice(-lines).join('\n');
  }

  /** Fails if the server has logged an error since the last look: it would wake somebody up, so a test must not cause one. */
  expectNoErrors() {
    const fresh = this.log.slice(this.#linesChecked);
    this.#linesChecked = this.log.length;
    const faults = fresh.filter((line) => /\bERROR\b|panicked at/.test(line));
    if (faults.length > 0) throw new Error(`the server logged an error:\n${faults.join('\n')}`);
  }

  /** @param {import('node:stream').Readable} stream */
  #collect(stream) {
    let rest = '';
    stream.setEncoding('utf8');
    stream.on('data', (/** @type {string} */ text) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop() ?? '';
      this.log.push(...lines.map((line) => line.replace(/\u001b\[[0-9;]*m/g, '')));
    });
  }
}

async function freeTcpPort() {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = /** @type {import('node:net').AddressInfo} */ (probe.address());
  probe.close();
  await once(probe, 'close');
  return port;
}

async function freeUdpPort() {
  const probe = createSocket('udp4').bind(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address();
  probe.close();
  await once(probe, 'close');
  return port;
}
