"""Films whose pictures show their number and whose sound is a click, in any container, codec and with any fault."""

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

FPS, SECONDS, SIZE, CLICK = 10, 4, 64, 2.0
QUICK = {'libx264': {'preset': 'veryfast'}, 'libvpx': {'deadline': 'realtime', 'cpu-used': '8'}}
LAYOUTS = {1: 'mono', 2: 'stereo', 6: '5.1'}


def picture(index: int) -> np.ndarray:
    """A picture that shows a number below 64 as six bars."""
    pixels = np.zeros((SIZE, SIZE, 3), 'uint8')
    for bit in range(6):
        if index >> bit & 1:
            pixels[4:60, 4 + 10 * bit : 11 + 10 * bit] = 255
    return pixels


def number(frame) -> int:
    """The number that a frame `[3, H, W]` shows."""
    columns = [frame[:, 16:48, 6 + 10 * bit : 9 + 10 * bit].mean() > 0.5 for bit in range(6)]
    return sum(int(column) << bit for bit, column in enumerate(columns))


def click(rate: int, channels: int = 1, at: float = CLICK, seconds: float = SECONDS) -> np.ndarray:
    """A tone of 0.2 s in silence, the same in all channels `[channel, time]`."""
    time = np.arange(round(rate * seconds)) / rate
    inside = (time >= at) & (time < at + 0.2)
    tone = np.where(inside, 0.5 * np.sin(2 * np.pi * 1000 * time), 0).astype('float32')
    return np.stack([tone] * channels)


def click_time(sound, rate: int, threshold: float = 0.1) -> float:
    """The time in s at which a sound `[time]` first exceeds a threshold."""
    return (sound.abs() > threshold).nonzero()[0].item() / rate


def encode_pictures(container, codec: str, options: dict, frames: list, fps: int) -> list:
    stream = container.add_stream(codec, rate=fps, options=QUICK.get(codec, {}) | options)
    stream.codec_context.thread_count = 1
    stream.height, stream.width = frames[0].shape[:2]
    stream.pix_fmt = 'yuvj420p' if codec == 'mjpeg' else 'yuv420p'
    packets = []
    for i, pixels in enumerate(frames):
        frame = av.VideoFrame.from_ndarray(pixels)
        frame.pts, frame.time_base = i, Fraction(1, fps)
        packets += stream.encode(frame)
    return packets + stream.encode()


def encode_sound(container, codec: str, sound: np.ndarray, rate: int) -> list:
    stream = container.add_stream(codec, rate=rate, bit_rate=128000)
    layout = stream.layout = LAYOUTS[len(sound)]
    convert = av.AudioResampler(format=stream.format.name, layout=layout, rate=rate)
    packets, block = [], stream.codec_context.frame_size or 1024
    for start in range(0, sound.shape[1], block):
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound[:, start : start + block]), 'fltp', layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        packets += [packet for part in convert.resample(frame) for packet in stream.encode(part)]
    return packets + stream.encode()


def shift(packets: list, seconds: float) -> None:
    for packet in packets:
        ticks = round(seconds / packet.time_base)
        packet.pts += ticks
        packet.dts = packet.pts if packet.dts is None else packet.dts + ticks


def write_film(
    path, codec='libx264', audio='aac', rate=48000, sound=None, late=0.0, pictures_late=0.0, lost=None, jitter=None,
    frames=None, fps=FPS, format=None, options=None, codec_options=None, file=None,
):  # fmt: skip
    """Write a film.

    `late`, `pictures_late`: s by which all stamps of sound and pictures are moved; `lost`: begin and end in s of sound
    that is left out; `jitter`: function that gives the s by which a stamp of the sound is wrong.
    """
    sound = click(rate) if sound is None else sound
    frames = [picture(i) for i in range(fps * SECONDS)] if frames is None else frames
    with av.open(file or str(path), 'w', format=format, options=options or {}) as container:
        packets = encode_pictures(container, codec, codec_options or {}, frames, fps) if codec else []
        shift(packets, pictures_late)
        heard = encode_sound(container, audio, sound, rate) if audio else []
        heard = [packet for packet in heard if not lost or not lost[0] <= packet.pts * packet.time_base < lost[1]]
        shift(heard, late)
        for packet in heard if jitter else []:
            packet.pts = packet.dts = packet.pts + round(jitter() / packet.time_base)
        for packet in sorted(packets + heard, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
    return Path(path) if path else None


class Pipe:
    """A file that can't be rewound, as a pipe."""

    def __init__(self):
        self.content = bytearray()

    def write(self, data: bytes) -> int:
        self.content += data
        return len(data)


def turn(path: Path, matrix: list[int]) -> Path:
    """Write a display matrix (a, b, c, d) into the header of the first track of an MP4 file."""
    content = bytearray(path.read_bytes())
    at = content.index(b'tkhd') + 44
    a, b, c, d = matrix
    content[at : at + 36] = struct.pack('>9i', a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    return path


def boxes(content: bytes):
    """The boxes of an MP4 file: kind and bytes."""
    place = 0
    while place < len(content):
        (size,) = struct.unpack('>I', content[place : place + 4])
        yield content[place + 4 : place + 8], content[place : place + size]
        place += size
