/** What the publisher of the client library does with a connection, without one. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Publisher } from '../client/publisher.js';

test('a microphone that is still being attached keeps its own rate', async () => {
  /** @type {RTCRtpSendParameters[]} */
  const limited = [];
  /** The track comes later: browsers attach it in a task of their own. */
  const sender = {
    track: null,
    replaceTrack: async () => {},
    getParameters: () => ({ codecs: [], encodings: [{}] }),
    setParameters: async (/** @type {RTCRtpSendParameters} */ parameters) => limited.push(parameters),
  };
  const peer = { senders: { microphone: { mid: '0', sender }, camera: { mid: '1', sender } }, setStereo: async () => {} };
  const publisher = new Publisher(() => {});
  await publisher.bind(/** @type {any} */ (peer), /** @type {any} */ (async () => ({ tracks: [{ id: 't1' }] })));
  const track = { kind: 'audio', enabled: true, stop() {}, getSettings: () => ({}) };
  await publisher.publish('microphone', /** @type {any} */ (track));
  assert.equal(publisher.active.get('microphone')?.id, 't1');
  assert.deepEqual(limited, []);
  publisher.stop();
});
