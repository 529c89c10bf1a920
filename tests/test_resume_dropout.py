"""A training that is killed at any moment and started again ends in the same bits, with random numbers in its steps.

The trainings run in processes of their own, which kill themselves by SIGKILL; one parent imports PyTorch for all.
"""

import json
import os
import random
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from torch import nn
from torch.nn import functional as F

from avlib.methods.base import Method
from avlib.methods.slavc import Slavc, SlavcSettings
from avlib.training import trainer
from avlib.training.checkpoints import load_tensors

ENCODERS = {'visual': {'stem': 'half', 'width': 4}, 'audio': {'width': 4}, 'dim': 8, 'temperature': 0.1}
SLAVC = {'rate': 8000, 'n_fft': 256, 'hop': 128, **ENCODERS}
EPOCHS, STEPS, BATCH = 3, 3, 4


def die():
    os.kill(os.getpid(), signal.SIGKILL)


class Pairs(torch.utils.data.Dataset):
    """Frames and sounds by epoch and index; the process dies in epoch 1 where `stop` says."""

    def __init__(self, stop):
        self.stop, self.epoch = stop, 0

    def set_epoch(self, epoch):
        self.epoch = epoch
        if self.stop == 'next epoch' and epoch == 1:
            die()

    def __len__(self):
        return STEPS * BATCH

    def __getitem__(self, i):
        if self.stop == 'middle' and (self.epoch, i) == (1, BATCH + 1):
            die()
        generator = torch.Generator().manual_seed(1000 * self.epoch + i)
        image = torch.rand(3, 32, 32, generator=generator)
        return {'image': image, 'audio': torch.randn(4000, generator=generator)}


class Noisy(Method):
    """A method that draws from PyTorch's, NumPy's and Python's generators in each step, with large gradients."""

    @dataclass(frozen=True)
    class settings_class:
        dropout: float = 0.5

    def __init__(self):
        super().__init__(self.settings_class())
        self.layers = nn.Sequential(nn.Linear(64, 8), nn.Dropout(self.settings.dropout), nn.Linear(8, 1))

    def loss(self, batch):
        shift = np.random.randn() + random.random()
        y = self.layers(batch['audio'][:, :64] + torch.randn(64) + shift)
        return {'total': 1e4 * F.mse_loss(y, torch.ones_like(y))}


CASES = {
    'dropout of frames': lambda: Slavc(SlavcSettings(**SLAVC, visual_dropout=0.5, momentum=None)),
    'dropout of sounds, momentum': lambda: Slavc(SlavcSettings(**SLAVC, audio_dropout=0.3, momentum=0.9)),
    'three generators': Noisy,
    'half precision': Noisy,
}


STOPS = dict.fromkeys(CASES, ('middle', 'next epoch')) | {'three generators': ('middle', 'validation', 'model')}


def train(name, stop, folder):
    """Train one case in this process, which dies at `stop`."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    settings = trainer.TrainSettings(
        epochs=EPOCHS,
        steps_per_epoch=STEPS,
        batch=BATCH,
        accelerator='cpu',
        checkpoint='last',
        threads=1,
    )
    trained, written = [], trainer.save_state

    def validate(method):
        trained.append(method)
        if stop == 'validation' and len(trained) == 2:
            die()
        return torch.rand(()).item()  # a validation may draw, too

    def save_state(*args, **kwargs):
        if stop == 'model' and len(trained) == 2:
            die()
        return written(*args, **kwargs)

    trainer.save_state = save_state
    if name == 'half precision':  # Fabric takes bfloat16 for it on a CPU, which needs no scale of the loss
        half = MixedPrecision('16-mixed', 'cpu', torch.amp.GradScaler('cpu'))
        trainer._launch = lambda settings: Fabric(accelerator='cpu', devices=1, plugins=half)
    trainer.train(CASES[name](), Pairs(stop), validate, settings, folder)


def in_child(name, stop, folder):
    """Train in a child process; return its exit status, -9 for one that died."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            train(name, stop, folder)
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def train_all(folder):
    Fabric(accelerator='cpu', devices=1).launch()  # imports once, for all children
    for name in CASES:
        statuses = [in_child(name, None, folder / name / 'whole')]
        for stop in STOPS[name]:
            statuses += [in_child(name, stop, folder / name / stop), in_child(name, None, folder / name / stop)]
        (folder / name / 'statuses.json').write_text(json.dumps(statuses))


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp('runs')
    done = subprocess.run([sys.executable, __file__, str(folder)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


def rows(folder):
    """The log without times."""
    lines = (folder / 'log.jsonl').read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if not k.endswith('_s')} for line in lines]


@pytest.mark.parametrize('name', CASES)
def test_killed_run_ends_in_the_same_bits(runs, name):
    assert json.loads((runs / name / 'statuses.json').read_text()) == [0] + [-9, 0] * len(STOPS[name])
    whole = runs / name / 'whole'
    assert len(rows(whole)) == EPOCHS
    for stop in STOPS[name]:
        assert rows(runs / name / stop) == rows(whole), stop
        for file in ('model.safetensors', 'last.safetensors'):
            assert (runs / name / stop / file).read_bytes() == (whole / file).read_bytes(), (stop, file)


def test_state_has_generators_and_scale_of_the_loss(runs):
    tensors, note = load_tensors(runs / 'half precision/whole/last.safetensors')
    assert tensors['random/cpu'].shape == (1, len(torch.get_rng_state()))
    assert note['scaler']['scale'] < 2**16  # the first gradients overflowed
    assert not load_tensors(runs / 'three generators/whole/last.safetensors')[1]['scaler']


if __name__ == '__main__':
    train_all(Path(sys.argv[1]))
