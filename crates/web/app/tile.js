/** One tile: a person's camera, or a screen that somebody shares. */
import { elementOf, part, setAttributes } from './dom.js';

/**
 * @typedef {import('../client/index.js').Room} Room
 * @typedef {import('../client/roster.js').Participant} Participant
 *
 * @typedef {object} TileModel
 * @property {string} key
 * @property {'camera' | 'screen'} source
 * @property {Participant} participant
 * @property {string | null} track id of the video track, if there is one
 * @property {MediaStreamTrack | null} local the own picture, on own tiles
 * @property {boolean} microphoneOff
 */

/** A shared screen keeps its place when bandwidth is short. */
const SCREEN_PRIORITY = 200;
const CAMERA_PRIORITY = 100;

/** @type {Record<string, string>} */
const NOTES = {
  no_bandwidth: 'Paused: the connection is slow',
  no_common_codec: 'This browser cannot show this picture',
  publisher_gone: 'Connection lost',
  no_keyframe: 'No picture is coming in',
  away: 'Reconnecting…',
};

export class Tile {
  root = elementOf('tile-part');
  #video;
  #room;
  /** Id of the attached track. @type {string | null} */
  #attached = null;

  /** @param {Room} room */
  constructor(room) {
    this.#room = room;
    const video = /** @type {HTMLVideoElement} */ (this.root.querySelector('video'));
    this.#video = video;
    // A person who stands upright in a wide tile would lose the head.
    video.addEventListener('resize', () => this.root.classList.toggle('upright', video.videoHeight > video.videoWidth));
  }

  /** @param {TileModel} model */
  update(model) {
    const { participant, source } = model;
    const name = participant.local ? `${participant.name} (you)` : participant.name;
    const label = source === 'screen' ? `${participant.name}: screen` : name;
    setAttributes(this.root, {
      'data-peer': participant.id,
      'data-identity': participant.identity,
      'data-track': model.track ?? '',
      'data-source': source,
      'data-local': String(participant.local),
      'data-muted': String(model.microphoneOff),
      'aria-label': label,
    });
    this.root.classList.toggle('is-muted', model.microphoneOff);
    this.root.classList.toggle('is-weak', source === 'camera' && (participant.quality?.score ?? 5) <= 2);
    part(this.root, 'tile-name', HTMLElement).textContent = label;
    const avatar = part(this.root, 'tile-avatar', HTMLElement);
    avatar.textContent = initials(participant.name);
    avatar.style.setProperty('--hue', String(hue(participant.identity)));
    if (participant.local) this.#showLocal(model);
    else this.#showRemote(model);
  }

  /** @param {boolean} speaking */
  setSpeaking(speaking) {
    setAttributes(this.root, { 'data-speaking': String(speaking) });
  }

  close() {
    this.#room.detach(this.#video);
    this.#video.srcObject = null;
    this.root.remove();
  }

  /** @param {TileModel} model */
  #showLocal({ local, source }) {
    const shown = /** @type {MediaStream | null} */ (this.#video.srcObject)?.getVideoTracks()[0] ?? null;
    if (shown !== local) this.#video.srcObject = local && new MediaStream([local]);
    const mirrored = source === 'camera' && local?.getSettings().facingMode !== 'environment';
    this.root.classList.toggle('mirrored', mirrored);
    this.#setState(local ? 'live' : 'avatar', 'local');
  }

  /** @param {TileModel} model */
  #showRemote({ track, source, participant }) {
    if (!track) {
      if (this.#attached) this.#room.detach(this.#video);
      this.#attached = null;
      this.#setState('avatar', participant.away ? 'away' : '');
      return;
    }
    if (track === this.#attached) return;
    this.#attached = track;
    this.#room.attach(track, this.#video, {
      priority: source === 'screen' ? SCREEN_PRIORITY : CAMERA_PRIORITY,
      onState: (state, why) => this.#setState(state, why),
    });
  }

  /**
   * @param {string} state
   * @param {string} why
   */
  #setState(state, why) {
    setAttributes(this.root, { 'data-state': state, 'data-why': why });
    const note = NOTES[why] ?? '';
    part(this.root, 'tile-note', HTMLElement).textContent = note;
    // Small tiles have no room for it.
    this.root.title = note;
  }
}

/** @param {string} name */
function initials(name) {
  const words = name.trim().split(/\s+/).filter(Boolean);
  const letters = words.length > 1 ? [words[0], words[words.length - 1]] : words;
  return letters.map((word) => [...word][0]).join('').toUpperCase() || '·';
}

/** The same person has the same colour everywhere. @param {string} identity */
function hue(identity) {
  let hash = 7;
  for (const letter of identity) hash = (hash * 31 + (letter.codePointAt(0) ?? 0)) % 3600;
  return hash % 360;
}
