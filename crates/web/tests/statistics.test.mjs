/** The statistics overlay has figures from the first one that it shows. */
import assert from 'node:assert/strict';
import { before } from 'node:test';
import { Call } from './support/call.mjs';
import { COLOURS } from './support/media.mjs';
import { element } from './support/participant.mjs';
import { eventually } from './support/wait.mjs';

const CAMERA = 'width=320&height=180';

const call = new Call();
/** @type {import('./support/call.mjs').Browser} */ let red;
/** @type {import('./support/call.mjs').Browser} */ let blue;

before(async () => {
  [red, blue] = await Promise.all([call.chromium({ colour: COLOURS.red, hertz: 500 }), call.chromium({ colour: COLOURS.blue, hertz: 700 })]);
});

call.story('every row has its bitrate and loss from the first moment', async () => {
  const ada = await call.enter(red, 'Ada', { query: CAMERA });
  const bea = await call.enter(blue, 'Bea', { query: CAMERA });
  await ada.seesPicture('Bea', 'blue');
  await ada.hears([700]);

  /** @type {Row[]} */
  const rows = await ada.evaluate(firstRows, { button: element('stats-button'), overlay: element('stats-overlay'), row: element('stats-row') });
  const live = rows.filter(({ cells }) => cells.why === 'live' || (cells.from?.includes('microphone') ?? false));
  assert.equal(live.length, 2, JSON.stringify(rows));
  for (const { cells } of live) {
    assert.match(cells['kbit/s'] ?? '', /^[1-9]\d*$/, JSON.stringify(cells));
    assert.match(cells.loss ?? '', /^\d+\.\d %$/, JSON.stringify(cells));
  }
  const sending = rows.filter(({ cells }) => cells.what === 'microphone');
  assert.match(sending[0]?.cells['kbit/s'] ?? '', /^[1-9]\d*$/);

  // What begins while the overlay is open has its figures as soon as it has a row.
  await bea.click('screen-button');
  const screen = await eventually(
    'the screen has a row',
    () => ada.evaluate(rowsShown, { overlay: element('stats-overlay'), row: element('stats-row') }),
    (shown) => shown.some((/** @type {Row} */ { cells }) => cells.from?.includes('screen') && cells.why === 'live'),
  );
  const { cells } = screen.find((/** @type {Row} */ row) => row.cells.from?.includes('screen'));
  assert.match(cells['kbit/s'] ?? '', /^\d+$/, JSON.stringify(cells));
});

/** @typedef {{ cells: Record<string, string> }} Row the cells by the heads of their columns */

// What follows runs inside the page.

/**
 * Opens the overlay and reads the very first table.
 *
 * @param {{ button: string, overlay: string, row: string }} _
 * @returns {Promise<Row[]>}
 */
function firstRows({ button, overlay, row }) {
  const panel = /** @type {HTMLElement} */ (document.querySelector(overlay));
  const shown = new Promise((resolve) => {
    new MutationObserver((_, observer) => {
      const found = [...panel.querySelectorAll(row)];
      if (found.length === 0) return;
      observer.disconnect();
      resolve(
        found.map((each) => {
          const heads = [...(each.closest('table')?.querySelectorAll('th') ?? [])].map((head) => head.textContent ?? '');
          return { cells: Object.fromEntries([...each.children].map((cell, n) => [heads[n], cell.textContent ?? ''])) };
        }),
      );
    }).observe(panel, { childList: true });
  });
  /** @type {HTMLElement} */ (document.querySelector(button)).click();
  return /** @type {Promise<Row[]>} */ (shown);
}

/**
 * @param {{ overlay: string, row: string }} _
 * @returns {Row[]}
 */
function rowsShown({ overlay, row }) {
  return [...document.querySelectorAll(`${overlay} ${row}`)].map((each) => {
    const heads = [...(each.closest('table')?.querySelectorAll('th') ?? [])].map((head) => head.textContent ?? '');
    return { cells: Object.fromEntries([...each.children].map((cell, n) => [heads[n], cell.textContent ?? ''])) };
  });
}
