import { before } from 'node:test';
import { Call } from './support/call.mjs';
import { COLOURS } from './support/media.mjs';
const call = new Call(); let b=[];
before(async () => { b = await Promise.all(['red','blue','yellow'].map((c,i)=>call.chromium({colour: COLOURS[c], hertz: 500+200*i}))); });
call.story('estimate', async () => {
  for (const [i,n] of ['Ada','Bea','Cai'].entries()) await call.enter(b[i], n, {query:'width=320&height=180'});
  await new Promise(r=>setTimeout(r,40000));
});
