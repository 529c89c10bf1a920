"""Sound files that claim more than they hold, or hold more than a recording does."""

import struct

import numpy as np
import soundfile as sf
import torch

from avlib.io.audio import audio_info, read_audio, write_audio

from .base import BadInput, cli


def wav(channels=1, rate=8000, samples=200, code=1, bits=16, size=None, extra=b''):
    """Write bad.wav with a header of these values."""
    block = channels * bits // 8
    fmt = struct.pack('<HHIIHH', code, channels & 0xFFFF, rate, rate * block & 0xFFFFFFFF, block & 0xFFFF, bits)
    data = bytes(samples * block)
    claimed = len(data) if size is None else size
    chunks = b'fmt ' + struct.pack('<I', len(fmt)) + fmt + extra
    chunks += b'data' + struct.pack('<I', claimed) + data
    with open('bad.wav', 'wb') as file:
        file.write(b'RIFF' + struct.pack('<I', 4 + len(chunks) - len(data) + claimed) + b'WAVE' + chunks)
    return 'bad.wav'


def encoded(form, subtype=None, channels=1, rate=8000, frames=8000, name=None):
    """Write silence, encoded."""
    name = name or f'bad.{form.lower()}'
    sf.write(name, np.zeros((frames, channels), 'float32'), rate, format=form, subtype=subtype)
    return name


def sparse(rate, seconds):
    """Write silence of 8 bits, which takes no space on the disk."""
    wav(rate=rate, samples=0, bits=8, size=rate * seconds)
    with open('bad.wav', 'rb+') as file:
        file.truncate(44 + rate * seconds)
    return 'bad.wav'


def joined(count):
    """Write one short sound many times, one after the other."""
    sf.write('one.au', np.zeros(4), 8000, format='AU')
    with open('one.au', 'rb') as file:
        content = file.read()
    with open('bad.au', 'wb') as file:
        file.write(content * count)
    return 'bad.au'


def flac_claims(frames):
    """Write a FLAC file whose header claims so many frames."""
    encoded('FLAC')
    with open('bad.flac', 'rb') as file:
        content = bytearray(file.read())
    packed = int.from_bytes(content[18:26], 'big') >> 36 << 36 | frames
    content[18:26] = packed.to_bytes(8, 'big')
    with open('bad.flac', 'wb') as file:
        file.write(content)
    return 'bad.flac'


def cut(name):
    """Write the first half of a sound file."""
    with open(name, 'rb') as file:
        content = file.read()
    with open(name, 'wb') as file:
        file.write(content[: len(content) // 2])
    return name


def written(name, content):
    """Write bytes."""
    with open(name, 'wb') as file:
        file.write(content)
    return name


def separate(name):
    """Separate a file with a packaged model."""
    cli('separate', name, '--model', 'mixit-speech', '--out', 'out')


def nan():
    """Write a float WAV with NaN."""
    sf.write('nan.wav', np.array([0.1, np.nan], 'float32'), 8000, subtype='FLOAT')
    return 'nan.wav'


def silence(channels):
    """Return silence of so many channels."""
    return torch.zeros(channels, 1)


CASES = [
    BadInput('WAV of 1000 channels', lambda: separate(wav(1000))),
    BadInput('WAV of 65,535 channels', lambda: audio_info(wav(65535, samples=2))),
    BadInput('WAV without channels', lambda: audio_info(wav(0))),
    BadInput('WAV of a rate of 10⁹ Hz', lambda: separate(wav(rate=10**9))),
    BadInput('WAV of a rate of 0 Hz', lambda: audio_info(wav(rate=0))),
    BadInput('WAV of a rate of 1 Hz', lambda: separate(wav(rate=1))),
    BadInput('WAV of a rate of 7 Hz', lambda: read_audio(wav(rate=7), rate=48000)),
    BadInput('WAV of 40 channels at 384 kHz', lambda: audio_info(wav(40, 384_000))),
    BadInput('WAV that claims more than it holds', lambda: audio_info(wav(size=1_000_001))),
    BadInput('WAV of an unknown codec', lambda: audio_info(wav(code=0x1234))),
    BadInput('WAV without samples', lambda: audio_info(wav(samples=0))),
    BadInput(
        'WAV with 2,000 empty chunks and no samples', lambda: audio_info(wav(extra=b'junk\0\0\0\0' * 2000, samples=0))
    ),
    BadInput('Ogg of 80 channels of silence', lambda: separate(encoded('OGG', 'VORBIS', 80, frames=2000))),
    BadInput('FLAC that claims 2³⁵ frames', lambda: audio_info(flac_claims(2**35))),
    BadInput('WAV of 25 hours', lambda: audio_info(sparse(1000, 25 * 3600))),
    BadInput('WAV of eight hours that is read at once', lambda: read_audio(sparse(48000, 8 * 3600))),
    BadInput('2,000 sounds joined in one file', lambda: audio_info(joined(2000))),
    BadInput('Ogg whose second half is missing', lambda: audio_info(cut(encoded('OGG', 'VORBIS', frames=80000)))),
    BadInput('MP3 whose second half is missing', lambda: audio_info(cut(encoded('MP3', frames=80000)))),
    BadInput('AIFF whose second half is missing', lambda: audio_info(cut(encoded('AIFF')))),
    BadInput('text named .wav', lambda: separate(written('talk.wav', b'once upon a time'))),
    BadInput('empty sound file', lambda: separate(written('empty.wav', b''))),
    BadInput('sound with NaN', lambda: read_audio(nan())),
    BadInput('output sound of a million channels', lambda: write_audio('out.wav', silence(10**6), 8000)),
]
