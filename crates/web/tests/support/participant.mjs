/** One person in a call: a tab with the app page, used by its buttons and seen by its tiles (crates/web/README.md lists both). */
import { eventually } from './wait.mjs';
import * as probe from './probe.mjs';

/** @typedef {import('playwright-core').Page | import('puppeteer-core').Page} AnyPage */

/** @param {string} name of `data-test` */
export const element = (name) => `[data-test="${name}"]`;

export class Participant {
  /** What the page threw and nobody caught. @type {string[]} */
  faults = [];
  /** The page's console. @type {string[]} */
  console = [];
  /** Signalling frames; Playwright alone shows them. @type {string[]} */
  frames = [];

  /**
   * @param {AnyPage} page
   * @param {string} name
   */
  constructor(page, name) {
    this.page = page;
    this.name = name;
    const events = /** @type {import('node:events').EventEmitter} */ (/** @type {unknown} */ (page));
    events.on('pageerror', (/** @type {Error} */ error) => this.faults.push(error.stack ?? error.message));
    events.on('console', (/** @type {{ type(): string, text(): string }} */ entry) => {
      this.console.push(`${entry.type()}: ${entry.text()}`);
    });
    events.on('websocket', (/** @type {import('playwright-core').WebSocket} */ socket) => {
      socket.on('framesent', ({ payload }) => this.#record('>', String(payload)));
      socket.on('framereceived', ({ payload }) => this.#record('<', String(payload)));
      socket.on('close', () => this.#record('x', 'closed'));
    });
  }

  /**
   * Opens a page.
   *
   * @param {string} url
   * @param {string} [first] what is seen then: by default the page before the call
   */
  async open(url, first = 'prejoin') {
    await this.page.goto(url);
    await this.sees(first);
  }

  /** Clicks `join`, and waits until signalling and media stand. */
  async join() {
    await this.click('join-button');
    await this.isConnected();
  }

  async isConnected() {
    await eventually(`${this.name} is connected`, () => this.attribute('status-pill', 'data-state'), (state) => state === 'connected');
  }

  /** @param {string} name of `data-test` */
  async click(name) {
    await this.sees(name);
    await this.page.click(element(name));
  }

  /**
   * Waits until an element is shown.
   *
   * @param {string} name of `data-test`
   */
  async sees(name) {
    await eventually(`${this.name} sees ${name}`, () => this.evaluate(isShown, element(name)));
  }

  /**
   * @param {string} name of `data-test`
   * @param {string} attribute
   * @returns {Promise<string | null>}
   */
  attribute(name, attribute) {
    return this.evaluate(attributeOf, { selector: element(name), attribute });
  }

  /** @param {string} name of `data-test` */
  text(name) {
    return this.evaluate(textOf, element(name));
  }

  /** @param {string} text */
  async chat(text) {
    if (!(await this.evaluate(isShown, element('chat-panel')))) await this.click('chat-button');
    await this.sees('chat-input');
    await this.page.focus(element('chat-input'));
    await this.page.keyboard.type(text);
    await this.page.click(element('chat-send'));
  }

  /** @returns {Promise<string[]>} the texts in the chat, oldest first */
  chatMessages() {
    return this.evaluate(textsOf, element('chat-message'));
  }

  /**
   * The selector of somebody's tile.
   *
   * @param {string} name
   * @param {'camera' | 'screen'} [source]
   * @returns {Promise<string>} throws while there is none
   */
  async tile(name, source = 'camera') {
    const track = await this.evaluate(findTile, { name, source });
    if (track === null) throw new Error(`no ${source} tile of ${name}`);
    return `${element('tile')}[data-peer="${track.peer}"][data-source="${source}"]`;
  }

  /**
   * An attribute of somebody's tile.
   *
   * @param {string} name
   * @param {string} attribute
   * @param {'camera' | 'screen'} [source]
   */
  async tileAttribute(name, attribute, source = 'camera') {
    return this.evaluate(attributeOf, { selector: await this.tile(name, source), attribute });
  }

  /** @returns {Promise<string[]>} whose tiles are there, in the order of the page, own ones too */
  tiles() {
    return this.evaluate(tileNames);
  }

  /**
   * @param {string} name
   * @param {'camera' | 'screen'} [source]
   */
  async colour(name, source = 'camera') {
    return probe.colourOf(this, `${await this.tile(name, source)} video`);
  }

  /**
   * What the decoder of somebody's picture has done so far.
   *
   * @param {string} name
   * @param {'camera' | 'screen'} [source]
   */
  async reception(name, source = 'camera') {
    const reception = await probe.receptionOf(this, `${await this.tile(name, source)} video`);
    if (!reception) throw new Error(`nothing received from ${name}`);
    return reception;
  }

  /**
   * Waits until somebody's picture is there, in the right colour, and moves.
   *
   * @param {string} name
   * @param {string} colour
   * @param {'camera' | 'screen'} [source]
   */
  async seesPicture(name, colour, source = 'camera') {
    const what = `${this.name} sees the ${source} of ${name} in ${colour}`;
    await eventually(what, () => this.colour(name, source), (seen) => seen === colour);
    await this.seesMovement(name, source);
  }

  /**
   * Waits until frames are decoded that had not been when this was called.
   *
   * @param {string} name
   * @param {'camera' | 'screen'} [source]
   */
  async seesMovement(name, source = 'camera') {
    // Chromium keeps statistics for 50 ms: they may not know yet of a picture that can be seen.
    const before = await eventually(`${this.name} has statistics of ${name}`, () => this.reception(name, source));
    await eventually(
      `${this.name} decodes further frames of ${name}, after ${before.framesDecoded}`,
      async () => (await this.reception(name, source)).framesDecoded,
      (frames) => frames > before.framesDecoded + 5 || frames < before.framesDecoded,
    );
  }

  /**
   * Waits until exactly these tones are heard.
   *
   * @param {number[]} tones in Hz, ascending
   */
  async hears(tones) {
    const wanted = JSON.stringify(tones);
    await eventually(`${this.name} hears ${wanted} Hz`, () => probe.tonesHeard(this), (heard) => JSON.stringify(heard) === wanted);
  }

  /**
   * @param {any} body
   * @param {any} [argument]
   * @returns {Promise<any>}
   */
  evaluate(body, argument) {
    return /** @type {probe.Evaluates} */ (this.page).evaluate(body, argument);
  }

  /** What this person saw, for the output of a failed test. */
  async account() {
    const media = await probe.mediaReport(this).catch((error) => `no report: ${error.message}`);
    const page = await this.evaluate(describePage).catch((/** @type {Error} */ error) => `no page: ${error.message}`);
    return [`--- ${this.name}`, page, media, ...this.frames.slice(-30), ...this.console.slice(-15), ...this.faults].join('\n');
  }

  close() {
    return this.page.close();
  }

  /**
   * @param {string} direction
   * @param {string} frame
   */
  #record(direction, frame) {
    // These come several times a second and say little; the first ones carry secrets and whole session descriptions.
    if (/"t":"(speakers|ping|pong)"/.test(frame)) return;
    const words = /"t":"(join|joined|resume|resumed|offer|answer|token)"/.exec(frame)?.[1] ?? frame.slice(0, 400);
    this.frames.push(`${new Date().toISOString().slice(17, 23)} ${direction} ${words}`);
  }
}

// What follows runs inside the page: each function stands alone.

/** @param {string} selector */
function isShown(selector) {
  const found = document.querySelector(selector);
  return found !== null && found.checkVisibility();
}

/** @param {{ selector: string, attribute: string }} _ */
function attributeOf({ selector, attribute }) {
  const found = document.querySelector(selector);
  if (!found) throw new Error(`no ${selector}`);
  return found.getAttribute(attribute);
}

/** @param {string} selector */
function textOf(selector) {
  const found = document.querySelector(selector);
  if (!found) throw new Error(`no ${selector}`);
  return found.textContent?.trim() ?? '';
}

/** @param {string} selector */
function textsOf(selector) {
  return [...document.querySelectorAll(selector)].map((found) => found.textContent?.trim() ?? '');
}

/** @param {{ name: string, source: string }} _ */
function findTile({ name, source }) {
  for (const tile of document.querySelectorAll(`[data-test="tile"][data-source="${source}"]`)) {
    const label = tile.querySelector('[data-test="tile-name"]')?.textContent ?? '';
    if (label.includes(name)) return { peer: tile.getAttribute('data-peer') };
  }
  return null;
}

function tileNames() {
  return [...document.querySelectorAll('[data-test="tile"] [data-test="tile-name"]')].map((label) => label.textContent?.trim() ?? '');
}

function describePage() {
  const attributes = (/** @type {Element} */ found) =>
    [...found.attributes]
      .filter(({ name }) => name.startsWith('data-'))
      .map(({ name, value }) => `${name.slice(5)}=${value}`)
      .join(' ');
  const interesting = '[data-test="status-pill"], [data-test="error-box"], [data-test="player"], [data-test="broadcast"], [data-test="tile"], [data-test="toast"], [data-test="left"]';
  return [location.href, ...[...document.querySelectorAll(interesting)].map(attributes)].join('\n');
}
