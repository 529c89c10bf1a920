"""Videos that claim more than they hold, hold more than a video does, or are none."""

import struct

import torch

from avlib.io.video import video_info, video_sound, write_video

from .base import BadInput, cli

MATRIX = struct.pack('>9i', 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)


def box(name, *parts, full=None):
    """Return a box of an MP4 file; `full`: flags of one that has a version and flags."""
    content = (b'' if full is None else struct.pack('>I', full)) + b''.join(parts)
    return struct.pack('>I4s', 8 + len(content), name) + content


def words(*numbers):
    """Return numbers of 32 bits."""
    return struct.pack(f'>{len(numbers)}I', *numbers)


def track(number, size, packets, ticks, codec):
    """Return a track of pictures that claims a size, a number of packets and a length in ticks."""
    places = struct.pack('>HH', *size) + words(0x480000, 0x480000, 0) + struct.pack('>H32xHh', 1, 24, -1)
    entry = box(codec, bytes(6), struct.pack('>H', 1), bytes(16), places)
    table = box(
        b'stbl',
        box(b'stsd', words(1), entry, full=0),
        box(b'stts', words(1, packets, max(ticks // packets, 1)), full=0),
        box(b'stsc', words(1, 1, packets, 1), full=0),
        box(b'stsz', words(1, packets), full=0),
        box(b'stco', words(1, 40), full=0),
    )
    links = box(b'dinf', box(b'dref', words(1), box(b'url ', full=1), full=0))
    media = box(
        b'mdia',
        box(b'mdhd', words(0, 0, 1000, ticks), struct.pack('>HH', 0x55C4, 0), full=0),
        box(b'hdlr', words(0), b'vide', bytes(13), full=0),
        box(b'minf', box(b'vmhd', bytes(8), full=1), links, table),
    )
    sides = words(*(side << 16 & 0xFFFFFFFF for side in size))
    return box(b'trak', box(b'tkhd', words(0, 0, number, 0, ticks), bytes(16), MATRIX, sides, full=3), media)


def mp4(size=(64, 64), packets=10, ticks=1000, codec=b'mp4v', tracks=1, fragment=0):
    """Write an MP4 file of some 900 bytes whose header makes these claims."""
    head = box(b'mvhd', words(0, 0, 1000, ticks, 1 << 16, 0x01000000, 0, 0), MATRIX, bytes(24), words(9), full=0)
    movie = box(b'moov', head, *(track(number + 1, size, packets, ticks, codec) for number in range(tracks)))
    parts = box(b'moof', box(b'traf', box(b'trun', words(fragment, 0), full=1))) if fragment else b''
    return written('bad.mp4', box(b'ftyp', b'isom', words(512), b'isom') + movie + parts + box(b'mdat', bytes(99)))


def written(name, content):
    """Write bytes."""
    with open(name, 'wb') as file:
        file.write(content)
    return name


def film(seconds=1, fps=10, sound=False, name='bad.mp4'):
    """Write a film of black pictures, one at the begin and one after so many seconds."""
    frames = [torch.zeros(3, 16, 16)] * round(seconds * fps)
    write_video(name, frames, fps, torch.zeros(800) if sound else None, 8000)
    return name


def raw(size):
    """Write a video whose pictures are raw and claim a size, as YUV4MPEG."""
    return written('bad.y4m', b'YUV4MPEG2 W%d H%d F25:1 C420jpeg\nFRAME\n' % size + bytes(99))


def cut(name):
    """Write the first half of a video."""
    with open(name, 'rb') as file:
        content = file.read()
    return written(name, content[: len(content) // 2])


CASES = [
    BadInput('video that lists a billion frames in 900 bytes', lambda: video_info(mp4(packets=10**9))),
    BadInput('video of ten tracks of 9 million frames', lambda: video_info(mp4(packets=9_000_000, tracks=10))),
    BadInput('video with a fragment of 80 million frames', lambda: video_info(mp4(fragment=80_000_000))),
    BadInput('video of 10,000 × 10,000 pixels', lambda: video_info(mp4((10_000, 10_000), codec=b'jpeg'))),
    BadInput('video of 65,535 × 65,535 pixels', lambda: video_info(mp4((65535, 65535), codec=b'jpeg'))),
    BadInput('raw video of 100,000 × 100,000 pixels', lambda: video_info(raw((100_000, 100_000)))),
    BadInput('raw video of 8,000 × 8,000 pixels without content', lambda: video_info(raw((8000, 8000)))),
    BadInput('video that claims 49 days', lambda: video_info(mp4(ticks=2**32 - 1))),
    BadInput('video without sound', lambda: cli('localize', film(), '--out', 'out')),
    BadInput('video whose second half is missing', lambda: video_sound(cut(film(sound=True)))),
    BadInput(
        'list of other files named .mp4',
        lambda: video_info(written('bad.mp4', b'ffconcat version 1.0\nfile /etc/hosts\n')),
    ),
    BadInput(
        'playlist of addresses named .mp4',
        lambda: video_info(written('bad.mp4', b'#EXTM3U\n#EXTINF:9,\nhttp://localhost/a.ts\n')),
    ),
    BadInput('text named .mp4', lambda: video_info(written('bad.mp4', b'once upon a time'))),
    BadInput('empty video', lambda: video_info(written('bad.mp4', b''))),
]
