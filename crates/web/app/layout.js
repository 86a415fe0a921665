/** How large tiles can be. */

/** Width by height, with how much a picture of 16:9 likes it: the more is cut off, the less. @typedef {{ratio: number, liking: number}} Shape */

/** @type {Shape[]} */
export const PEOPLE = [
  { ratio: 16 / 9, liking: 1 },
  { ratio: 4 / 3, liking: 0.9 },
  { ratio: 1, liking: 0.76 },
];

/** Of a screen nothing may be cut off. @type {Shape[]} */
export const SCREENS = [{ ratio: 16 / 9, liking: 1 }];

/**
 * The size at which this many tiles fill a box best.
 * @param {number} count
 * @param {number} width of the box
 * @param {number} height of the box
 * @param {number} gap
 * @param {Shape[]} shapes
 * @returns {{width: number, height: number}}
 */
export function fit(count, width, height, gap, shapes) {
  let best = { width: 0, height: 0, worth: -1 };
  for (let columns = 1; columns <= count; columns++) {
    const rows = Math.ceil(count / columns);
    const room = { width: (width - gap * (columns - 1)) / columns, height: (height - gap * (rows - 1)) / rows };
    for (const { ratio, liking } of shapes) {
      const w = Math.floor(Math.min(room.width, room.height * ratio));
      const h = Math.floor(w / ratio);
      const worth = w * h * liking;
      if (w > 0 && worth > best.worth) best = { width: w, height: h, worth };
    }
  }
  return best;
}
