/** The pill that shows the state of the connection. */
import { part, setAttributes } from './dom.js';
import { toast } from './toast.js';

/** ICE tries all its pairs within this time, unless the network swallows them. */
const MEDIA_PATIENCE_MS = 12_000;

/** @typedef {import('../client/peer.js').MediaState} State */

export class Status {
  #pill;
  #stop;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #patience;

  /**
   * @param {HTMLElement} root
   * @param {import('../client/index.js').Room} room
   */
  constructor(root, room) {
    this.#pill = part(root, 'status-pill', HTMLElement);
    this.#stop = room.on('state', (states) => this.#show(states));
    this.#show({ state: room.state, signalling: room.signallingState, media: room.mediaState });
  }

  close() {
    this.#stop();
    clearTimeout(this.#patience);
  }

  /** @param {{state: State, signalling: State, media: State}} states */
  #show({ state, signalling, media }) {
    setAttributes(this.#pill, {
      'data-state': state,
      'data-signalling': signalling,
      'data-media': media,
      title: `signalling: ${signalling}, media: ${media}`,
    });
    const words = this.#pill.querySelector('span');
    if (words) words.textContent = describe(state, signalling, media);
    this.#watchMedia(signalling === 'connected' && media !== 'connected');
  }

  /** @param {boolean} blocked whether the server is there, and media is not */
  #watchMedia(blocked) {
    if (!blocked) {
      clearTimeout(this.#patience);
      this.#patience = undefined;
      return;
    }
    this.#patience ??= setTimeout(() => {
      toast('Sound and pictures do not get through.', 'The network may block UDP. Try another one, or ask whoever runs it.', 'error');
    }, MEDIA_PATIENCE_MS);
  }
}

/**
 * @param {State} state
 * @param {State} signalling
 * @param {State} media
 */
function describe(state, signalling, media) {
  switch (state) {
    case 'connected':
      return 'Connected';
    case 'connecting':
      return signalling === 'connected' ? 'Connecting media…' : 'Connecting…';
    case 'reconnecting':
      return media === 'connected' ? 'Reconnecting… you are still heard' : 'Reconnecting…';
    case 'disconnected':
      return 'Disconnected';
  }
}
