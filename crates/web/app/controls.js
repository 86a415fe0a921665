/** The buttons and keys of a call: microphone, camera, screen, leave. */
import { explainMediaError, openScreen } from '../client/index.js';
import { part, setIcon, setPressed } from './dom.js';
import { toast, toastError } from './toast.js';

/**
 * @typedef {import('../client/index.js').Room} Room
 * @typedef {import('./local-media.js').LocalMedia} LocalMedia
 * @typedef {import('./local-media.js').Kind} Kind
 */

export class Controls {
  #root;
  #room;
  #media;
  #stops;

  /**
   * @param {HTMLElement} root
   * @param {Room} room
   * @param {LocalMedia} media
   */
  constructor(root, room, media) {
    this.#root = root;
    this.#room = room;
    this.#media = media;
    this.#onClick('mute-button', () => this.toggleMicrophone());
    this.#onClick('camera-button', () => this.toggleCamera());
    this.#onClick('screen-button', () => this.#toggleScreen());
    this.#onClick('leave-button', () => room.leave());
    setIcon(part(root, 'leave-button', HTMLButtonElement), 'leave');
    part(root, 'screen-button', HTMLButtonElement).hidden = !navigator.mediaDevices || !('getDisplayMedia' in navigator.mediaDevices);
    this.#stops = [
      media.on('change', (kind) => this.#publish(kind)),
      media.on('failed', ({ words }) => toast(`${words.title}.`, words.remedy, 'error')),
      room.on('publications', () => this.#render()),
      room.on('muted', ({ source }) => this.#mutedByAdmin(source)),
      room.on('refused', (error) => this.#refused(error)),
    ];
    this.#render();
    // What was opened while the room was being joined.
    this.#publish('microphone');
    this.#publish('camera');
  }

  toggleMicrophone() {
    const publication = this.#room.publications.get('microphone');
    if (!this.#media.tracks.microphone || !publication) return this.#media.set('microphone', true);
    return this.#room.setMuted('microphone', !publication.muted);
  }

  toggleCamera() {
    return this.#media.set('camera', this.#media.tracks.camera === null);
  }

  close() {
    for (const stop of this.#stops) stop();
  }

  async #toggleScreen() {
    if (this.#room.publications.has('screen')) return this.#room.unpublishScreen();
    let screen;
    try {
      screen = await openScreen();
    } catch (error) {
      const { title, remedy } = explainMediaError(error, 'screen');
      toast(`${title}.`, remedy, 'error');
      return;
    }
    await this.#room.publishScreen(screen);
  }

  /**
   * Brings a device that was opened, closed or lost to the room.
   * @param {Kind} kind
   */
  async #publish(kind) {
    const track = this.#media.tracks[kind];
    const publication = this.#room.publications.get(kind);
    try {
      if (track && publication?.track !== track) {
        const { stereo } = this.#media;
        await (kind === 'camera' ? this.#room.publishCamera(track) : this.#room.publishMicrophone(track, { stereo }));
      } else if (!track && publication?.track) {
        await (kind === 'camera' ? this.#room.setMuted('camera', true) : this.#room.unpublish('microphone'));
      }
    } catch (error) {
      await this.#refused(error);
    }
  }

  /** @param {import('../client/protocol.js').Source} source */
  async #mutedByAdmin(source) {
    if (source === 'camera') await this.#media.set('camera', false);
    toast(`Your ${source.replace('_', ' ')} was switched off by the host.`);
  }

  /** @param {unknown} error */
  async #refused(error) {
    toastError(error);
    // A device that nobody is sent must not stay on.
    for (const kind of /** @type {Kind[]} */ (['camera', 'microphone'])) {
      if (!this.#room.publications.has(kind)) await this.#media.set(kind, false);
    }
  }

  #render() {
    const { publications } = this.#room;
    const microphone = publications.get('microphone');
    const camera = publications.get('camera');
    setPressed(part(this.#root, 'mute-button', HTMLButtonElement), !!microphone && !microphone.muted, 'mic', 'mic-off');
    setPressed(part(this.#root, 'camera-button', HTMLButtonElement), !!camera && !camera.muted, 'cam', 'cam-off');
    setPressed(part(this.#root, 'screen-button', HTMLButtonElement), publications.has('screen'), 'screen');
  }

  /**
   * @param {string} name
   * @param {() => unknown} action
   */
  #onClick(name, action) {
    part(this.#root, name, HTMLButtonElement).addEventListener('click', async () => {
      try {
        await action();
      } catch (error) {
        toastError(error);
      }
    });
  }
}
