/** Clients of WHIP and WHEP that others have written. This runs in a page of another site, bundled; tests call `window.clients`. */
import { WebRTCPlayer } from '@eyevinn/webrtc-player';
import { WHIPClient as EyevinnWhip } from '@eyevinn/whip-web-client';
import { WHEPClient as MedoozeWhep } from 'whip-whep/whep.js';
import { WHIPClient as MedoozeWhip } from 'whip-whep/whip.js';

const CAMERA = { video: { width: 320, height: 180 }, audio: true };

const clients = {
  medooze: {
    /** @param {string} url */
    async publish(url) {
      const stream = await navigator.mediaDevices.getUserMedia(CAMERA);
      const pc = new RTCPeerConnection();
      for (const track of stream.getTracks()) pc.addTransceiver(track, { direction: 'sendonly', streams: [stream] });
      const client = new MedoozeWhip();
      await client.publish(pc, url, undefined);
      return client;
    },
    /** @param {string} url @param {HTMLVideoElement} video */
    async watch(url, video) {
      const pc = new RTCPeerConnection();
      const tracks = ['audio', 'video'].map((kind) => pc.addTransceiver(kind, { direction: 'recvonly' }).receiver.track);
      video.srcObject = new MediaStream(tracks);
      const client = new MedoozeWhep();
      await client.view(pc, url, undefined);
      return client;
    },
  },
  eyevinn: {
    /** @param {string} url */
    async publish(url) {
      const client = new EyevinnWhip({ endpoint: url, opts: { iceServers: [] } });
      await client.ingest(await navigator.mediaDevices.getUserMedia(CAMERA));
      return { stop: () => client.destroy() };
    },
    /** @param {string} url @param {HTMLVideoElement} video */
    async watch(url, video) {
      const player = new WebRTCPlayer({ video, type: 'whep', iceServers: [] });
      await player.load(new URL(url));
      return { stop: () => player.unload() };
    },
  },
};

Object.assign(window, {
  /** @param {'medooze' | 'eyevinn'} maker @param {'publish' | 'watch'} what @param {string} url */
  async runClient(maker, what, url) {
    const video = /** @type {HTMLVideoElement} */ (document.querySelector('video'));
    Object.assign(window, { client: await clients[maker][what](url, video) });
  },
});
