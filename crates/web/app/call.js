/** The page in a call. */
import { Chat } from './chat.js';
import { Controls } from './controls.js';
import { makeCopyButton } from './copy-link.js';
import { DeviceMenus } from './device-menus.js';
import { elementOf, part, setAttributes, setIcon } from './dom.js';
import { Grid } from './grid.js';
import { linkTo } from './place.js';
import { recall, remember } from './preferences.js';
import { StatsOverlay } from './stats-overlay.js';
import { Status } from './status.js';
import { toast } from './toast.js';

/** @typedef {import('../client/index.js').Room} Room */

export class CallPage {
  root = elementOf('call-page');
  #room;
  /** @type {Array<{close(): void}>} */
  #parts;
  #stops;
  /** @type {(event: KeyboardEvent) => void} */
  #onKey;

  /**
   * @param {Room} room
   * @param {string} roomName
   * @param {import('./local-media.js').LocalMedia} media
   */
  constructor(room, roomName, media) {
    this.#room = room;
    const { root } = this;
    part(root, 'room-name', HTMLElement).textContent = roomName;
    makeCopyButton(part(root, 'copy-link', HTMLButtonElement), linkTo(roomName));
    makeCopyButton(part(root, 'invite-link', HTMLButtonElement), linkTo(roomName));
    const chat = new Chat(root, room);
    const stats = new StatsOverlay(root, room);
    const controls = new Controls(root, room, media);
    const menus = new DeviceMenus(part(root, 'device-menus', HTMLElement), media, (deviceId) => room.setSpeaker(deviceId));
    this.#parts = [new Status(root, room), chat, stats, controls, menus];
    this.#wireSettings();
    this.#stops = [
      room.on('participants', ({ added, removed }) => this.#showCount(added, removed)),
      room.on('audioblocked', () => this.#showHear()),
      room.on('reconnected', () => toast('You are back in the call.')),
    ];
    // Who speaks to a computer, or shakes, presses keys by accident (WCAG 2.2, 2.1.4).
    const wanted = part(root, 'shortcuts', HTMLInputElement);
    wanted.checked = recall('shortcuts') !== 'off';
    wanted.addEventListener('change', () => remember('shortcuts', wanted.checked ? 'on' : 'off'));
    this.#onKey = shortcuts(wanted, {
      m: () => controls.toggleMicrophone(),
      v: () => controls.toggleCamera(),
      c: () => chat.toggle(),
      s: () => stats.toggle(),
    });
    document.addEventListener('keydown', this.#onKey);
    part(root, 'hear-button', HTMLButtonElement).addEventListener('click', () => room.startAudio());
    if (recall('speaker')) room.setSpeaker(recall('speaker'));
    this.#showCount([], []);
    this.#showHear();
  }

  /** Once the page is in the document, where tiles have sizes. */
  shown() {
    this.#parts.push(new Grid(part(this.root, 'grid', HTMLElement), this.#room));
  }

  close() {
    document.removeEventListener('keydown', this.#onKey);
    for (const stop of this.#stops) stop();
    for (const one of this.#parts) one.close();
  }

  #wireSettings() {
    const dialog = part(this.root, 'settings', HTMLDialogElement);
    const button = part(this.root, 'settings-button', HTMLButtonElement);
    setIcon(button, 'settings');
    button.addEventListener('click', () => dialog.showModal());
  }

  /**
   * @param {{name: string}[]} added
   * @param {{name: string}[]} removed
   */
  #showCount(added, removed) {
    const count = this.#room.participants.size + 1;
    const shown = part(this.root, 'participant-count', HTMLElement);
    setAttributes(shown, { 'data-count': String(count), 'aria-label': `${count} in the call` });
    const number = shown.querySelector('span');
    if (number) number.textContent = String(count);
    // A crowd that comes at once, as after a restart of the server, is not announced one by one.
    if (added.length + removed.length > 2) return;
    for (const { name } of added) toast(`${name} joined`);
    for (const { name } of removed) toast(`${name} left`);
  }

  #showHear() {
    part(this.root, 'hear-button', HTMLButtonElement).hidden = !this.#room.audioBlocked;
  }
}

/**
 * Keys that work where they are wanted, unless something is being typed.
 * @param {HTMLInputElement} wanted
 * @param {Record<string, () => unknown>} actions
 * @returns {(event: KeyboardEvent) => void}
 */
function shortcuts(wanted, actions) {
  return (event) => {
    const { key, target, ctrlKey, metaKey, altKey, repeat } = event;
    const typing = target instanceof Element && target.closest('input, textarea, select, dialog, [contenteditable]');
    const action = actions[key.toLowerCase()];
    if (!wanted.checked || !action || typing || ctrlKey || metaKey || altKey || repeat) return;
    event.preventDefault();
    action();
  };
}
