/** The page after the call. */
import { describeError } from '../client/index.js';
import { elementOf, part, setAttributes } from './dom.js';

export class LeftPage {
  root = elementOf('left-page');

  /**
   * @param {string} code why the call ended
   * @param {() => void} onRejoin
   */
  constructor(code, onRejoin) {
    // In a running call, this is the code of being removed.
    const { title, remedy } = describeError(code === 'forbidden' ? 'kicked' : code);
    setAttributes(this.root, { 'data-code': code });
    part(this.root, 'left-title', HTMLElement).textContent = title;
    part(this.root, 'left-remedy', HTMLElement).textContent = `${remedy}`;
    const button = part(this.root, 'rejoin-button', HTMLButtonElement);
    button.addEventListener('click', () => {
      button.disabled = true;
      onRejoin();
    });
    queueMicrotask(() => button.focus());
  }

  close() {}
}
