/** A server, browsers, and stories about people who meet on it. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { after, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { startChromium } from './chromium.mjs';
import { Participant } from './participant.mjs';
import { recordPeerConnections } from './probe.mjs';
import { Server } from './server.mjs';

/** Where pictures of pages go. */
export const SCREENSHOTS = join(
  process.env.MADANG_ARTIFACTS ?? fileURLToPath(new URL('../../../../target', import.meta.url)),
  'screenshots',
);

const STORY_SECONDS = 120;

/**
 * @typedef {object} Entrance
 * @property {string} [room] by default the room of the story
 * @property {string} [query] further parameters of the page, such as `mic=0`
 * @property {number} [port] where the page is fetched and the WebSocket goes; by default the server's
 * @property {(argument: any) => void} [beforeScripts] runs in the page before its own scripts
 * @property {any} [argument] of `beforeScripts`
 */

/** A browser of either kind. @typedef {{ newPage(): Promise<any>, close(): Promise<void> }} Browser */

export class Call {
  /** @type {Server} */
  // @ts-expect-error set before the first story
  server;
  /** @type {Browser[]} */
  #browsers = [];
  /** @type {Participant[]} */
  #present = [];
  #stories = 0;

  /**
   * Declares that the stories of this file share one server.
   *
   * @param {string[]} [options] of the server's command line
   */
  constructor(options) {
    before(async () => {
      this.server = await Server.start(options);
    });
    after(async () => {
      await Promise.all(this.#browsers.map((browser) => browser.close()));
      // There is none if it did not start, which has been told by then.
      await this.server?.dispose();
      this.server?.expectNoErrors();
    });
  }

  /**
   * Starts a Chromium that lives until the file's last story has been told.
   *
   * @param {import('./chromium.mjs').ChromiumOptions} [options]
   */
  async chromium(options) {
    const browser = await startChromium(options);
    return this.keep(browser);
  }

  /**
   * @template {Browser} B
   * @param {B} browser that is closed after the last story
   */
  keep(browser) {
    this.#browsers.push(browser);
    return browser;
  }

  /**
   * Declares one story. It has a room of its own; who entered it leaves at the end. A failure tells what everybody saw.
   *
   * @param {string} name
   * @param {() => Promise<void>} body
   */
  story(name, body) {
    test(name, async () => {
      this.#stories += 1;
      // A story that failed may have left it stopped.
      if (!this.server.isRunning) await this.server.run();
      try {
        await Promise.race([body(), expiry()]);
        for (const { name: who, faults } of this.#present) {
          if (faults.length > 0) throw new Error(`the page of ${who} threw: ${faults.join('\n')}`);
        }
        this.server.expectNoErrors();
      } catch (error) {
        throw new Error(`${/** @type {Error} */ (error).message}\n${await this.#account(name)}`, { cause: error });
      } finally {
        await Promise.all(this.#present.splice(0).map((participant) => participant.close()));
      }
    });
  }

  /** The room of the story. */
  get room() {
    return `story-${this.#stories}`;
  }

  /**
   * Opens the page before the call, in a new tab.
   *
   * @param {Browser} browser
   * @param {string} name
   * @param {Entrance} [entrance]
   */
  async arrive(browser, name, { room = this.room, query = '', port = this.server.httpPort, beforeScripts, argument } = {}) {
    const participant = await this.tab(browser, name, { beforeScripts, argument });
    await participant.open(`http://127.0.0.1:${port}/r/${room}?name=${name}&${query}`);
    return participant;
  }

  /**
   * A new tab, with nothing in it yet.
   *
   * @param {Browser} browser
   * @param {string} name
   * @param {Pick<Entrance, 'beforeScripts' | 'argument'>} [entrance]
   */
  async tab(browser, name, { beforeScripts, argument } = {}) {
    const page = await browser.newPage();
    const runFirst = (page.addInitScript ?? page.evaluateOnNewDocument).bind(page);
    await runFirst(recordPeerConnections);
    if (beforeScripts) await runFirst(beforeScripts, argument);
    const participant = new Participant(page, name);
    this.#present.push(participant);
    return participant;
  }

  /**
   * Enters the call.
   *
   * @param {Browser} browser
   * @param {string} name
   * @param {Entrance} [entrance]
   */
  async enter(browser, name, entrance) {
    const participant = await this.arrive(browser, name, entrance);
    await participant.join();
    return participant;
  }

  /** @param {string} story */
  async #account(story) {
    const accounts = [];
    for (const participant of this.#present) {
      const file = `failed-${story}-${participant.name}`.replaceAll(/[^\w-]+/g, '-');
      await screenshot(participant, file).catch(() => {});
      accounts.push(await participant.account());
    }
    return [...accounts, '--- server', this.server.tail(30)].join('\n');
  }
}

/** The runner's own time limit would end a story without a word about what was going on. */
async function expiry() {
  await delay(STORY_SECONDS * 1000, undefined, { ref: false });
  throw new Error(`the story took more than ${STORY_SECONDS} s`);
}

/**
 * @param {Participant} participant
 * @param {string} name of the file
 */
export async function screenshot(participant, name) {
  mkdirSync(SCREENSHOTS, { recursive: true });
  await participant.evaluate(untilAnimationsEnd);
  await participant.page.screenshot({ path: /** @type {`${string}.png`} */ (join(SCREENSHOTS, `${name}.png`)) });
}

// What follows runs inside the page.

async function untilAnimationsEnd() {
  const passing = document.getAnimations().filter((animation) => animation.effect?.getComputedTiming().iterations !== Infinity);
  await Promise.allSettled(passing.map((animation) => animation.finished));
}
