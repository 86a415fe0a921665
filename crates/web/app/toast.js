/** Passing messages. */
import { element, setIcon } from './dom.js';

const SHOWN_MS = 7_000;
const MAX_SHOWN = 4;

/**
 * @param {string} title
 * @param {string} [text]
 * @param {'info' | 'error'} [kind]
 */
export function toast(title, text = '', kind = 'info') {
  const place = document.getElementById('toasts');
  if (!place) return;
  const shown = element('div', { class: 'toast', 'data-test': 'toast', 'data-kind': kind });
  setIcon(shown, kind === 'error' ? 'alert' : 'check');
  shown.append(element('p', {}, element('b', {}, title), ...(text ? [' ', text] : [])));
  shown.addEventListener('click', () => shown.remove());
  place.append(shown);
  while (place.children.length > MAX_SHOWN) place.firstElementChild?.remove();
  setTimeout(() => shown.remove(), SHOWN_MS);
}

/** @param {unknown} error a MadangError, or anything else that was thrown */
export function toastError(error) {
  const { title, remedy } = /** @type {{title?: string, remedy?: string}} */ (error ?? {});
  toast(title ?? 'Something went wrong', remedy ?? String(error), 'error');
}
