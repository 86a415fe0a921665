/** The statistics overlay: what is received per slot, and what is sent per layer. */
import { element, part, setAttributes, setIcon } from './dom.js';

/**
 * @typedef {import('../client/index.js').Room} Room
 * @typedef {import('../client/stats.js').RoomStats} RoomStats
 * @typedef {import('../client/stats.js').ReceivedStats} ReceivedStats
 * @typedef {import('../client/stats.js').SentStats} SentStats
 */

const INTERVAL_MS = 1_000;
/** Rates are between two readings: the second one, which is the first to be shown, comes sooner. */
const FIRST_INTERVAL_MS = 250;

/** @type {Record<string, string>} */
const WARNINGS = {
  no_keyframe_on_request: 'sends keyframes when it likes. A short interval, of 2 s or less, serves those who join.',
  b_frames: 'sends B-frames, which make pictures late or jerky here. Turn them off in the encoder.',
  h264_profile: 'is encoded in an H.264 profile that browsers may not show. Baseline, main and high are those they know.',
};

export class StatsOverlay {
  #room;
  #panel;
  #button;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /**
   * @param {HTMLElement} root
   * @param {Room} room
   */
  constructor(root, room) {
    this.#room = room;
    this.#panel = part(root, 'stats-overlay', HTMLElement);
    this.#button = part(root, 'stats-button', HTMLButtonElement);
    setIcon(this.#button, 'stats');
    this.#button.addEventListener('click', () => this.toggle());
  }

  toggle() {
    const open = this.#panel.hidden;
    this.#panel.hidden = !open;
    setAttributes(this.#button, { 'aria-pressed': String(open) });
    clearTimeout(this.#timer);
    if (!open) return;
    this.#panel.replaceChildren(element('p', { class: 'connection' }, 'Measuring…'));
    this.#read();
    this.#timer = setTimeout(() => this.#refresh(), FIRST_INTERVAL_MS);
  }

  close() {
    this.#panel.hidden = true;
    clearTimeout(this.#timer);
  }

  async #refresh() {
    const stats = await this.#read();
    if (this.#panel.hidden) return;
    if (stats) this.#show(stats);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#refresh(), INTERVAL_MS);
  }

  /** While the connection is being made anew there is nothing to read; the next second has it. */
  #read() {
    return this.#room.stats().catch(() => null);
  }

  /** @param {RoomStats} stats */
  #show({ connection, received, sent }) {
    const inUse = received.filter(({ track, packetsReceived, kind }) => track || (kind === 'audio' && packetsReceived > 0));
    this.#panel.replaceChildren(
      element('p', { class: 'connection' }, connectionWords(connection)),
      table('Receiving', ['from', 'codec', 'layer', 'size', 'fps', 'kbit/s', 'loss', 'why'], inUse.map((slot) => this.#receivedRow(slot))),
      ...this.#warnings(),
      table('Sending', ['what', 'codec', 'layer', 'size', 'fps', 'kbit/s', 'limited by', ''], sent.map(sentRow)),
    );
  }

  /** What the publishers of programs should change. */
  #warnings() {
    const tracks = [...this.#room.tracks.values()];
    return tracks.flatMap((track) =>
      track.warnings.map((warning) => element('p', { class: 'warning', 'data-test': 'stats-warning' }, `${nameOf(track)}: ${WARNINGS[warning] ?? warning}`)),
    );
  }

  /** @param {ReceivedStats} slot */
  #receivedRow(slot) {
    const track = slot.track ? this.#room.tracks.get(slot.track) : undefined;
    const who = track ? nameOf(track) : slot.kind;
    const loss = slot.loss === null ? '–' : `${(slot.loss * 100).toFixed(1)} %`;
    const cells = [who, slot.codec, slot.layer, size(slot), rounded(slot.fps), kilobits(slot.bps), loss, slot.why];
    return row(cells, { 'data-track': slot.track ?? '', 'data-mid': slot.mid, 'data-why': slot.why });
  }
}

/** @param {import('../client/roster.js').RemoteTrack} track */
function nameOf({ participant, source }) {
  return `${participant.name} · ${source.replace('_', ' ')}`;
}

/** @param {SentStats} layer */
function sentRow(layer) {
  const { source, codec, rid, active, qualityLimitationReason: reason } = layer;
  const limit = reason && reason !== 'none' ? reason : '–';
  const cells = [source.replace('_', ' '), codec, rid, size(layer), rounded(layer.fps), kilobits(layer.bps), limit, active ? '' : 'nobody watches'];
  return row(cells, { 'data-track': layer.track ?? '', 'data-mid': layer.mid ?? '' });
}

/**
 * @param {string} caption
 * @param {string[]} heads
 * @param {Node[]} rows
 */
function table(caption, heads, rows) {
  return element(
    'table',
    {},
    element('caption', {}, caption),
    element('thead', {}, element('tr', {}, ...heads.map((head) => element('th', { scope: 'col' }, head)))),
    element('tbody', {}, ...rows),
  );
}

/**
 * @param {Array<string | null>} cells
 * @param {Record<string, string>} attributes
 */
function row(cells, attributes) {
  return element('tr', { 'data-test': 'stats-row', ...attributes }, ...cells.map((cell) => element('td', {}, cell ?? '–')));
}

/** @param {import('../client/stats.js').ConnectionStats} connection */
function connectionWords({ rttMs, localCandidate, remoteCandidate, availableOutgoingBps, sentBps, receivedBps }) {
  const parts = [
    rttMs === null ? null : `round trip ${rttMs.toFixed(0)} ms`,
    `receiving ${kilobits(receivedBps)} kbit/s`,
    `sending ${kilobits(sentBps)} kbit/s`,
    availableOutgoingBps === null ? null : `room for ${kilobits(availableOutgoingBps)}`,
    localCandidate && remoteCandidate ? `${localCandidate} → ${remoteCandidate}` : null,
  ];
  return parts.filter((words) => words !== null).join(' · ');
}

/** @param {{width: number | null, height: number | null}} picture */
function size({ width, height }) {
  return width && height ? `${width}×${height}` : null;
}

/** @param {number | null} number */
function rounded(number) {
  return number === null ? null : number.toFixed(0);
}

/** @param {number | null} bps */
function kilobits(bps) {
  return bps === null ? '–' : (bps / 1000).toFixed(0);
}
