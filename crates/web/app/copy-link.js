/** Buttons that copy the link to the room. */
import { element, setIcon } from './dom.js';
import { toast } from './toast.js';

const CONFIRMED_MS = 2_000;

/**
 * @param {HTMLButtonElement} button
 * @param {string} link
 */
export function makeCopyButton(button, link) {
  const label = element('span', {}, 'Copy link');
  button.append(label);
  button.title = link;
  setIcon(button, 'link');
  button.addEventListener('click', async () => {
    try {
      await navigator.clipboard.writeText(link);
    } catch {
      // Without a secure context there is no clipboard; the link can still be copied by hand.
      toast('Copy this link:', link);
      return;
    }
    setIcon(button, 'check');
    label.textContent = 'Copied';
    setTimeout(() => {
      setIcon(button, 'link');
      label.textContent = 'Copy link';
    }, CONFIRMED_MS);
  });
}
