/** Small helpers for the document. */

/**
 * The element that is called `name` by its `data-test` attribute.
 * @template {Element} T
 * @param {ParentNode} root
 * @param {string} name
 * @param {new () => T} type
 * @returns {T}
 */
export function part(root, name, type) {
  const found = root.querySelector(`[data-test="${name}"]`);
  if (!(found instanceof type)) throw new Error(`the page has no ${type.name} called ${name}`);
  return found;
}

/**
 * A new copy of a `<template>` of index.html.
 * @param {string} id
 * @returns {DocumentFragment}
 */
export function copyOf(id) {
  const template = document.getElementById(id);
  if (!(template instanceof HTMLTemplateElement)) throw new Error(`the page has no template ${id}`);
  return /** @type {DocumentFragment} */ (template.content.cloneNode(true));
}

/**
 * A new copy of a `<template>` with one element.
 * @param {string} id
 * @returns {HTMLElement}
 */
export function elementOf(id) {
  return /** @type {HTMLElement} */ (copyOf(id).firstElementChild);
}

/**
 * @param {string} tag
 * @param {Record<string, string>} [attributes]
 * @param {...(Node | string)} children
 */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** @param {string} name of a symbol in icons.svg */
export function icon(name) {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.classList.add('icon');
  svg.setAttribute('aria-hidden', 'true');
  const use = document.createElementNS('http://www.w3.org/2000/svg', 'use');
  use.setAttribute('href', `/app/icons.svg#${name}`);
  svg.append(use);
  return svg;
}

/**
 * Gives a button its icon, in place of the one before.
 * @param {Element} button
 * @param {string} name
 */
export function setIcon(button, name) {
  if (button.getAttribute('data-icon') === name) return;
  button.setAttribute('data-icon', name);
  button.querySelector('svg.icon')?.remove();
  button.prepend(icon(name));
}

/**
 * Shows a button as on or off.
 * @param {HTMLButtonElement} button
 * @param {boolean} on
 * @param {string} iconOn
 * @param {string} [iconOff]
 */
export function setPressed(button, on, iconOn, iconOff = iconOn) {
  button.setAttribute('aria-pressed', String(on));
  setIcon(button, on ? iconOn : iconOff);
}

/**
 * Sets an attribute only where that changes it, so that nothing is laid out or announced anew for nothing.
 * @param {Element} target
 * @param {Record<string, string>} attributes
 */
export function setAttributes(target, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (target.getAttribute(name) !== value) target.setAttribute(name, value);
  }
}
