/** What went wrong, in the box that pages have for it. */
import { describeMediaError } from '../client/index.js';
import { element, part, setAttributes } from './dom.js';

/** @typedef {{title: string, remedy: string, code: string}} Failure */

const SHARED_REASONS = ['NotAllowedError', 'NotFoundError', 'SecurityError'];

/**
 * @param {HTMLElement} root of the box
 * @param {Failure[]} failures the most important one first
 */
export function showFailures(root, failures) {
  const box = part(root, 'error-box', HTMLElement);
  box.hidden = failures.length === 0;
  setAttributes(box, { 'data-code': failures[0]?.code ?? '' });
  const paragraphs = failures.map(({ title, remedy }) => element('p', {}, element('b', {}, `${title}.`), ` ${remedy}`));
  part(box, 'error-text', HTMLElement).replaceChildren(...paragraphs);
}

/**
 * One text where both devices fail for the same reason.
 *
 * @param {import('./local-media.js').LocalMedia['errors']} errors
 * @returns {Failure[]}
 */
export function mediaFailures({ camera, microphone }) {
  const same = camera && camera.name === microphone?.name && SHARED_REASONS.includes(camera.name);
  const words = same ? [describeMediaError(camera.name, 'camera and microphone')] : [camera, microphone];
  return words.flatMap((one) => (one ? [{ ...one, code: one.name }] : []));
}
