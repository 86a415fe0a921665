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
  if (direction === 'sendonly') sender.transform = encryption.sender(kind);
  else receiver.transform = encryption.receiver(kind);
}
