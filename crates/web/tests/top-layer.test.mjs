/** When a camera's largest layer, which its encoder has let go, is brought back; without a browser. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TopLayer } from '../client/top-layer.js';

const TOP_BPS = 2_000_000;

for (const { when, frames, inactive = [], limits } of [
  { when: 'it has stopped and a smaller one goes on', frames: [[10, 10], [20, 10], [30, 10], [40, 10]], limits: [0, -1_000, 0, -1_000] },
  { when: 'all of them go on', frames: [[10, 10], [20, 20], [30, 30]], limits: [0, 0, 0] },
  { when: 'nothing is encoded, as of a camera that is off', frames: [[10, 10], [10, 10], [10, 10]], limits: [0, 0, 0] },
  { when: 'it has never been there', frames: [[10, 0], [20, 0], [30, 0]], limits: [0, 0, 0] },
  { when: 'nobody wants it', frames: [[10, 10], [20, 10], [30, 10]], inactive: ['f'], limits: [0, 0, 0] },
  { when: 'it comes back', frames: [[10, 10], [20, 10], [30, 15], [40, 25]], limits: [0, -1_000, -1_000, -1_000] },
]) {
  test(`the limit of the largest layer where ${when}`, async () => {
    const encodings = ['h', 'f'].map((rid) => ({ rid, active: !inactive.includes(rid), maxBitrate: TOP_BPS }));
    let round = 0;
    const stats = () => (frames[round] ?? []).map((framesEncoded, layer) => ({ type: 'outbound-rtp', rid: encodings[layer]?.rid, framesEncoded }));
    const sender = {
      getParameters: () => structuredClone({ encodings }),
      setParameters: async (/** @type {any} */ parameters) => Object.assign(encodings, parameters.encodings),
      getStats: async () => new Map(stats().map((report, index) => [index, report])),
    };
    const top = new TopLayer(/** @type {any} */ (sender));
    const seen = [];
    for (; round < frames.length; round += 1) {
      await top.look();
      seen.push((encodings.at(-1)?.maxBitrate ?? 0) - TOP_BPS);
    }
    assert.deepEqual(seen, limits);
    assert.equal(encodings[0]?.maxBitrate, TOP_BPS, 'the smaller layer keeps its own');
  });
}
