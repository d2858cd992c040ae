// @ts-check
/**
 * The SDK: everything a page needs to be part of a room. The README has an example.
 *
 * @module
 */

export { listDevices, openCamera, openMicrophone, openScreen } from "./client/devices.js";
export { sendableCodecs } from "./client/encodings.js";
export { Encryption } from "./client/encryption.js";
export { CaptureError, RoomError } from "./client/errors.js";
export { RoomEvent } from "./client/events.js";
export { LocalParticipant, Participant } from "./client/participant.js";
export { Room } from "./client/room.js";
export { VERSION } from "./client/session.js";
export { LocalTrack, RemoteTrack } from "./client/track.js";
