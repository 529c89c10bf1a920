"""Small files that ask for much are refused, or read in bounded memory; and the same call writes the same bytes."""

import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile
import torch

from avlib.io.audio import write_audio
from avlib.io.limits import Limits
from avlib.io.pictures import write_png
from avlib.io.video import write_video
from bad_inputs import pictures, sounds, videos

PEAK_MB = 1500
# The peak of this program alone, above what its imports take.
MEASURED = """
import re, sys
from avlib.io import audio, pictures, video
import PIL.Image
PIL.Image.init()
def peak(): return int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]) / 1024
start, found = peak(), 'read'
try: eval(sys.argv[1])
except ValueError as error: found = str(error)
print(peak() - start, found)
"""


def cost(folder, expression: str) -> tuple[float, str]:
    """Return the MB that an expression takes in a program of its own, and the message of its error."""
    ran = subprocess.run([sys.executable, '-c', MEASURED, expression], cwd=folder, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    found = ran.stdout.partition(' ')
    return float(found[0]), found[2].strip()


def flac_of_hours():
    """Write 3 hours of stereo silence at 48 kHz in 2 MB."""
    with soundfile.SoundFile('bad.flac', 'w', 48000, 2, format='FLAC', subtype='PCM_16') as file:
        zeros = np.zeros((48000 * 60, 2), 'int16')
        for _ in range(180):
            file.write(zeros)


GREEDY = {
    'channels': (lambda: sounds.wav(1000), 'audio.read_audio("bad.wav")', '1000 channels'),
    'rate': (lambda: sounds.wav(rate=10**9), 'audio.read_audio("bad.wav")', '1000000000 Hz'),
    'vorbis': (
        lambda: sounds.encoded('OGG', 'VORBIS', 64, 192000, 20000),
        'audio.read_audio("bad.ogg")',
        '12288000 channels times Hz',
    ),
    'hours': (flac_of_hours, 'audio.read_audio("bad.flac")', '1036800000 samples at once'),
    'joined': (lambda: sounds.joined(900), 'audio.read_audio("bad.au")', 'read'),
    'pixels': (lambda: pictures.saved('bad.png', (13000, 13000), '1'), 'pictures.read_image("bad.png")', '169000000'),
    'transparent': (
        lambda: pictures.saved('bad.png', (8000, 8000), 'RGBA'),
        'pictures.read_image("bad.png")',
        'read',
    ),
    'text': (
        lambda: pictures.png(9, 9, pictures.chunk(b'zTXt', b'a\0\0' + pictures.BOMB)),
        'pictures.read_image("bad.png")',
        'is no whole picture',
    ),
    'tile': (lambda: pictures.tiff(tile=60_000), 'pictures.read_image("bad.tif")', '3600000000 pixels'),
    'index': (lambda: videos.mp4(packets=80_000_000), 'video.video_info("bad.mp4")', '80000000 packets'),
    'whole index': (lambda: videos.mp4(packets=9_000_000), 'video.video_info("bad.mp4")', 'is no whole video'),
    'frame': (lambda: videos.raw((100_000, 100_000)), 'video.video_info("bad.y4m")', 'is no whole video'),
}  # fmt: skip


@pytest.mark.skipif(sys.platform != 'linux', reason='reads the peak memory from /proc')
@pytest.mark.parametrize('name', GREEDY)
def test_a_small_file_takes_little_memory(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write, expression, words = GREEDY[name]
    write()
    taken, found = cost(tmp_path, expression)
    assert words in found, found
    assert taken < PEAK_MB
    if words[0].isdigit():  # refused by a limit, before memory is asked for
        assert taken < 100 and 'AVLIB_LIMITS=' in found


def test_a_limit_that_is_raised_lets_a_file_pass(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sounds.wav(100)
    monkeypatch.setenv('AVLIB_LIMITS', 'channels=100')
    assert cost(tmp_path, 'audio.read_audio("bad.wav")')[1] == 'read'
    monkeypatch.setenv('AVLIB_LIMITS', 'chanels=100')
    assert 'names are rate, lowest_rate, channels' in cost(tmp_path, 'audio.read_audio("bad.wav")')[1]


def test_recordings_of_these_kinds_are_within_the_limits():
    """Bat detectors, 64 microphones, a day, 8K, a camera of 61 megapixels, a day of film at 60 pictures a second."""
    limits = Limits()
    assert limits.rate >= 384_000 and limits.channels >= 64 and limits.flow >= 64 * 48_000 and limits.hours >= 24
    assert limits.frame_pixels >= 8192 * 4320 and limits.pixels >= 9504 * 6336
    assert limits.frames >= 24 * 3600 * 60 and limits.samples >= 3600 * 48_000


def write_all(folder, threads: int) -> dict[str, bytes]:
    """Write each kind of file with so many threads of torch; return their contents."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    noise = torch.rand(2, 4000, generator=torch.manual_seed(0)) - 0.5
    frames = torch.rand(12, 3, 144, 176, generator=torch.manual_seed(1))
    write_audio(folder / 'a.wav', noise, 8000)
    write_audio(folder / 'a.flac', noise, 8000)
    write_png(folder / 'a.png', frames[0])
    write_video(folder / 'a.mp4', frames, 10, noise[0], 8000)
    torch.set_num_threads(before)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_same_call_writes_the_same_bytes(tmp_path):
    """A second later, and with another number of threads."""
    first = write_all(tmp_path, 1)
    time.sleep(1.1)
    second = write_all(tmp_path, 2)
    assert len(first) == 4 and {name for name in first if first[name] != second[name]} == set()
