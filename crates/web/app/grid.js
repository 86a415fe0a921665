/** The tiles of a call: screens on the stage, people in the strip, which fills everything while there is no stage. */
import { part, setAttributes } from './dom.js';
import { fit, PEOPLE, SCREENS } from './layout.js';
import { Tile } from './tile.js';

/**
 * @typedef {import('../client/index.js').Room} Room
 * @typedef {import('../client/roster.js').Participant} Participant
 * @typedef {import('./tile.js').TileModel} TileModel
 */

const GAP = 10;
/** Level, 0 to 127, from which a person counts as speaking: some 60 dB below the loudest, above the noise of a quiet room. */
const SPEAKING_LEVEL = 64;

export class Grid {
  #root;
  #stage;
  #strip;
  #room;
  /** @type {Map<string, Tile>} */
  #tiles = new Map();
  /** @type {Set<string>} */
  #speaking = new Set();
  #sizes = new ResizeObserver(() => this.#layOut());
  #stops;

  /**
   * @param {HTMLElement} root
   * @param {Room} room
   */
  constructor(root, room) {
    this.#root = root;
    this.#room = room;
    this.#stage = part(root, 'stage', HTMLElement);
    this.#strip = part(root, 'strip', HTMLElement);
    const render = () => this.render();
    this.#stops = [
      room.on('participants', render),
      room.on('tracks', render),
      room.on('publications', render),
      room.on('quality', render),
      room.on('reconnected', render),
      room.on('speakers', (speakers) => this.#setSpeakers(speakers)),
    ];
    this.#sizes.observe(this.#stage);
    this.#sizes.observe(this.#strip);
    this.render();
  }

  render() {
    const screens = this.#screens();
    const people = this.#people();
    const keys = new Set([...screens, ...people].map(({ key }) => key));
    for (const [key, tile] of this.#tiles) {
      if (keys.has(key)) continue;
      tile.close();
      this.#tiles.delete(key);
    }
    this.#stage.hidden = screens.length === 0;
    setAttributes(this.#root, { 'data-count': String(keys.size), 'data-stage': String(screens.length > 0) });
    part(this.#root, 'invitation', HTMLElement).hidden = this.#room.participants.size > 0;
    // Laid out before they are attached, so that the first view names the right sizes.
    const placed = [...this.#place(this.#stage, screens), ...this.#place(this.#strip, people)];
    this.#layOut();
    for (const [tile, model] of placed) tile.update(model);
    this.#showSpeakers();
  }

  close() {
    for (const stop of this.#stops) stop();
    this.#sizes.disconnect();
    for (const tile of this.#tiles.values()) tile.close();
  }

  /**
   * @param {HTMLElement} place
   * @param {TileModel[]} models
   * @returns {Array<[Tile, TileModel]>}
   */
  #place(place, models) {
    return models.map((model, n) => {
      const tile = this.#tiles.get(model.key) ?? new Tile(this.#room);
      this.#tiles.set(model.key, tile);
      // Moving a playing video makes it flicker: only where it is not there yet.
      if (place.children[n] !== tile.root) place.insertBefore(tile.root, place.children[n] ?? null);
      return [tile, model];
    });
  }

  /** @returns {TileModel[]} */
  #screens() {
    const own = this.#room.publications.get('screen');
    const remote = [...this.#room.tracks.values()].filter(({ source }) => source === 'screen');
    const models = remote.map(({ id, participant }) => screenModel(participant, id, null));
    return own ? [...models, screenModel(this.#room.local, own.id, own.track)] : models;
  }

  /** @returns {TileModel[]} */
  #people() {
    const remote = [...this.#room.participants.values()].map((participant) => remoteModel(participant));
    return [...remote, this.#localModel()];
  }

  /** @returns {TileModel} */
  #localModel() {
    const camera = this.#room.publications.get('camera');
    const microphone = this.#room.publications.get('microphone');
    return {
      key: 'local',
      source: 'camera',
      participant: this.#room.local,
      track: camera?.id ?? null,
      local: camera?.track ?? null,
      microphoneOff: !microphone || microphone.muted,
    };
  }

  #layOut() {
    for (const [place, shapes] of /** @type {const} */ ([[this.#stage, SCREENS], [this.#strip, PEOPLE]])) {
      const count = place.children.length;
      if (count === 0 || place.hidden) continue;
      const { width, height } = fit(count, place.clientWidth, place.clientHeight, GAP, shapes);
      place.style.setProperty('--tile-width', `${width}px`);
      place.style.setProperty('--tile-height', `${height}px`);
    }
  }

  /** @param {Participant[]} speakers */
  #setSpeakers(speakers) {
    this.#speaking = new Set(speakers.filter(({ level }) => level >= SPEAKING_LEVEL).map(({ id }) => id));
    this.#showSpeakers();
  }

  #showSpeakers() {
    for (const tile of this.#tiles.values()) {
      const { peer = '', source, muted } = tile.root.dataset;
      tile.setSpeaking(source === 'camera' && muted === 'false' && this.#speaking.has(peer));
    }
  }
}

/**
 * @param {Participant} participant
 * @param {string | null} track
 * @param {MediaStreamTrack | null} local
 * @returns {TileModel}
 */
function screenModel(participant, track, local) {
  const key = participant.local ? 'local:screen' : `${track}`;
  return { key, source: 'screen', participant, track, local, microphoneOff: false };
}

/**
 * @param {Participant} participant
 * @returns {TileModel}
 */
function remoteModel(participant) {
  const camera = participant.tracks.find(({ source }) => source === 'camera');
  const microphone = participant.tracks.find(({ source }) => source === 'microphone');
  return {
    key: participant.id,
    source: 'camera',
    participant,
    track: camera?.id ?? null,
    local: null,
    microphoneOff: !microphone || microphone.muted,
  };
}
