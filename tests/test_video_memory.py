"""Videos of an hour fit in memory: its growth by the minute is measured, on files of some minutes."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from films import write_film
from avlib.datasets.object_tracks import ObjectTrack, write_objects

SHORT, LONG = 3, 5  # minutes


def peak_growth(script: str, *arguments) -> list[float]:
    """MiB by which the peak of memory grows while a script reads each file."""
    code = 'import resource, sys\nimport torch\ntorch.set_num_threads(1)\n' + script
    ran = subprocess.run([sys.executable, '-c', code, *map(str, arguments)], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return [float(line) for line in ran.stdout.split()]


LOCALIZE = """
from pathlib import Path
from avlib.apps.localize import localize_recording, read_recording
from avlib.methods.localizer import ContrastiveLocalizer, LocalizerSettings
class Level(ContrastiveLocalizer):
    def localize(self, audio, image): return audio.abs().amax(1)[:, None, None].expand(-1, 6, 6)
model = Level(LocalizerSettings(rate=16000, visual={'width': 1}, audio={'width': 1}, area=0.1)).eval()
for path in sys.argv[1:3]:
    recording = read_recording(path, None, 16000)
    card = {'rate': 16000, 'prepared': {'size': 48, 'seconds': 3.0}}
    localize_recording(model, card, recording, 0.2)
    del recording
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""
OBJECTS = """
from avlib.apps.video_objects import read_video_objects
for path, windows in zip(sys.argv[1:3], (360, 600)):
    read_video_objects(path, 1.0, 96, windows, boxes=sys.argv[3])
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


@pytest.fixture(scope='module')
def minutes(tmp_path_factory):
    """Videos of some minutes, 5 frames a second, with sound at 48 kHz."""
    folder = tmp_path_factory.mktemp('minutes')
    noise = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype='uint8')
    for count in (SHORT, LONG):
        frames = [np.roll(noise, 2 * i, 1) for i in range(300 * count)]
        sound = np.zeros((1, 48000 * 60 * count), 'float32')
        options = {'fps': 5, 'frames': frames, 'sound': sound, 'codec_options': {'qmin': '20', 'qmax': '31'}}
        write_film(folder / f'{count}.mov', 'mpeg4', 'pcm_s16le', **options)
    write_objects(
        folder / 'boxes.json', [ObjectTrack('bell', torch.zeros(1), torch.tensor([[0.0, 0, 64, 64]]), torch.ones(1))]
    )
    return [folder / f'{SHORT}.mov', folder / f'{LONG}.mov', folder / 'boxes.json']


@pytest.mark.parametrize('script', [LOCALIZE, OBJECTS], ids=['localize', 'objects'])
def test_an_hour_takes_less_than_1500_mib(minutes, script):
    short, long = peak_growth(script, *minutes)
    assert short + (60 - SHORT) * (long - short) / (LONG - SHORT) < 1500
