/** The page that broadcasts to a room. */
import { WhipPublisher } from '../client/index.js';
import { BroadcastSource } from './broadcast-source.js';
import { makeCopyButton } from './copy-link.js';
import { DeviceMenus } from './device-menus.js';
import { part, setAttributes, setIcon, setPressed } from './dom.js';
import { mediaFailures, showFailures } from './failures.js';
import { LocalMedia } from './local-media.js';
import { Meter } from './meter.js';
import { recallInTab, rememberInTab } from './preferences.js';
import { SentLayers } from './sent-layers.js';
import { endpointOf, readStreamPlace, watchLink } from './stream-place.js';
import { toast } from './toast.js';

/**
 * @typedef {'off' | 'connecting' | 'live' | 'reconnecting'} BroadcastState
 * @typedef {import('./failures.js').Failure} Failure
 */

const TOGGLES = /** @type {const} */ ([
  ['microphone', 'mic-toggle', 'mic', 'mic-off'],
  ['camera', 'cam-toggle', 'cam', 'cam-off'],
]);
const MAX_NAME = 60;
const IDENTITY = 'broadcast';

class BroadcastPage {
  #root = part(document, 'broadcast', HTMLElement);
  #place = readStreamPlace();
  #media;
  #source;
  #meter = new Meter(part(document, 'mic-level', HTMLElement));
  #sent = new SentLayers(part(document, 'sent', HTMLElement));
  /** @type {WhipPublisher | null} */
  publisher = null;
  /** @type {Failure | null} */
  #failure = null;
  #liveSince = 0;

  constructor() {
    const { room, query } = this.#place;
    document.title = `${room}: go live · Madang`;
    part(document, 'room-name', HTMLElement).textContent = room;
    makeCopyButton(part(document, 'copy-link', HTMLButtonElement), watchLink(room));
    this.#media = new LocalMedia({
      microphone: query.get('mic') !== '0',
      camera: query.get('cam') !== '0',
      stereo: query.get('stereo') === '1',
      cameraOptions: { width: positive(query, 'width'), height: positive(query, 'height'), frameRate: positive(query, 'fps') },
    });
    this.#source = new BroadcastSource(this.#media);
    this.#preset('codec-select', query.get('codec'));
    this.#preset('layers-select', query.get('layers'));
    this.#preset('bitrate-select', query.get('bitrate'));
    new DeviceMenus(part(document, 'device-menus', HTMLElement), this.#media, () => {});
    this.#wire();
    this.#render();
    this.#media.open();
  }

  #wire() {
    for (const [kind, name] of TOGGLES) {
      part(document, name, HTMLButtonElement).addEventListener('click', () => {
        // After a failure, a click means another try.
        this.#media.set(kind, this.#media.errors[kind] ? true : !this.#media.wanted[kind]);
        this.#render();
      });
    }
    const screen = part(document, 'screen-toggle', HTMLButtonElement);
    screen.hidden = !navigator.mediaDevices || !('getDisplayMedia' in navigator.mediaDevices);
    screen.addEventListener('click', () => this.#source.toggleScreen());
    this.#source.on('change', () => this.#sourceChanged());
    this.#source.on('failed', ({ title, remedy }) => toast(`${title}.`, remedy, 'error'));
    part(document, 'entrance', HTMLFormElement).addEventListener('submit', (event) => {
      event.preventDefault();
      if (this.publisher) this.#stop();
      else this.#goLive();
    });
    setInterval(() => this.#tick(), 1_000);
  }

  #goLive() {
    const { audio, video } = this.#source;
    if (!audio && !video) {
      this.#explain({ code: 'nothing', title: 'There is nothing to broadcast', remedy: 'Turn on the camera or the microphone, or share a screen.' });
      return;
    }
    this.#failure = null;
    const { room, token, query } = this.#place;
    const who = { participant: query.get('participant') ?? ownIdentity(), name: query.get('name')?.slice(0, MAX_NAME) ?? null };
    const publisher = new WhipPublisher({
      url: endpointOf('whip', room, { ...who, screen: this.#source.sharesScreen ? '1' : null }),
      token,
      audio,
      video,
      stereo: this.#media.stereo,
      codec: /** @type {import('../client/codecs.js').VideoCodec} */ (valueOf('codec-select')),
      maxBitrate: Number(valueOf('bitrate-select')) || undefined,
      // A shared text needs all its pixels; smaller ones cannot be read.
      simulcast: valueOf('layers-select') === 'many' && !this.#source.sharesScreen,
    });
    this.publisher = publisher;
    publisher.on('state', (state) => {
      if (state === 'connected') [this.#liveSince, this.#failure] = [this.#liveSince || Date.now(), null];
      this.#render();
    });
    // Another attempt follows; until one succeeds, this is why there is no broadcast.
    publisher.on('failed', (error) => {
      if (this.publisher === publisher) this.#explain(error);
    });
    publisher.on('closed', (error) => {
      if (this.publisher !== publisher) return;
      this.#stop();
      if (error) this.#explain(error);
    });
    publisher.start();
    this.#render();
  }

  #stop() {
    const publisher = this.publisher;
    this.publisher = null;
    this.#liveSince = 0;
    publisher?.close();
    this.#sent.clear();
    this.#render();
  }

  #sourceChanged() {
    const { audio, video } = this.#source;
    this.publisher?.replaceTrack('video', video);
    this.publisher?.replaceTrack('audio', audio);
    this.#render();
  }

  /** @param {Failure} failure */
  #explain(failure) {
    this.#failure = failure;
    this.#render();
  }

  async #tick() {
    const { publisher } = this;
    if (!publisher) return;
    this.#showTime();
    this.#sent.show(await publisher.stats());
  }

  /** @returns {BroadcastState} */
  get #state() {
    if (!this.publisher) return 'off';
    if (this.publisher.state === 'connected') return 'live';
    return this.#liveSince ? 'reconnecting' : 'connecting';
  }

  #render() {
    const state = this.#state;
    setAttributes(this.#root, { 'data-state': state });
    part(document, 'on-air-words', HTMLElement).textContent = { off: '', connecting: 'Connecting…', live: 'Live', reconnecting: 'Reconnecting…' }[state];
    part(document, 'headline', HTMLElement).textContent = state === 'off' ? 'Ready to go live?' : state === 'live' ? 'You are live' : 'One moment…';
    part(document, 'live-button', HTMLButtonElement).textContent = this.publisher ? 'Stop' : 'Go live';
    const settings = part(document, 'settings', HTMLFieldSetElement);
    settings.disabled = this.publisher !== null;
    this.#showTime();
    this.#renderSource();
    this.#renderError();
  }

  #showTime() {
    const time = part(document, 'on-air-time', HTMLElement);
    const seconds = this.#liveSince ? Math.floor((Date.now() - this.#liveSince) / 1000) : 0;
    const two = (/** @type {number} */ number) => String(number).padStart(2, '0');
    const hours = Math.floor(seconds / 3600);
    time.textContent = this.#liveSince ? `${hours ? `${hours}:` : ''}${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}` : '';
  }

  #renderSource() {
    const { video, sharesScreen } = this.#source;
    const { wanted, errors, tracks } = this.#media;
    for (const [kind, name, on, off] of TOGGLES) {
      const button = part(document, name, HTMLButtonElement);
      setPressed(button, wanted[kind] && !errors[kind], on, off);
      button.classList.toggle('failed', errors[kind] !== null);
    }
    setPressed(part(document, 'screen-toggle', HTMLButtonElement), sharesScreen, 'screen');
    this.#meter.listenTo(tracks.microphone);
    const preview = part(document, 'preview', HTMLVideoElement);
    const shown = /** @type {MediaStream | null} */ (preview.srcObject)?.getVideoTracks()[0] ?? null;
    if (shown !== video) preview.srcObject = video && new MediaStream([video]);
    const mirrored = !sharesScreen && video?.getSettings().facingMode === 'user';
    setAttributes(preview, { 'data-state': video ? 'live' : 'off', 'data-source': sharesScreen ? 'screen' : 'camera', 'data-mirrored': String(mirrored) });
    const empty = part(document, 'preview-empty', HTMLElement);
    setIcon(empty, wanted.camera && !errors.camera ? 'cam' : 'cam-off');
    const words = empty.querySelector('span');
    if (words) words.textContent = errors.camera ? 'No camera' : wanted.camera ? 'Starting the camera…' : 'Camera is off';
  }

  #renderError() {
    const failures = mediaFailures(this.#media.errors);
    showFailures(this.#root, this.#failure ? [this.#failure, ...failures] : failures);
  }

  /** @param {string} name @param {string | null} value */
  #preset(name, value) {
    const select = part(document, name, HTMLSelectElement);
    if ([...select.options].some((option) => option.value === value)) select.value = value ?? '';
  }
}

/** @param {string} name of a menu */
function valueOf(name) {
  return part(document, name, HTMLSelectElement).value;
}

/** @param {URLSearchParams} query @param {string} name */
function positive(query, name) {
  const number = Number(query.get(name));
  return number > 0 ? number : undefined;
}

/**
 * Who this tab is where no token says it: the same after a reload, so that its viewers go on, and another one in another tab.
 */
function ownIdentity() {
  const known = recallInTab(IDENTITY) || `broadcast-${crypto.getRandomValues(new Uint32Array(1))[0].toString(16).padStart(8, '0')}`;
  rememberInTab(IDENTITY, known);
  return known;
}

/** For tests and for the console. */
Object.assign(window, { madang: new BroadcastPage() });
