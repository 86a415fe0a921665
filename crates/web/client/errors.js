/**
 * Errors that carry what happened and what to do next, in words that can be shown to a person.
 */

/** A failure with a protocol code, or one of the library's own: `unreachable`, `disconnected`, `left`. */
export class MadangError extends Error {
  /**
   * @param {string} code
   * @param {string} [message] what the server said; the code's own words otherwise
   * @param {number} [retryMs] how long to wait before another attempt, where waiting helps
   * @param {string} [url] the server that can do it, where this one cannot
   */
  constructor(code, message, retryMs, url) {
    const words = describeError(code);
    super(message || words.title);
    this.name = 'MadangError';
    this.code = code;
    this.title = words.title;
    this.remedy = words.remedy;
    this.retryMs = retryMs;
    this.url = url;
  }

  /** Whether another attempt, later, can succeed without anybody changing anything. */
  get passing() {
    return PASSING.has(this.code);
  }
}

/**
 * Words for a code.
 * @param {string} code
 * @returns {{title: string, remedy: string}}
 */
export function describeError(code) {
  const [title, remedy] = WORDS[code] ?? [`Something went wrong (${code})`, 'Try again.'];
  return { title, remedy };
}

const PASSING = new Set(['unreachable', 'disconnected', 'draining', 'timeout', 'internal', 'rate_limited', 'resume_failed', 'overloaded', 'no_publisher']);

/** @type {Record<string, [title: string, remedy: string]>} */
const WORDS = {
  bad_request: ['The server did not understand the request', 'Reload the page; it may be older than the server.'],
  bad_version: ['This page and the server speak different versions', 'Reload the page to get the newest one.'],
  unauthorized: ['The invitation is not valid', 'Ask for a new link and open that one.'],
  token_expired: ['The invitation has expired', 'Ask for a new link and open that one.'],
  forbidden: ['You are not allowed to do that here', 'Ask whoever runs the call for permission.'],
  not_found: ['That is no longer there', 'Whoever it belongs to may have left.'],
  room_full: ['The room is full', 'Wait until somebody leaves, then try again.'],
  room_closed: ['The room is closed', 'Ask whoever runs the call to open it.'],
  duplicate_identity: ['You have joined from another window', 'Go on there, or join again here to move the call to this window.'],
  rate_limited: ['That was too much at once', 'Wait a moment, then try again.'],
  too_large: ['That message is too long', 'Send it in smaller parts.'],
  sdp_rejected: ['The server cannot use what this browser offers', 'Update the browser, or try another one.'],
  no_common_codec: ['This browser and the server have no video format in common', 'Update the browser, or try another one.'],
  stale_generation: ['The connection was being changed at the same time', 'It is tried again by itself.'],
  slot_limit: ['No more pictures can be shown at once', 'Close some of them.'],
  publish_limit: ['You cannot send any more', 'Stop something that you share, then try again.'],
  resume_failed: ['The call was interrupted', 'It is joined again by itself.'],
  draining: ['The server takes nobody new', 'It is full, or being restarted. Calls go on as soon as it is back.'],
  timeout: ['The server did not answer in time', 'Check your connection, then try again.'],
  internal: ['The server has a fault', 'Try again in a moment.'],
  moved: ['The room is on another server', 'Try again in a moment.'],
  unreachable: ['The server cannot be reached', 'Check your connection to the network, then try again.'],
  disconnected: ['The connection was lost', 'Check your connection to the network, then try again.'],
  left: ['You left the call', 'You can come back at any time.'],
  kicked: ['You were removed from the call', 'Ask whoever runs the call before you come back.'],
  overloaded: ['The server is busy', 'It is tried again by itself.'],
  no_publisher: ['Nobody is broadcasting yet', 'It starts by itself as soon as somebody does.'],
  ended: ['The server has ended this', 'Somebody else may have taken over, or you were removed.'],
  unsupported: ['This browser cannot take part in calls', 'Use a current Chrome, Edge, Firefox or Safari.'],
};
