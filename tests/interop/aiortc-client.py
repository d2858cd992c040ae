"""aiortc: WebRTC in Python, with real encoders and decoders of its own."""

import asyncio
import fractions
import signal
import time

import aiortc
import av
import numpy
from lib import task as contract

WIDTH, HEIGHT, RATE = 320, 180, 15


async def main(task, report):
    peer = aiortc.RTCPeerConnection(aiortc.RTCConfiguration(iceServers=[]))
    if task.role == "publish":
        peer.addTrack(Tone())
        peer.addTrack(Picture())
        prefer(peer, task.codec)
    else:
        for kind in ("audio", "video"):
            peer.addTransceiver(kind, direction="recvonly")
        prefer(peer, task.codec)
        peer.on("track", lambda track: asyncio.ensure_future(consume(track, report)))
    up = asyncio.Event()
    peer.on("connectionstatechange", lambda: up.set() if peer.connectionState in ("connected", "failed") else None)

    await peer.setLocalDescription(await peer.createOffer())
    answer, session = await asyncio.to_thread(contract.post, task, peer.localDescription.sdp)
    await peer.setRemoteDescription(aiortc.RTCSessionDescription(answer, "answer"))
    await asyncio.wait_for(up.wait(), contract.CONNECT_SECONDS)
    if peer.connectionState != "connected":
        raise RuntimeError("connection " + peer.connectionState)
    report.connected()
    await over(task.seconds)
    await count(peer, task, report)
    await peer.close()
    await asyncio.to_thread(contract.wait_until_gone, session)
    await asyncio.to_thread(contract.delete, task, session)


async def over(seconds):
    """Returns after the time, or at SIGTERM."""
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    try:
        await asyncio.wait_for(told.wait(), seconds)
    except TimeoutError:
        pass


def prefer(peer, codec):
    if not codec:
        return
    for transceiver in peer.getTransceivers():
        if transceiver.kind == "video":
            known = aiortc.RTCRtpSender.getCapabilities("video").codecs
            transceiver.setCodecPreferences([c for c in known if c.mimeType.lower() == "video/" + codec])


async def consume(track, report):
    """Takes decoded frames as long as they come."""
    while True:
        try:
            frame = await track.recv()
        except aiortc.mediastreams.MediaStreamError:
            return
        if track.kind == "video":
            report.video["frames"] += 1
            report.video["width"] = frame.width
            report.video["keyframes"] += int(frame.key_frame)


async def count(peer, task, report):
    wanted = "outbound-rtp" if task.role == "publish" else "inbound-rtp"
    for stats in (await peer.getStats()).values():
        if stats.type == wanted:
            packets = stats.packetsSent if task.role == "publish" else stats.packetsReceived
            (report.video if stats.kind == "video" else report.audio)["packets"] += packets
    if task.role == "publish":
        report.video["codec"] = task.codec or None


class Picture(aiortc.VideoStreamTrack):
    """A grey ramp that moves."""

    def __init__(self):
        super().__init__()
        self.number, self.started = 0, None

    async def recv(self):
        self.started = self.started or time.monotonic()
        await asyncio.sleep(max(0, self.started + self.number / RATE - time.monotonic()))
        ramp = (numpy.add.outer(numpy.arange(HEIGHT), numpy.arange(WIDTH)) + 4 * self.number).astype(numpy.uint8)
        frame = av.VideoFrame.from_ndarray(numpy.repeat(ramp[:, :, numpy.newaxis], 3, axis=2), format="rgb24")
        frame.pts, frame.time_base = self.number * (90000 // RATE), fractions.Fraction(1, 90000)
        self.number += 1
        return frame


class Tone(aiortc.AudioStreamTrack):
    """440 Hz."""

    def __init__(self):
        super().__init__()
        self.sample, self.started = 0, None

    async def recv(self):
        self.started = self.started or time.monotonic()
        await asyncio.sleep(max(0, self.started + self.sample / 48000 - time.monotonic()))
        wave = 8000 * numpy.sin(2 * numpy.pi * 440 * (self.sample + numpy.arange(960)) / 48000)
        frame = av.AudioFrame.from_ndarray(wave.astype(numpy.int16).reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48000, self.sample, fractions.Fraction(1, 48000)
        self.sample += 960
        return frame


if __name__ == "__main__":
    arguments = contract.parse()
    result = contract.Report("aiortc", arguments.role)
    try:
        asyncio.run(main(arguments, result))
    except Exception as error:
        result.error(error)
    result.finish()
