// werift: WebRTC written in TypeScript, sharing no code with the stacks written in C++.

import { MediaStreamTrack, RTCPeerConnection, useH264, useOPUS, useVP8 } from "werift";
import { Stream, videoCounter } from "./lib/rtp.mjs";
import { connected, run, signal, wait } from "./lib/task.mjs";
import { play } from "./lib/clock.mjs";

await run("werift", { publish, watch });

/** @param {import("./lib/task.mjs").Task} task @param {import("./lib/task.mjs").Report} report */
async function publish(task, report) {
  const codec = task.codec === "h264" ? "h264" : "vp8";
  const peer = connection(codec);
  const audio = new MediaStreamTrack({ kind: "audio" });
  const video = new MediaStreamTrack({ kind: "video" });
  peer.addTransceiver(audio, { direction: "sendonly" });
  peer.addTransceiver(video, { direction: "sendonly" });
  const end = await negotiate(peer, task, report);
  // werift replaces ssrc and payload type by what was negotiated.
  const opus = new Stream({ ssrc: 1, payloadType: 96 });
  const picture = new Stream({ ssrc: 2, payloadType: 97 });
  report.video.codec = codec;
  await play(
    task.seconds,
    [codec === "h264" ? "h264-1" : "vp8"],
    ([frame], timestamp) => {
      for (const packet of picture.frame(codec, frame, timestamp)) {
        video.writeRtp(packet);
        report.video.packets += 1;
      }
      report.video.frames += 1;
    },
    (frame, timestamp) => {
      for (const packet of opus.frame("opus", frame, timestamp)) audio.writeRtp(packet);
      report.audio.packets += 1;
    },
  );
  await peer.close();
  await end();
}

/** @param {import("./lib/task.mjs").Task} task @param {import("./lib/task.mjs").Report} report */
async function watch(task, report) {
  const peer = connection(task.codec);
  peer.addTransceiver("audio", { direction: "recvonly" });
  peer.addTransceiver("video", { direction: "recvonly" });
  peer.onTrack.subscribe((track) => {
    if (track.kind === "audio") {
      track.onReceiveRtp.subscribe(() => (report.audio.packets += 1));
      return;
    }
    const count = videoCounter(report, () => peer.remoteDescription?.sdp ?? "");
    track.onReceiveRtp.subscribe((packet) => count(packet.serialize()));
    // A picture needs a key frame, and asking is what a decoder would do.
    const receiver = peer.getReceivers().find((one) => one.tracks.includes(track));
    track.onReceiveRtp.once((packet) => receiver?.sendRtcpPLI(packet.header.ssrc));
  });
  const end = await negotiate(peer, task, report);
  await wait(task.seconds);
  await peer.close();
  await end();
}

/** @param {string} codec only this one; empty: both */
function connection(codec) {
  const video = [];
  if (codec !== "h264") video.push(useVP8());
  if (codec !== "vp8") video.push(useH264());
  return new RTCPeerConnection({ codecs: { audio: [useOPUS()], video }, iceServers: [] });
}

/**
 * @param {RTCPeerConnection} peer
 * @param {import("./lib/task.mjs").Task} task
 * @param {import("./lib/task.mjs").Report} report
 */
async function negotiate(peer, task, report) {
  await peer.setLocalDescription(await peer.createOffer());
  const { answer, end } = await signal(task, peer.localDescription?.sdp ?? "");
  await connected(report, (up, failed) => {
    peer.connectionStateChange.subscribe((state) => {
      if (state === "connected") up();
      if (state === "failed" || state === "closed") failed(state);
    });
    peer.setRemoteDescription({ type: "answer", sdp: answer }).catch((error) => failed(String(error)));
  });
  return end;
}
