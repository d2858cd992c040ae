// libdatachannel, the library inside OBS. The publisher's offer has the shape of OBS's: H264 42e01f, no RTX, no
// transport-cc, no candidates; with --simulcast rids "0;1;2", the largest first. It answers NACK and ignores PLI.

import nodeDataChannel from "node-datachannel";
import { Stream, videoCounter, isRtcp } from "./lib/rtp.mjs";
import { connected, run, signal, wait } from "./lib/task.mjs";
import { play } from "./lib/clock.mjs";

const OPUS = "minptime=10;maxaveragebitrate=96000;stereo=1;sprop-stereo=1;useinbandfec=1";
const MID = "urn:ietf:params:rtp-hdrext:sdes:mid";
const RID = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id";

await run("node-datachannel", { publish, watch });

/** @param {import("./lib/task.mjs").Task} task @param {import("./lib/task.mjs").Report} report */
async function publish(task, report) {
  const peer = new nodeDataChannel.PeerConnection("publisher", { iceServers: [] });
  const layers = task.simulcast ? ["0", "1", "2"] : ["0"];
  const base = 1 + Math.floor(Math.random() * 0x7fffff00);

  const audio = new nodeDataChannel.Audio("0", "SendOnly");
  audio.addOpusCodec(111, OPUS);
  audio.addSSRC(base, "obs", "stream", "audio");
  const audioTrack = peer.addTrack(audio);

  const video = new nodeDataChannel.Video("1", "SendOnly");
  video.addH264Codec(96);
  video.parseSdpLine(`a=extmap:1 ${MID}`);
  video.parseSdpLine(`a=extmap:2 ${RID}`);
  if (task.simulcast) {
    for (const rid of layers) video.parseSdpLine(`a=rid:${rid} send`);
    video.parseSdpLine(`a=simulcast:send ${layers.join(";")}`);
  } else {
    video.addSSRC(base + 1, "obs", "stream", "video");
  }
  const videoTrack = peer.addTrack(video);
  audioTrack.setMediaHandler(new nodeDataChannel.RtcpNackResponder());
  videoTrack.setMediaHandler(new nodeDataChannel.RtcpNackResponder(4000));

  const end = await negotiate(peer, task, report);
  const opus = new Stream({ ssrc: base, payloadType: 111 });
  const streams = layers.map((rid, index) => {
    /** @type {[number, string][]} */
    const extensions = task.simulcast ? [[1, "1"], [2, rid]] : [];
    return new Stream({ ssrc: base + 1 + index, payloadType: 96, extensions });
  });
  report.video.codec = "h264";
  await play(
    task.seconds,
    layers.map((_, index) => `h264-${index}`),
    (frames, timestamp) => {
      frames.forEach((frame, index) => {
        const packets = streams[index].frame("h264", frame, timestamp);
        for (const packet of packets) videoTrack.sendMessageBinary(packet);
        report.video.packets += packets.length;
      });
      report.video.frames += 1;
    },
    (frame, timestamp) => {
      for (const packet of opus.frame("opus", frame, timestamp)) audioTrack.sendMessageBinary(packet);
      report.audio.packets += 1;
    },
  );
  peer.close();
  await end();
}

/** @param {import("./lib/task.mjs").Task} task @param {import("./lib/task.mjs").Report} report */
async function watch(task, report) {
  const peer = new nodeDataChannel.PeerConnection("viewer", { iceServers: [] });
  const audio = new nodeDataChannel.Audio("0", "RecvOnly");
  audio.addOpusCodec(111, OPUS);
  const audioTrack = peer.addTrack(audio);
  const video = new nodeDataChannel.Video("1", "RecvOnly");
  if (task.codec !== "vp8") video.addH264Codec(96);
  if (task.codec !== "h264") video.addVP8Codec(97);
  const videoTrack = peer.addTrack(video);
  audioTrack.setMediaHandler(new nodeDataChannel.RtcpReceivingSession());
  videoTrack.setMediaHandler(new nodeDataChannel.RtcpReceivingSession());
  audioTrack.onMessage((packet) => {
    if (!isRtcp(packet)) report.audio.packets += 1;
  });
  videoTrack.onMessage(videoCounter(report, () => peer.remoteDescription()?.sdp ?? ""));
  videoTrack.onOpen(() => videoTrack.requestKeyframe());
  const end = await negotiate(peer, task, report);
  await wait(task.seconds);
  peer.close();
  await end();
}

/**
 * OBS posts the offer before it gathers, so the offer has no candidates and none are sent later.
 * @param {import("node-datachannel").PeerConnection} peer
 * @param {import("./lib/task.mjs").Task} task
 * @param {import("./lib/task.mjs").Report} report
 */
async function negotiate(peer, task, report) {
  /** @type {string} */
  const offer = await new Promise((resolve) => {
    peer.onLocalDescription((sdp) => resolve(sdp));
    peer.setLocalDescription("offer");
  });
  const candidates = /^a=(candidate:.*|end-of-candidates)\r\n/gm;
  const { answer, end } = await signal(task, offer.replace(candidates, ""));
  await connected(report, (up, failed) => {
    peer.onStateChange((state) => {
      if (state === "connected") up();
      if (state === "failed" || state === "closed") failed(state);
    });
    peer.setRemoteDescription(answer, "answer");
  });
  return end;
}
