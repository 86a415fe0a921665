/** Another site, on a port of its own: whatever its pages ask of the server under test goes across origins. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const FOLDER = fileURLToPath(new URL('.', import.meta.url));

/** Serves one script, bundled with what it imports from npm, and pages that hold what a test wants. */
export class OtherSite {
  #server;

  /** @param {string} script */
  constructor(script) {
    this.#server = createServer((request, response) => {
      const url = new URL(request.url ?? '/', 'http://other');
      const [type, body] = url.pathname === '/clients.js' ? ['text/javascript', script] : ['text/html', pageWith(url.searchParams.get('body') ?? '')];
      response.writeHead(200, { 'Content-Type': type }).end(body);
    });
  }

  /** @param {string} [module] of this folder */
  static async start(module) {
    const site = new OtherSite(module ? await bundle(module) : '');
    site.#server.listen(0, '127.0.0.1');
    await once(site.#server, 'listening');
    return site;
  }

  /**
   * The address of a page.
   *
   * @param {string} body its HTML
   */
  page(body) {
    const { port } = /** @type {import('node:net').AddressInfo} */ (this.#server.address());
    return `http://127.0.0.1:${port}/?body=${encodeURIComponent(body)}`;
  }

  close() {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}

/** @param {string} module */
async function bundle(module) {
  const { outputFiles } = await build({ entryPoints: [`${FOLDER}${module}`], bundle: true, format: 'esm', write: false });
  return outputFiles[0]?.text ?? '';
}

/** @param {string} body */
function pageWith(body) {
  return `<!doctype html><title>Another site</title><link rel="icon" href="data:,"><body data-test="other-site">${body}`;
}
