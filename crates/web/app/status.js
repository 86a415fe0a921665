/** The pill that shows the state of the connection. */
import { part, setAttributes } from './dom.js';

/** @typedef {import('../client/peer.js').MediaState} State */

export class Status {
  #pill;
  #stop;

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
