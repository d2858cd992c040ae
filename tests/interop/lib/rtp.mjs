// Enough RTP for publishers that are given packets to send, and for viewers that are given packets to count.

import { readFileSync } from "node:fs";

/** Payload bytes of a packet. What OBS uses, so that the server sees the same fragments. */
const PAYLOAD = 1200;

/** The fixed part of the header, plus room for two one-byte extensions. */
const VERSION = 0x80;
const EXTENSION = 0x10;
const ONE_BYTE_PROFILE = 0xbede;

/**
 * The frames of a clip in media/.
 * @param {string} name
 * @returns {Buffer[]}
 */
export function clip(name) {
  const file = readFileSync(new URL(`../media/${name}.ivf`, import.meta.url));
  const frames = [];
  for (let at = file.readUInt16LE(6); at < file.length; ) {
    const length = file.readUInt32LE(at);
    frames.push(file.subarray(at + 12, at + 12 + length));
    at += 12 + length;
  }
  return frames;
}

/**
 * One RTP stream that is sent.
 */
export class Stream {
  /**
   * @param {{ssrc: number, payloadType: number, extensions?: [number, string][]}} options
   *   extensions: header extensions of every packet, id and value
   */
  constructor({ ssrc, payloadType, extensions = [] }) {
    this.ssrc = ssrc;
    this.payloadType = payloadType;
    this.extensions = extensions;
    this.sequence = Math.floor(Math.random() * 0x10000);
    this.pictureId = 0;
  }

  /**
   * Wraps payloads that belong to one frame; the last gets the marker.
   * @param {Buffer[]} payloads
   * @param {number} timestamp
   * @returns {Buffer[]}
   */
  packets(payloads, timestamp) {
    return payloads.map((payload, index) => {
      const header = Buffer.alloc(12);
      header[0] = VERSION | (this.extensions.length > 0 ? EXTENSION : 0);
      header[1] = this.payloadType | (index === payloads.length - 1 ? 0x80 : 0);
      header.writeUInt16BE(this.sequence, 2);
      header.writeUInt32BE(timestamp >>> 0, 4);
      header.writeUInt32BE(this.ssrc, 8);
      this.sequence = (this.sequence + 1) & 0xffff;
      return Buffer.concat([header, extensionBlock(this.extensions), payload]);
    });
  }

  /**
   * A frame of the clip for this codec.
   * @param {"h264" | "vp8" | "opus"} codec
   * @param {Buffer} frame
   * @param {number} timestamp
   */
  frame(codec, frame, timestamp) {
    if (codec === "h264") return this.packets(h264Payloads(frame), timestamp);
    if (codec === "vp8") return this.packets(vp8Payloads(frame, this.pictureId++), timestamp);
    return this.packets([frame], timestamp);
  }
}

/**
 * What a receiver sees of one packet.
 * @param {Buffer} packet
 */
export function parse(packet) {
  const csrcs = packet[0] & 0x0f;
  let at = 12 + 4 * csrcs;
  if (packet[0] & EXTENSION) at += 4 + 4 * packet.readUInt16BE(at + 2);
  const padding = packet[0] & 0x20 ? packet[packet.length - 1] : 0;
  return {
    payloadType: packet[1] & 0x7f,
    marker: (packet[1] & 0x80) !== 0,
    sequence: packet.readUInt16BE(2),
    timestamp: packet.readUInt32BE(4),
    ssrc: packet.readUInt32BE(8),
    payload: packet.subarray(at, packet.length - padding),
  };
}

/** Whether a datagram on an RTP socket is RTCP (RFC 5761 section 4). @param {Buffer} packet */
export function isRtcp(packet) {
  return packet[1] >= 192 && packet[1] <= 223;
}

/**
 * Whether a payload begins a key frame.
 * @param {string} codec
 * @param {Buffer} payload
 */
export function startsKeyframe(codec, payload) {
  if (codec === "vp8") {
    const start = (payload[0] & 0x17) === 0x10;
    return start && (payload[vp8DescriptorLength(payload)] & 1) === 0;
  }
  const kind = payload[0] & 0x1f;
  if (kind === 28) return (payload[1] & 0x80) !== 0 && [5, 7].includes(payload[1] & 0x1f);
  if (kind === 24) return [5, 7].includes(payload[3] & 0x1f);
  return kind === 5 || kind === 7;
}

/**
 * Adds received packets to a report's video part. An answer may hold several codecs; the packets' payload type tells.
 * @param {import("./task.mjs").Report} report
 * @param {() => string} answer the session description, once it is there
 */
export function videoCounter(report, answer) {
  let keyframe = -1;
  return (/** @type {Buffer} */ packet) => {
    if (isRtcp(packet)) return;
    const { payloadType, marker, timestamp, payload } = parse(packet);
    if (payload.length === 0) return;
    // While a stack closes it may have no description any more.
    const codec = codecOf(answer(), payloadType) ?? report.video.codec ?? "";
    report.video.codec = codec;
    report.video.packets += 1;
    if (marker) report.video.frames += 1;
    if (startsKeyframe(codec, payload) && timestamp !== keyframe) {
      keyframe = timestamp;
      report.video.keyframes += 1;
    }
  };
}

/** @param {string} sdp @param {number} payloadType */
function codecOf(sdp, payloadType) {
  return new RegExp(`^a=rtpmap:${payloadType} ([A-Za-z0-9]+)/`, "m").exec(sdp)?.[1]?.toLowerCase();
}

/** @param {[number, string][]} extensions */
function extensionBlock(extensions) {
  if (extensions.length === 0) return Buffer.alloc(0);
  const elements = extensions.map(([id, value]) =>
    Buffer.concat([Buffer.from([(id << 4) | (value.length - 1)]), Buffer.from(value)]),
  );
  const body = Buffer.concat(elements);
  const words = Math.ceil(body.length / 4);
  const block = Buffer.alloc(4 + 4 * words);
  block.writeUInt16BE(ONE_BYTE_PROFILE, 0);
  block.writeUInt16BE(words, 2);
  body.copy(block, 4);
  return block;
}

/** RFC 6184, packetization-mode 1: single NAL units and FU-A. @param {Buffer} frame in Annex B form */
function h264Payloads(frame) {
  return nalUnits(frame).flatMap((unit) => {
    if (unit.length <= PAYLOAD) return [unit];
    const indicator = (unit[0] & 0xe0) | 28;
    const kind = unit[0] & 0x1f;
    return chunks(unit.subarray(1), PAYLOAD - 2).map((part, index, all) => {
      const start = index === 0 ? 0x80 : 0;
      const end = index === all.length - 1 ? 0x40 : 0;
      return Buffer.concat([Buffer.from([indicator, start | end | kind]), part]);
    });
  });
}

/** @param {Buffer} frame */
function nalUnits(frame) {
  const units = [];
  const code = Buffer.from([0, 0, 1]);
  for (let at = frame.indexOf(code); at >= 0; ) {
    const next = frame.indexOf(code, at + 3);
    let end = next < 0 ? frame.length : next;
    while (end > at + 3 && next >= 0 && frame[end - 1] === 0) end -= 1;
    units.push(frame.subarray(at + 3, end));
    at = next;
  }
  return units;
}

/** RFC 7741 with a 15-bit picture id. @param {Buffer} frame @param {number} pictureId */
function vp8Payloads(frame, pictureId) {
  return chunks(frame, PAYLOAD - 4).map((part, index) => {
    const start = index === 0 ? 0x10 : 0;
    const descriptor = Buffer.from([0x80 | start, 0x80, 0x80 | ((pictureId >> 8) & 0x7f), pictureId & 0xff]);
    return Buffer.concat([descriptor, part]);
  });
}

/** @param {Buffer} payload */
function vp8DescriptorLength(payload) {
  if (!(payload[0] & 0x80)) return 1;
  const flags = payload[1];
  let length = 2;
  if (flags & 0x80) length += payload[2] & 0x80 ? 2 : 1;
  if (flags & 0x40) length += 1;
  if (flags & 0x30) length += 1;
  return length;
}

/** @param {Buffer} bytes @param {number} size */
function chunks(bytes, size) {
  const parts = [];
  for (let at = 0; at < bytes.length; at += size) parts.push(bytes.subarray(at, at + size));
  return parts;
}
