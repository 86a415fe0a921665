/**
 * Browser client of Madang. `join` enters a room; everything else happens on the {@link Room} that it gives back.
 * @module madang
 */
export { join, Room } from './room.js';
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
