/** `cargo xtask chromium`: every plan of plans.json in real Chromium, beside what the simulator says. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Call } from './support/call.mjs';
import { NETWORK_OPTIONS, Network } from './support/network.mjs';
import { CAMERA_SIZE, perform } from './support/quality.mjs';

/** @typedef {import('./support/quality.mjs').Figures} Figures */
/** @typedef {import('./support/quality.mjs').Plan} Plan */

/** @type {Plan[]} */
const plans = JSON.parse(readFileSync(new URL('plans.json', import.meta.url), 'utf8'));
/** @type {Record<string, Partial<Figures>>} */
const simulated = JSON.parse(process.env.MADANG_SIMULATED ?? '{}');
/** @type {string[][]} */
const rows = [];

const call = new Call(NETWORK_OPTIONS);
/** @type {import('./support/call.mjs').Browser} */ let sender;
/** @type {import('./support/call.mjs').Browser} */ let viewer;
/** @type {Network | undefined} */ let network;

before(async () => {
  sender = await call.chromium({ grain: true, hertz: 500, ...CAMERA_SIZE });
  viewer = await call.chromium();
});

after(async () => {
  await network?.close();
  const heads = ['plan', 'freezes a minute', 'share of time frozen', 'frames a second', 'encoded a second', 'keyframes', 'sound concealed', 'top layer after the last step, s'];
  const lines = [heads, heads.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`);
  const table = `Chromium / simulator\n\n${lines.join('\n')}\n`;
  const folder = process.env.MADANG_ARTIFACTS ?? fileURLToPath(new URL('../../../target', import.meta.url));
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'chromium.md'), table);
  console.log(table);
});

for (const plan of plans) {
  call.story(plan.name, async () => {
    network ??= await Network.start(call.server.mediaPort);
    const real = await perform(call, network, { sender, viewer }, plan);
    rows.push(row(plan, real, simulated[plan.name] ?? {}));
  });
}

/**
 * @param {Plan} plan
 * @param {Figures} real
 * @param {Partial<Figures>} virtual
 */
function row({ name, seconds }, real, virtual) {
  const percent = (/** @type {number} */ share) => `${(share * 100).toFixed(1)} %`;
  /** @type {Array<(figures: Figures) => string>} */
  const cells = [
    ({ freezes }) => ((freezes * 60) / seconds).toFixed(1),
    ({ frozen }) => percent(frozen / seconds),
    ({ frames }) => frames.toFixed(0),
    ({ made }) => made?.toFixed(0) ?? '30',
    ({ keyframes }) => keyframes?.toFixed(0) ?? '–',
    ({ concealed }) => percent(concealed),
    ({ recovery }) => (recovery === null ? 'not' : recovery.toFixed(1)),
  ];
  const other = /** @type {Figures} */ (virtual);
  return [name, ...cells.map((cell) => `${cell(real)} / ${other.frames === undefined ? '–' : cell(other)}`)];
}
