/**
 * A server of rooms with mediasoup, for the load generator: one HTTP request for each step of a participant. It writes its
 * address to the standard output.
 *
 *     POST /ROOM/SEAT/publish   an offer, which is answered
 *     POST /ROOM/SEAT/watch     nothing; the response is an offer of all that the others publish
 *     POST /ROOM/SEAT/start     the answer to it
 *     POST /ROOM/SEAT/leave     nothing
 *
 * The argument is the number of media workers: a room is wholly on one of them.
 */
import { createServer } from 'node:http';
import { text } from 'node:stream/consumers';
import { createWorker } from 'mediasoup';
import { Room } from './room.js';

const ADDRESS = '127.0.0.1';
/** Of the one socket that everybody sends to: by default the kernel keeps no more than 25 ms of a busy server. */
const SOCKET_BYTES = 4 << 20;

// The library takes the signal for an order to end its workers, and no more.
process.on('SIGTERM', () => process.exit());

const count = Number(process.argv[2] ?? 1);
const workers = await Promise.all(Array.from({ length: count }, startWorker));
/** @type {Map<string, Room>} */
const rooms = new Map();

/** One UDP port for all participants of a worker, as mediasoup advises. */
async function startWorker() {
  const worker = await createWorker({ logLevel: 'error' });
  worker.on('died', () => process.exit(1));
  const socket = { protocol: 'udp', ip: ADDRESS, sendBufferSize: SOCKET_BYTES, recvBufferSize: SOCKET_BYTES };
  const entrance = await worker.createWebRtcServer({ listenInfos: [socket] });
  return { worker, entrance };
}

/** @param {string} name */
async function roomOf(name) {
  const known = rooms.get(name);
  if (known) return known;
  const { worker, entrance } = workers[rooms.size % workers.length];
  const room = await Room.open(worker, entrance);
  rooms.set(name, room);
  return room;
}

/**
 * @param {import('node:http').IncomingMessage} request
 * @returns {Promise<string>} the body of the response
 */
async function serve(request) {
  const [, name, seat, step] = request.url.split('/');
  const room = await roomOf(name);
  const sdp = await text(request);
  switch (step) {
    case 'publish':
      return room.publish(seat, sdp);
    case 'watch':
      return room.watch(seat);
    case 'start':
      return room.start(seat, sdp);
    case 'leave':
      return room.leave(seat);
    default:
      throw new Error(`no such step: ${step}`);
  }
}

const http = createServer((request, response) => {
  serve(request).then(
    (body) => response.end(body),
    (error) => response.writeHead(500).end(String(error)),
  );
});
http.listen(0, ADDRESS, () => console.log(`http://${ADDRESS}:${http.address().port}`));
