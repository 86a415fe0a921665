/** The size of tiles, and of the pictures that come for them. */
import { eventually } from './wait.mjs';

/** @typedef {import('./participant.mjs').Participant} Participant */

/**
 * @param {Participant} viewer
 * @param {string} name whose tile
 * @param {number} width
 * @param {number} height
 */
export function resizeTile(viewer, name, width, height) {
  const size = `width: ${width}px; height: ${height}px; min-width: 0; min-height: 0; flex: none; justify-self: start; align-self: start`;
  return styleTile(viewer, name, size);
}

/**
 * @param {Participant} viewer
 * @param {string} name whose tile
 * @param {string} style
 */
export async function styleTile(viewer, name, style) {
  await viewer.evaluate(setStyle, { selector: await viewer.tile(name), style });
}

/**
 * @param {Participant} viewer
 * @param {string} name whose picture
 * @param {number} height
 * @param {number} [seconds]
 */
export async function receivesHeight(viewer, name, height, seconds) {
  await eventually(
    `${viewer.name} receives ${name} with ${height} lines`,
    async () => (await viewer.reception(name)).frameHeight,
    // H.264 is made in even sizes.
    (seen) => seen === height || seen === height - 1,
    seconds,
  );
  await viewer.seesMovement(name);
}

// What follows runs inside the page.

/** @param {{ selector: string, style: string }} _ */
function setStyle({ selector, style }) {
  const found = /** @type {HTMLElement | null} */ (document.querySelector(selector));
  if (!found) throw new Error(`no ${selector}`);
  found.style.cssText = style;
}
