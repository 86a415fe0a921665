/** End-to-end encryption: what the application encrypts and decrypts with goes onto everything that is sent and received. */

/**
 * @typedef {object} Encryption transforms of the application's, which has the key
 * @property {(kind: import('./protocol.js').Kind) => RTCRtpScriptTransform} sender makes one that encrypts; a new one each time
 * @property {(kind: import('./protocol.js').Kind) => RTCRtpScriptTransform} receiver makes one that decrypts; a new one each time
 */

/** Whether frames can be encrypted here: without it they would be sent as they are. */
export function canEncrypt() {
  return 'RTCRtpScriptTransform' in globalThis;
}

/**
 * Encrypts or decrypts what goes through a transceiver. Right after it has been made, so that no frame is ahead of it.
 * @param {RTCRtpTransceiver} transceiver
 * @param {import('./protocol.js').Kind} kind
 * @param {Encryption} encryption
 */
export function encrypt({ direction, sender, receiver }, kind, encryption) {
  const [end, transform] = direction === 'sendonly' ? [sender, encryption.sender(kind)] : [receiver, encryption.receiver(kind)];
  // To a browser it would mean: as it is.
  if (!transform) throw new TypeError(`no transform for the ${kind} of a ${direction} transceiver`);
  end.transform = transform;
}
