/**
 * Cameras, microphones and screens: opening them, listing them, and explaining why that failed.
 */

/**
 * @typedef {object} CameraOptions
 * @property {string} [deviceId] a camera from {@link listDevices}
 * @property {number} [width] wanted width in pixels
 * @property {number} [height] wanted height in pixels
 * @property {number} [frameRate] wanted frames per second
 * @property {number} [aspectRatio] wanted width divided by height
 * @property {'user' | 'environment'} [facingMode] which side of a phone
 *
 * @typedef {object} MicrophoneOptions
 * @property {string} [deviceId] a microphone from {@link listDevices}
 * @property {boolean} [stereo] both channels as they are, for music; default false
 * @property {boolean} [echoCancellation] default true, in stereo false: it would leave one channel
 * @property {boolean} [noiseSuppression] default true, in stereo false: music is noise to it
 * @property {boolean} [autoGainControl] default true, in stereo false
 *
 * @typedef {{cameras: MediaDeviceInfo[], microphones: MediaDeviceInfo[], speakers: MediaDeviceInfo[]}} Devices
 * @typedef {{name: string, title: string, remedy: string}} MediaErrorWords
 */

/** @typedef {'camera' | 'microphone' | 'camera and microphone' | 'screen'} DeviceKind */

/**
 * Opens a camera. Sizes and rates are wishes: the nearest that the camera has is taken.
 * @param {CameraOptions} [options]
 * @returns {Promise<MediaStreamTrack>}
 */
export async function openCamera(options = {}) {
  const stream = await userMedia().getUserMedia({ video: cameraConstraints(options) });
  return stream.getVideoTracks()[0];
}

/**
 * Opens a microphone.
 * @param {MicrophoneOptions} [options]
 * @returns {Promise<MediaStreamTrack>}
 */
export async function openMicrophone(options = {}) {
  const stream = await userMedia().getUserMedia({ audio: microphoneConstraints(options) });
  return stream.getAudioTracks()[0];
}

/**
 * Opens both, so that the user is asked once. Where that fails, each is tried alone: one of them may be there.
 * @param {CameraOptions} camera
 * @param {MicrophoneOptions} microphone
 * @returns {Promise<{camera: MediaStreamTrack | unknown, microphone: MediaStreamTrack | unknown}>} a track each, or why there is none
 */
export async function openCameraAndMicrophone(camera, microphone) {
  try {
    const stream = await userMedia().getUserMedia({ video: cameraConstraints(camera), audio: microphoneConstraints(microphone) });
    return { camera: stream.getVideoTracks()[0], microphone: stream.getAudioTracks()[0] };
  } catch (error) {
    /** @type {(kind: 'camera' | 'microphone', open: () => Promise<MediaStreamTrack>) => Promise<unknown>} */
    const alone = async (kind, open) => {
      // Who has just said no would be asked again.
      if (isRefusal(error) && !(await isGranted(kind))) return error;
      return open().catch((/** @type {unknown} */ own) => own);
    };
    return {
      camera: await alone('camera', () => openCamera(camera)),
      microphone: await alone('microphone', () => openMicrophone(microphone)),
    };
  }
}

/**
 * Lets the user choose a screen, window or tab.
 * @returns {Promise<{video: MediaStreamTrack, audio: MediaStreamTrack | null}>}
 */
export async function openScreen() {
  const media = userMedia();
  if (!('getDisplayMedia' in media)) throw new DOMException('no getDisplayMedia', 'NotSupportedError');
  const stream = await media.getDisplayMedia({ video: { frameRate: { ideal: 15, max: 30 } }, audio: true });
  return { video: stream.getVideoTracks()[0], audio: stream.getAudioTracks()[0] ?? null };
}

/**
 * The devices there are. Names are empty until the user has allowed one of the same kind.
 * @returns {Promise<Devices>}
 */
export async function listDevices() {
  const all = await userMedia().enumerateDevices();
  const of = (/** @type {MediaDeviceKind} */ kind) => all.filter((device) => device.kind === kind && device.deviceId);
  return { cameras: of('videoinput'), microphones: of('audioinput'), speakers: of('audiooutput') };
}

/**
 * Calls `listener` when devices come and go.
 * @param {() => void} listener
 * @returns {() => void} stops watching
 */
export function watchDevices(listener) {
  const media = navigator.mediaDevices;
  media?.addEventListener('devicechange', listener);
  return () => media?.removeEventListener('devicechange', listener);
}

/**
 * What a failure to open a device means, and what to do about it.
 * @param {unknown} error
 * @param {DeviceKind} kind
 * @returns {MediaErrorWords}
 */
export function explainMediaError(error, kind) {
  return describeMediaError(error instanceof Error ? error.name : 'UnknownError', kind);
}

/**
 * The same, from the error's name alone.
 * @param {string} name for example `NotAllowedError`
 * @param {DeviceKind} kind
 * @returns {MediaErrorWords}
 */
export function describeMediaError(name, kind) {
  const words = MEDIA_ERRORS[name] ?? MEDIA_ERRORS.UnknownError;
  const fill = (/** @type {string} */ text) => text.replaceAll('{device}', kind);
  const remedy = name === 'NotAllowedError' && kind === 'screen' ? SCREEN_REFUSED : words.remedy;
  return { name, title: fill(words.title), remedy: fill(remedy) };
}

/** @param {CameraOptions} options */
function cameraConstraints({ deviceId, facingMode, width = 1280, height = 720, frameRate = 30, aspectRatio }) {
  return {
    width: { ideal: width },
    height: { ideal: height },
    frameRate: { ideal: frameRate },
    ...(aspectRatio && { aspectRatio: { ideal: aspectRatio } }),
    ...(facingMode && { facingMode: { ideal: facingMode } }),
    ...(deviceId && { deviceId: { exact: deviceId } }),
  };
}

/** @param {MicrophoneOptions} options */
function microphoneConstraints(options) {
  const { deviceId, stereo = false, echoCancellation = !stereo, noiseSuppression = !stereo, autoGainControl = !stereo } = options;
  return {
    echoCancellation,
    noiseSuppression,
    autoGainControl,
    ...(stereo && { channelCount: { ideal: 2 } }),
    ...(deviceId && { deviceId: { exact: deviceId } }),
  };
}

/** @param {unknown} error */
function isRefusal(error) {
  return error instanceof Error && ['NotAllowedError', 'SecurityError'].includes(error.name);
}

/** @param {'camera' | 'microphone'} name */
async function isGranted(name) {
  // Not every browser knows these names.
  const status = await navigator.permissions?.query({ name: /** @type {PermissionName} */ (name) }).catch(() => null);
  return status?.state === 'granted';
}

/** Browsers hide mediaDevices altogether on pages that are not secure. */
function userMedia() {
  if (!navigator.mediaDevices) throw new DOMException('mediaDevices needs a secure context', 'SecurityError');
  return navigator.mediaDevices;
}

const SCREEN_REFUSED = 'Choose a screen or window when the browser asks. On a Mac, also allow screen recording for the browser in System Settings.';

/** @type {Record<string, {title: string, remedy: string}>} */
const MEDIA_ERRORS = {
  NotAllowedError: {
    title: 'The browser may not use your {device}',
    remedy: 'Click the icon beside the address, allow the {device}, and try again. If it is not offered there, allow it in the settings of your system.',
  },
  NotFoundError: {
    title: 'No {device} was found',
    remedy: 'Plug one in or switch it on; it is noticed by itself. You can also go on without it.',
  },
  NotReadableError: {
    title: 'Your {device} is busy or does not answer',
    remedy: 'Close other programs and tabs that use it, or unplug it and plug it in again; then try again.',
  },
  OverconstrainedError: {
    title: 'This {device} is not there or cannot do what was asked',
    remedy: 'Choose another {device} in the menu, or a lower resolution.',
  },
  AbortError: {
    title: 'Your {device} stopped while it was starting',
    remedy: 'Try again. If it happens again, unplug it and plug it in, or restart the browser.',
  },
  /** The library's own name, for a track that has ended. */
  LostError: {
    title: 'Your {device} has gone',
    remedy: 'Plug it in again, or choose another {device} in the menu.',
  },
  SecurityError: {
    title: 'The browser gives no {device} to this page',
    remedy: 'Open the page with https:// (or on localhost): browsers give devices to secure pages only.',
  },
  NotSupportedError: {
    title: 'This browser cannot share a {device}',
    remedy: 'Use a current browser on a computer.',
  },
  UnknownError: {
    title: 'Your {device} could not be opened',
    remedy: 'Try again, or choose another {device} in the menu.',
  },
};
