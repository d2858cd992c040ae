"""Makes the clips the publishers send: two seconds of a moving picture and a tone, ready encoded.

The clips are committed, so this runs only when they are to change: `python make.py` with PyAV installed. Everything is
stored as IVF, H264 and Opus too, because it is the simplest container there is: one header, then length and frame.
"""

import fractions
import math
import pathlib
import struct

import av
import numpy

FRAMES_PER_SECOND = 15
SECONDS = 2
HERE = pathlib.Path(__file__).parent

# OBS makes layer i of N as (N - i) / N of the full size, the full one first.
H264_LAYERS = [(480, 270), (320, 180), (160, 90)]


def main():
    for index, (width, height) in enumerate(H264_LAYERS):
        # What x264 sends through OBS: no B-frames, parameter sets with every key frame.
        x264 = "keyint=15:scenecut=0:bframes=0:repeat-headers=1"
        options = {"profile": "baseline", "tune": "zerolatency", "x264-params": x264}
        write(f"h264-{index}.ivf", b"H264", video("libx264", width, height, options))
    write("vp8.ivf", b"VP80", video("libvpx", 320, 180, {"deadline": "realtime", "cpu-used": "8"}))
    write("opus.ivf", b"OPUS", opus())


def video(encoder, width, height, options):
    codec = av.CodecContext.create(encoder, "w")
    codec.width, codec.height, codec.pix_fmt = width, height, "yuv420p"
    codec.time_base = fractions.Fraction(1, FRAMES_PER_SECOND)
    codec.framerate = fractions.Fraction(FRAMES_PER_SECOND, 1)
    codec.gop_size = FRAMES_PER_SECOND
    codec.bit_rate = 2 * width * height
    codec.options = options
    for number in range(FRAMES_PER_SECOND * SECONDS):
        frame = av.VideoFrame.from_ndarray(picture(number, width, height), format="rgb24").reformat(format="yuv420p")
        frame.pts = number
        yield from codec.encode(frame)
    yield from codec.encode(None)


def picture(number, width, height):
    """Colour bars with a bright square that moves across them once, under noise that makes frames of many packets."""
    bars = numpy.array([[192, 192, 192], [192, 192, 0], [0, 192, 192], [0, 192, 0], [192, 0, 192], [192, 0, 0]])
    columns = numpy.arange(width) * len(bars) // width
    noise = numpy.random.default_rng(number).integers(-20, 20, (height, width, 1))
    image = (numpy.repeat(bars[columns][numpy.newaxis], height, axis=0) + 20 + noise).astype(numpy.uint8)
    side = height // 4
    left = number * (width - side) // (FRAMES_PER_SECOND * SECONDS - 1)
    image[height // 2 - side // 2 : height // 2 + side // 2, left : left + side] = 255
    return image


def opus():
    rate, samples = 48000, 960
    codec = av.CodecContext.create("libopus", "w")
    codec.sample_rate, codec.format, codec.layout, codec.bit_rate = rate, "s16", "stereo", 48000
    for number in range(rate // samples * SECONDS):
        wave = [int(9000 * math.sin(2 * math.pi * 440 * (number * samples + i) / rate)) for i in range(samples)]
        stereo = numpy.repeat(numpy.int16(wave), 2).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(stereo, format="s16", layout="stereo")
        frame.sample_rate, frame.pts = rate, number * samples
        yield from codec.encode(frame)
    yield from codec.encode(None)


def write(name, fourcc, packets):
    frames = [bytes(packet) for packet in packets]
    with open(HERE / name, "wb") as file:
        file.write(struct.pack("<4sHH4sHHIIII", b"DKIF", 0, 32, fourcc, 0, 0, FRAMES_PER_SECOND, 1, len(frames), 0))
        for number, frame in enumerate(frames):
            file.write(struct.pack("<IQ", len(frame), number) + frame)


if __name__ == "__main__":
    main()
