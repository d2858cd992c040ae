"""FFmpeg's WHIP muxer (libavformat, through PyAV), driven as `ffmpeg -f whip` drives it. It only publishes.

Its offer is H264 and Opus with `a=setup:passive` and no candidates, and it answers no PLI: see the rules for FFmpeg in
the design's protocol notes.
"""

import math
import time

import av
import numpy
from lib import task as contract

WIDTH, HEIGHT, RATE = 320, 180, 15


def main(task, report):
    if task.role != "publish":
        raise RuntimeError("FFmpeg cannot play WHEP")
    options = {"authorization": task.token} if task.token else {}
    with av.open(task.url, "w", format="whip", options=options) as output:
        video = output.add_stream("libx264", rate=RATE, width=WIDTH, height=HEIGHT, pix_fmt="yuv420p")
        video.codec_context.gop_size = RATE
        video.options = {"profile": "baseline", "tune": "zerolatency", "x264-params": "bframes=0"}
        audio = output.add_stream("libopus", rate=48000, layout="stereo")
        # Connects: offer, ICE, DTLS.
        output.start_encoding()
        report.connected()
        report.video["codec"] = "h264"
        started = time.monotonic()
        for number in range(int(task.seconds * RATE)):
            for packet in video.encode(picture(number)):
                output.mux(packet)
                report.video["packets"] += 1
                report.video["keyframes"] += int(packet.is_keyframe)
            report.video["frames"] += 1
            while audio_seconds(report) < (number + 1) / RATE:
                for packet in audio.encode(tone(report.audio["packets"])):
                    output.mux(packet)
                report.audio["packets"] += 1
            time.sleep(max(0, started + number / RATE - time.monotonic()))


def audio_seconds(report):
    return report.audio["packets"] * 0.02


def picture(number):
    ramp = (numpy.add.outer(numpy.arange(HEIGHT), numpy.arange(WIDTH)) + 4 * number).astype(numpy.uint8)
    rgb = av.VideoFrame.from_ndarray(numpy.repeat(ramp[:, :, numpy.newaxis], 3, axis=2), format="rgb24")
    frame = rgb.reformat(format="yuv420p")
    frame.pts = number
    return frame


def tone(number):
    wave = [int(8000 * math.sin(2 * math.pi * 440 * (number * 960 + i) / 48000)) for i in range(960)]
    frame = av.AudioFrame.from_ndarray(numpy.repeat(numpy.int16(wave), 2).reshape(1, -1), format="s16", layout="stereo")
    frame.sample_rate, frame.pts = 48000, number * 960
    return frame


if __name__ == "__main__":
    arguments = contract.parse()
    result = contract.Report("ffmpeg", arguments.role)
    try:
        main(arguments, result)
    except Exception as error:
        result.error(error)
    result.finish()
