/** A TCP proxy in front of the server's HTTP port, whose cable can be pulled. Media goes by UDP and does not notice. */
import { once } from 'node:events';
import { connect, createServer } from 'node:net';

export class CutProxy {
  #cut = false;
  /** @type {Set<import('node:net').Socket>} */
  #sockets = new Set();
  #targetPort;
  #listener;

  /** @param {number} targetPort */
  constructor(targetPort) {
    this.#targetPort = targetPort;
    this.#listener = createServer((client) => this.#accept(client));
  }

  /** @param {number} targetPort on 127.0.0.1 */
  static async start(targetPort) {
    const proxy = new CutProxy(targetPort);
    proxy.#listener.listen(0, '127.0.0.1');
    await once(proxy.#listener, 'listening');
    return proxy;
  }

  get port() {
    return /** @type {import('node:net').AddressInfo} */ (this.#listener.address()).port;
  }

  /** Resets every connection, and every new one, until `mend`. */
  cut() {
    this.#cut = true;
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  mend() {
    this.#cut = false;
  }

  /** Leads new connections to another server; those that there are stay where they are. @param {number} targetPort */
  retarget(targetPort) {
    this.#targetPort = targetPort;
  }

  async close() {
    this.cut();
    this.#listener.close();
    await once(this.#listener, 'close');
  }

  /** @param {import('node:net').Socket} client */
  #accept(client) {
    if (this.#cut) {
      client.resetAndDestroy();
      return;
    }
    const server = connect(this.#targetPort, '127.0.0.1');
    for (const [near, far] of /** @type {const} */ ([[client, server], [server, client]])) {
      this.#sockets.add(near);
      near.setNoDelay(true);
      near.pipe(far);
      // A reset is one way for a connection to end; the other side ends with it.
      near.on('error', () => far.destroy());
      near.on('close', () => {
        this.#sockets.delete(near);
        far.destroy();
      });
    }
  }
}
