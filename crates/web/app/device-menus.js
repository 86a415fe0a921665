/** The menus of microphones, cameras and loudspeakers; they follow what is plugged in. */
import { listDevices, watchDevices } from '../client/index.js';
import { copyOf, element, part } from './dom.js';
import { recall, remember } from './preferences.js';

export class DeviceMenus {
  #media;
  #selects;
  #speakerField;
  #stops;

  /**
   * @param {HTMLElement} place
   * @param {import('./local-media.js').LocalMedia} media
   * @param {(deviceId: string) => void} onSpeaker
   */
  constructor(place, media, onSpeaker) {
    this.#media = media;
    place.replaceChildren(copyOf('device-menus-part'));
    this.#selects = {
      microphone: part(place, 'mic-select', HTMLSelectElement),
      camera: part(place, 'cam-select', HTMLSelectElement),
      speaker: part(place, 'speaker-select', HTMLSelectElement),
    };
    this.#speakerField = part(place, 'speaker-field', HTMLElement);
    for (const kind of /** @type {const} */ (['microphone', 'camera'])) {
      const select = this.#selects[kind];
      select.addEventListener('change', () => media.choose(kind, select.value));
    }
    this.#selects.speaker.addEventListener('change', () => {
      remember('speaker', this.#selects.speaker.value);
      onSpeaker(this.#selects.speaker.value);
    });
    this.#stops = [watchDevices(() => this.#changed()), media.on('change', () => this.refresh())];
    this.refresh();
  }

  close() {
    for (const stop of this.#stops) stop();
  }

  async refresh() {
    // A page that is not secure has no devices at all; the error beside the menus says so.
    const { cameras, microphones, speakers } = await listDevices().catch(() => ({ cameras: [], microphones: [], speakers: [] }));
    fill(this.#selects.microphone, microphones, this.#media.deviceId('microphone'), 'microphone');
    fill(this.#selects.camera, cameras, this.#media.deviceId('camera'), 'camera');
    fill(this.#selects.speaker, speakers, recall('speaker'), 'loudspeaker');
    this.#speakerField.hidden = speakers.length === 0 || !('setSinkId' in HTMLMediaElement.prototype);
  }

  async #changed() {
    await this.refresh();
    // What was missing may have been plugged in.
    const { errors } = this.#media;
    if (errors.camera?.name === 'NotFoundError' || errors.microphone?.name === 'NotFoundError') await this.#media.open();
  }
}

/**
 * @param {HTMLSelectElement} select
 * @param {MediaDeviceInfo[]} devices
 * @param {string} chosen
 * @param {string} what
 */
function fill(select, devices, chosen, what) {
  const options = devices.map(({ deviceId, label }, n) => element('option', { value: deviceId }, label || `${what} ${n + 1}`));
  select.replaceChildren(...(options.length > 0 ? options : [element('option', { value: '' }, `No ${what} yet`)]));
  select.disabled = options.length < 1;
  if (devices.some(({ deviceId }) => deviceId === chosen)) select.value = chosen;
}
