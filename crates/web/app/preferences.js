/** What the page remembers between visits. Browsers may refuse; then it is forgotten. */

/** @typedef {'name' | 'camera' | 'microphone' | 'speaker'} Key */

/** @param {Key} key */
export function recall(key) {
  try {
    return localStorage.getItem(`madang.${key}`) ?? '';
  } catch {
    return '';
  }
}

/**
 * @param {Key} key
 * @param {string} value
 */
export function remember(key, value) {
  try {
    localStorage.setItem(`madang.${key}`, value);
  } catch {
    // Private windows have no storage.
  }
}
