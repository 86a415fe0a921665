import { before } from 'node:test';
import { Call } from './support/call.mjs';
import { COLOURS } from './support/media.mjs';
import { tonesHeard } from './support/probe.mjs';
const call = new Call(); let red, blue;
before(async () => { [red, blue] = await Promise.all([call.chromium({colour: COLOURS.red, hertz: 500}), call.chromium({colour: COLOURS.blue, hertz: 700})]); });
call.story('timeline', async () => {
  const t0 = performance.now(); const say = (...a) => console.log(Math.round(performance.now()-t0), ...a);
  const ada = await call.arrive(red, 'Ada', {query:'width=320&height=180'}); say('ada arrived');
  await ada.join(); say('ada joined');
  const bea = await call.arrive(blue, 'Bea', {query:'width=320&height=180'}); say('bea arrived');
  await bea.click('join-button'); say('clicked');
  await bea.isConnected(); say('bea connected');
  const e = performance.now()+Number(process.env.SECS??20)*1000; let last='';
  while (performance.now()<e) {
    const row = JSON.stringify([await bea.colour('Ada').catch(e=>e.message), await bea.reception('Ada').then(r=>[r.framesDecoded>0, r.frameHeight, r.keyFramesDecoded]).catch(e=>e.message), await ada.colour('Bea').catch(e=>e.message), await tonesHeard(bea), await tonesHeard(ada), await bea.tileAttribute('Ada','data-why').catch(e=>e.message)]);
    if (row !== last) say(row); last = row; await new Promise(r=>setTimeout(r,100));
  }
  console.log(await ada.account()); console.log(await bea.account()); console.log(call.server.tail(40));
});
