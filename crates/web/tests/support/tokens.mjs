/** Access tokens, as a token server makes them. */
import { createHmac, randomBytes } from 'node:crypto';

/** A key that lasts for one run of the tests. */
const SECRET = randomBytes(32).toString('hex');

/** The server's options to accept what {@link signToken} signs. */
export const KEY_OPTIONS = ['--auth-keys', `main=${SECRET}`];

/**
 * @param {object} claims
 * @returns {string} a JWT, signed with HS256
 */
export function signToken(claims) {
  const encode = (/** @type {object} */ part) => Buffer.from(JSON.stringify(part)).toString('base64url');
  const content = `${encode({ alg: 'HS256', typ: 'JWT' })}.${encode(claims)}`;
  return `${content}.${createHmac('sha256', SECRET).update(content).digest('base64url')}`;
}

export function nowInSeconds() {
  return Math.floor(Date.now() / 1000);
}
