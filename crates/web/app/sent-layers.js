/** The table of what a broadcast sends: one row for each layer. */
import { element, part } from './dom.js';

export class SentLayers {
  #root;

  /** @param {HTMLElement} root */
  constructor(root) {
    this.#root = root;
  }

  clear() {
    this.#root.hidden = true;
    part(this.#root, 'layers', HTMLElement).replaceChildren();
  }

  /** @param {import('../client/whip.js').PublisherStats} stats */
  show({ layers, audioBps, rttMs }) {
    const video = layers.reduce((sum, { bps }) => sum + (bps ?? 0), 0);
    part(this.#root, 'layers', HTMLElement).replaceChildren(...layers.map(row));
    const words = [
      `${kilobits(video + (audioBps ?? 0))} kbit/s in all`,
      ...(audioBps === null ? [] : [`sound ${kilobits(audioBps)}`]),
      ...(rttMs === null ? [] : [`round trip ${rttMs.toFixed(0)} ms`]),
    ];
    part(this.#root, 'sent-total', HTMLElement).textContent = words.join(' · ');
    this.#root.hidden = false;
  }
}

/** @param {import('../client/whip.js').LayerStats} layer */
function row({ rid, width, height, fps, bps, codec, limitedBy }) {
  const name = [rid, codec?.toUpperCase()].filter(Boolean).join(' · ') || '–';
  const size = width && height ? `${width}×${height}` : '–';
  const limit = limitedBy ?? (bps ? '–' : 'not sent');
  const cells = [name, size, fps?.toFixed(0) ?? '–', bps === null ? '–' : kilobits(bps), limit];
  const attributes = { 'data-test': 'layer-row', 'data-rid': rid ?? '', 'data-height': String(height ?? ''), 'data-sending': String(Boolean(bps)) };
  return element('tr', attributes, ...cells.map((cell) => element('td', {}, cell)));
}

/** @param {number} bps */
function kilobits(bps) {
  return (bps / 1000).toFixed(0);
}
