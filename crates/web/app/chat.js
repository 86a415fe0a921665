/** The chat panel. */
import { element, part, setAttributes, setIcon } from './dom.js';
import { toastError } from './toast.js';

/**
 * @typedef {import('../client/index.js').Room} Room
 * @typedef {import('../client/roster.js').Participant} Participant
 */

const TOPIC = 'chat';
/** Older ones are dropped: a page that stays open for days must not grow. */
const MAX_MESSAGES = 500;

export class Chat {
  #room;
  #panel;
  #button;
  #badge;
  #list;
  #input;
  #unread = 0;
  #stop;

  /**
   * @param {HTMLElement} root
   * @param {Room} room
   */
  constructor(root, room) {
    this.#room = room;
    this.#panel = part(root, 'chat-panel', HTMLElement);
    this.#button = part(root, 'chat-button', HTMLButtonElement);
    this.#badge = part(root, 'chat-badge', HTMLElement);
    this.#list = part(root, 'chat-messages', HTMLElement);
    this.#input = part(root, 'chat-input', HTMLInputElement);
    setIcon(this.#button, 'chat');
    const close = part(root, 'chat-close', HTMLButtonElement);
    setIcon(close, 'close');
    setIcon(part(root, 'chat-send', HTMLButtonElement), 'send');
    close.addEventListener('click', () => this.toggle());
    this.#button.addEventListener('click', () => this.toggle());
    this.#panel.addEventListener('keydown', ({ key }) => {
      if (key === 'Escape') this.toggle();
    });
    part(root, 'chat-form', HTMLFormElement).addEventListener('submit', (event) => {
      event.preventDefault();
      this.#send();
    });
    this.#stop = room.on('message', ({ from, topic, body }) => {
      if (topic === TOPIC && from) this.#add(from, textOf(body));
    });
  }

  toggle() {
    const open = this.#panel.hidden;
    this.#panel.hidden = !open;
    setAttributes(this.#button, { 'aria-expanded': String(open) });
    if (open) {
      this.#setUnread(0);
      this.#input.focus();
      this.#list.scrollTop = this.#list.scrollHeight;
    } else {
      this.#button.focus();
    }
  }

  close() {
    this.#stop();
  }

  async #send() {
    const text = this.#input.value.trim();
    if (!text) return;
    this.#input.value = '';
    try {
      await this.#room.sendMessage(TOPIC, { text });
      this.#add(this.#room.local, text);
    } catch (error) {
      // Given back, so that nothing has to be typed twice.
      this.#input.value ||= text;
      toastError(error);
    }
  }

  /**
   * @param {Participant} from
   * @param {string} text
   */
  #add(from, text) {
    if (!text) return;
    const atEnd = this.#list.scrollHeight - this.#list.scrollTop - this.#list.clientHeight < 60;
    const time = new Date().toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
    const who = element('p', { class: 'who' }, element('b', {}, from.local ? 'You' : from.name), ' ', element('time', {}, time));
    const attributes = { 'data-test': 'chat-message', 'data-from': from.id, 'data-own': String(from.local) };
    this.#list.append(element('li', attributes, who, element('p', { class: 'text' }, text)));
    while (this.#list.children.length > MAX_MESSAGES) this.#list.firstElementChild?.remove();
    if (atEnd || from.local) this.#list.scrollTop = this.#list.scrollHeight;
    if (this.#panel.hidden) this.#setUnread(this.#unread + 1);
  }

  /** @param {number} count */
  #setUnread(count) {
    this.#unread = count;
    this.#badge.hidden = count === 0;
    this.#badge.textContent = count > 99 ? '99+' : String(count);
    setAttributes(this.#button, { 'aria-label': count > 0 ? `Chat (c), ${count} unread` : 'Chat (c)' });
  }
}

/** Others may send anything. @param {unknown} body */
function textOf(body) {
  const text = /** @type {{text?: unknown} | null} */ (body)?.text;
  return typeof text === 'string' ? text : '';
}
