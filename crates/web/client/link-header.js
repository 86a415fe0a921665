/**
 * The `Link` header (RFC 8288), by which WHIP and WHEP announce TURN servers and extensions.
 */

/** @typedef {{url: string, rel: string, parameters: Record<string, string>}} Link */

/**
 * All links of a response. Where there are several headers, the browser has joined them with commas.
 * @param {Response} response
 * @returns {Link[]}
 */
export function linksOf(response) {
  const header = response.headers.get('link') ?? '';
  return [...header.matchAll(/<([^>]*)>((?:\s*;\s*[^\s=;,]+(?:\s*=\s*(?:"(?:[^"\\]|\\.)*"|[^\s";,]*))?)*)/g)].map(([, target, rest]) => {
    const parameters = parametersOf(rest);
    return { url: absolute(target, response.url), rel: parameters.rel ?? '', parameters };
  });
}

/**
 * The servers that links of the relation `ice-server` name (RFC 9725 section 4.6).
 * @param {Link[]} links
 * @returns {RTCIceServer[]}
 */
export function iceServersOf(links) {
  return links
    .filter(({ rel }) => rel === 'ice-server')
    .map(({ url, parameters: { username, credential } }) => ({ urls: url, ...(username && { username }), ...(credential && { credential }) }));
}

/** @param {string} text */
function parametersOf(text) {
  /** @type {Record<string, string>} */
  const parameters = {};
  for (const [, name, quoted, bare] of text.matchAll(/;\s*([^\s=;,]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s";,]*)))?/g)) {
    // RFC 8288 section 3: of a parameter that comes twice, the first one counts.
    parameters[name.toLowerCase()] ??= quoted?.replace(/\\(.)/g, '$1') ?? bare ?? '';
  }
  return parameters;
}

/**
 * @param {string} target
 * @param {string} base
 */
function absolute(target, base) {
  // `turn:` addresses have no base, and are taken as they are.
  return URL.canParse(target, base) ? new URL(target, base).href : target;
}
