/**
 * Fragments of session descriptions (RFC 8840), which carry candidates and restart ICE.
 */

/**
 * The fragment for these candidates of a bundled session; without candidates, the one that asks for a restart.
 * @param {string} sdp the local description that they belong to
 * @param {string[]} candidates as RTCIceCandidate writes them
 * @param {boolean} [complete] whether these are all
 */
export function makeFragment(sdp, candidates, complete = false) {
  const [session, first = ''] = sdp.split(/^(?=m=)/m);
  // Everything goes over the transport of the first section.
  const lines = [
    ...linesOf(session, /^a=(group:BUNDLE|ice-options:)/),
    ...linesOf(first, /^(m=|a=mid:|a=ice-ufrag:|a=ice-pwd:)/),
    ...candidates.map((candidate) => `a=${candidate}`),
    ...(complete ? ['a=end-of-candidates'] : []),
  ];
  return `${lines.join('\r\n')}\r\n`;
}

/**
 * The remote description after a restart: its own credentials and candidates give way to those of the fragment.
 * @param {string} sdp
 * @param {string} fragment
 */
export function applyFragment(sdp, fragment) {
  const credentials = linesOf(fragment, /^a=(ice-ufrag|ice-pwd):/);
  const candidates = linesOf(fragment, /^a=(candidate:|end-of-candidates)/);
  if (credentials.length < 2) throw new Error('the server restarts ICE without credentials');
  const [session, ...sections] = sdp.split(/^(?=m=)/m);
  const fresh = sections.map((section, n) => {
    const kept = linesOf(section, /^(?!a=(ice-ufrag:|ice-pwd:|candidate:|end-of-candidates)).+/);
    return [...kept, ...credentials.slice(0, 2), ...(n === 0 ? candidates : [])].map((line) => `${line}\r\n`).join('');
  });
  const withoutIce = linesOf(session, /^(?!a=(ice-ufrag|ice-pwd):).+/).map((line) => `${line}\r\n`);
  return [...withoutIce, ...fresh].join('');
}

/**
 * @param {string} sdp
 * @param {RegExp} pattern
 */
function linesOf(sdp, pattern) {
  return sdp.split(/\r?\n/).filter((line) => pattern.test(line));
}
