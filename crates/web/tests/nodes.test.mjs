/** Servers that share the rooms: people meet, whichever of them they come to. */
import { after, before } from 'node:test';
import { Call } from './support/call.mjs';
import { COLOURS } from './support/media.mjs';
import { Server } from './support/server.mjs';

const CAMERA = 'width=320&height=180';

const call = new Call();
/** @type {import('./support/call.mjs').Browser} */ let red;
/** @type {import('./support/call.mjs').Browser} */ let blue;
/** @type {Server[]} */ let servers;

before(async () => {
  [red, blue] = await Promise.all([
    call.chromium({ colour: COLOURS.red, hertz: 500 }),
    call.chromium({ colour: COLOURS.blue, hertz: 700 }),
  ]);
  servers = await Server.startTogether(2);
});

after(() => Promise.all(servers.map((server) => server.dispose())));

call.story('two who come to different servers meet on the one that has their room', async () => {
  const [first, second] = servers;
  const ada = await call.enter(red, 'Ada', { query: CAMERA, port: first.httpPort });
  const bea = await call.enter(blue, 'Bea', { query: CAMERA, port: second.httpPort });
  await ada.seesPicture('Bea', 'blue');
  await bea.seesPicture('Ada', 'red');
  await ada.chat('Which door did you come by?');
  await bea.seesMovement('Ada');
});
