/**
 * Browser client of Madang. `join` enters a room; everything else happens on the {@link Room} that it gives back.
 * {@link WhipPublisher} and {@link WhepPlayer} broadcast and watch over HTTP alone.
 * @module madang
 */
export { join, Room } from './room.js';
export { WhipPublisher } from './whip.js';
export { WhepPlayer } from './whep.js';
export { MadangError, describeError } from './errors.js';
export {
  describeMediaError,
  explainMediaError,
  listDevices,
  openCamera,
  openCameraAndMicrophone,
  openMicrophone,
  openScreen,
  watchDevices,
} from './devices.js';
