"""Recordings and settings for separation by direction."""

from functools import partial

import torch

from .base import BadInput, cli
from .command_line import OUT, sound


def spatial(channels: int, *options: str) -> None:
    cli('separate', sound(channels=channels), *OUT, '--method', 'spatial', *options)


def ensemble(*options: str) -> None:
    cli('separate', sound(channels=2), *OUT, '--model', 'mixit-speech', '--method', 'ensemble', *options)


def cluster(signal: torch.Tensor) -> None:
    from avlib.apps.separate_stereo import clustering_method

    clustering_method(8000)(signal)


CASES = [
    BadInput('mono recording', partial(spatial, 1)),
    BadInput('recording of three channels', partial(spatial, 3)),
    BadInput('one source', partial(spatial, 2, '--sources', '1')),
    BadInput('no sources', partial(spatial, 2, '--sources', '0')),
    BadInput('a million sources', partial(spatial, 2, '--sources', '1000000')),
    BadInput('a million sources of the ensemble', partial(ensemble, '--sources', '1000000')),
    BadInput('unknown cue', partial(spatial, 2, '--cue', 'smell')),
    BadInput('microphones without distance', partial(spatial, 2, '--microphone-distance', '0')),
    BadInput('negative distance of the microphones', partial(spatial, 2, '--microphone-distance', '-3')),
    BadInput('distance of the microphones that is not a number', partial(spatial, 2, '--microphone-distance', 'nan')),
    BadInput('infinite distance of the microphones', partial(spatial, 2, '--microphone-distance', 'inf')),
    BadInput('switch above 1', partial(ensemble, '--switch', '1.5')),
    BadInput('switch that is not a number', partial(ensemble, '--switch', 'nan')),
    BadInput('unknown cue of the ensemble', partial(ensemble, '--switch', '0.5', '--cue', 'smell')),
    BadInput('one channel, in Python', partial(cluster, torch.zeros(1, 8000)), 'channels'),
    BadInput('signal without samples, in Python', partial(cluster, torch.zeros(2, 0)), 'channels'),
    BadInput('signal of NaN, in Python', partial(cluster, torch.full((2, 8000), torch.nan)), 'recording'),
]
