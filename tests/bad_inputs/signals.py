"""Signals that functions of Python take: of other shapes, empty, of another type, or with NaN."""

from functools import partial
from importlib import import_module

import torch

from .base import BadInput

SIGNAL = torch.linspace(-1, 1, 800)
SPOILT = SIGNAL.where(torch.arange(800) != 100, torch.nan)


def call(name: str, *arguments, **options) -> None:
    """Call `ROOM.MODULE.FUNCTION` of avlib."""
    module, _, function = name.rpartition('.')
    getattr(import_module(f'avlib.{module}'), function)(*arguments, **options)


CASES = [
    BadInput('signal without samples to transform', partial(call, 'dsp.stft.stft', SIGNAL[:0], 64, 16)),
    BadInput('signal of whole numbers to transform', partial(call, 'dsp.stft.stft', SIGNAL.int(), 64, 16)),
    BadInput('window of an odd number of samples', partial(call, 'dsp.stft.stft', SIGNAL, 63, 16)),
    BadInput('hop of 0', partial(call, 'dsp.stft.stft', SIGNAL, 64, 0)),
    BadInput('real spectrum', partial(call, 'dsp.stft.istft', torch.zeros(33, 51), 64, 16, 800)),
    BadInput('spectrum of another window', partial(call, 'dsp.stft.istft', torch.zeros(9, 51).cfloat(), 64, 16, 800)),
    BadInput('spectrum of another length', partial(call, 'dsp.stft.istft', torch.zeros(33, 9).cfloat(), 64, 16, 800)),
    BadInput('signal without samples to resample', partial(call, 'dsp.resample.resample', SIGNAL[:0], 8000, 16000)),
    BadInput('signal of whole numbers to resample', partial(call, 'dsp.resample.resample', SIGNAL.int(), 8000, 4000)),
    BadInput('rate of 0', partial(call, 'dsp.resample.resample', SIGNAL, 0, 8000)),
    BadInput('negative rate', partial(call, 'dsp.resample.resample', SIGNAL, 8000, -1)),
    BadInput('rate that is no whole number', partial(call, 'dsp.resample.resample', SIGNAL, 44100.5, 8000)),
    BadInput('rates without a small ratio', partial(call, 'dsp.resample.resample', SIGNAL, 65537, 8000)),
    BadInput('level of a signal without samples', partial(call, 'dsp.mixing.level_db', SIGNAL[:0])),
    BadInput('silence whose level is set', partial(call, 'dsp.mixing.set_level', torch.zeros(800), -26.0)),
    BadInput('signal with NaN whose level is set', partial(call, 'dsp.mixing.set_level', SPOILT, -26.0)),
    BadInput(
        'mixture and estimates of two lengths',
        partial(call, 'dsp.consistency.mixture_consistency', SIGNAL[:700], SIGNAL.expand(2, -1)),
    ),
    BadInput(
        'score with NaN to assign', partial(call, 'dsp.assignment.best_assignment', torch.full((2, 2), torch.nan))
    ),
    BadInput('more rows than columns to assign', partial(call, 'dsp.assignment.best_assignment', torch.zeros(3, 2))),
    BadInput('points of whole numbers to cluster', partial(call, 'dsp.kmeans.kmeans', torch.ones(9, 2).int(), 2)),
    BadInput('points with NaN to cluster', partial(call, 'dsp.kmeans.kmeans', torch.full((9, 2), torch.nan), 2)),
    BadInput('more clusters than points', partial(call, 'dsp.kmeans.kmeans', torch.zeros(3, 2), 4)),
]
