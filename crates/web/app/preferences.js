/** What the page remembers: between visits, or for as long as the tab is there. Browsers may refuse; then it is forgotten. */

/** @typedef {'name' | 'camera' | 'microphone' | 'speaker' | 'shortcuts'} Key */

/** @param {Key} key */
export function recall(key) {
  return read(() => localStorage, key);
}

/**
 * @param {Key} key
 * @param {string} value
 */
export function remember(key, value) {
  write(() => localStorage, key, value);
}

/** @param {string} key */
export function recallInTab(key) {
  return read(() => sessionStorage, key);
}

/**
 * @param {string} key
 * @param {string} value
 */
export function rememberInTab(key, value) {
  write(() => sessionStorage, key, value);
}

/**
 * @param {() => Storage} storage
 * @param {string} key
 */
function read(storage, key) {
  try {
    return storage().getItem(`madang.${key}`) ?? '';
  } catch {
    return '';
  }
}

/**
 * @param {() => Storage} storage
 * @param {string} key
 * @param {string} value
 */
function write(storage, key, value) {
  try {
    storage().setItem(`madang.${key}`, value);
  } catch {
    // Private windows have no storage.
  }
}
