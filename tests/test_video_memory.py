"""Videos of an hour fit in memory: its growth by the minute is measured, on files of some minutes."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from films import write_film
from avlib.datasets.object_tracks import ObjectTrack, write_objects

SHORT, LONG = 3, 5  # minutes; sound is resampled in blocks from 2 minutes on
READERS = ('localize', 'objects')
ALLOCATOR = {'MALLOC_ARENA_MAX': '1', 'MALLOC_MMAP_THRESHOLD_': '262144'}  # makes its peaks repeatable

# Each file is read in a child of its own: `ru_maxrss` never falls, and a program begins with that of its parent.
PEAKS = """
import os, sys
import torch
from avlib.apps.localize import localize_recording, read_recording
from avlib.apps.video_objects import read_video_objects
from avlib.methods.localizer import ContrastiveLocalizer, LocalizerSettings
torch.set_num_threads(1)

class Level(ContrastiveLocalizer):
    def localize(self, audio, image): return audio.abs().amax(1)[:, None, None].expand(-1, 6, 6)

model = Level(LocalizerSettings(rate=16000, visual={'width': 1}, audio={'width': 1}, area=0.1)).eval()

def localize(minutes):
    card = {'rate': 16000, 'prepared': {'size': 48, 'seconds': 3.0}}
    localize_recording(model, card, read_recording(f'{minutes}.mov', None, 16000), 0.2)

def objects(minutes):
    read_video_objects(f'{minutes}.mov', 1.0, 96, 120 * minutes, boxes='boxes.json')

def peak(read, minutes):
    child = os.fork()
    if not child:
        read(minutes)
        os._exit(0)
    _, status, usage = os.wait4(child, 0)
    assert status == 0
    return usage.ru_maxrss / 1024

for read in (localize, objects):
    print(*(peak(read, int(minutes)) for minutes in sys.argv[1:]), flush=True)
"""


def write_minutes(path, count: int) -> None:
    """Write a video of some minutes, 5 frames a second, with sound at 48 kHz."""
    noise = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype='uint8')
    frames = [np.roll(noise, 2 * i, 1) for i in range(300 * count)]
    sound = np.zeros((1, 48000 * 60 * count), 'float32')
    options = {'fps': 5, 'frames': frames, 'sound': sound, 'codec_options': {'qmin': '20', 'qmax': '31'}}
    write_film(path, 'mpeg4', 'pcm_s16le', **options)


@pytest.fixture(scope='module')
def peaks(tmp_path_factory):
    """MiB of memory at the peak of each reader, for a short and a long video."""
    folder = tmp_path_factory.mktemp('minutes')
    for count in (SHORT, LONG):
        write_minutes(folder / f'{count}.mov', count)
    box = torch.tensor([[0.0, 0, 64, 64]])
    write_objects(folder / 'boxes.json', [ObjectTrack('bell', torch.zeros(1), box, torch.ones(1))])
    command = [sys.executable, '-c', PEAKS, str(SHORT), str(LONG)]
    ran = subprocess.run(command, cwd=folder, env=os.environ | ALLOCATOR, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    lines = [[float(value) for value in line.split()] for line in ran.stdout.splitlines()]
    return dict(zip(READERS, lines, strict=True))


@pytest.mark.parametrize('reader', READERS)
def test_an_hour_takes_less_than_1500_mib(peaks, reader):
    short, long = peaks[reader]
    assert short + (60 - SHORT) * (long - short) / (LONG - SHORT) < 1500
