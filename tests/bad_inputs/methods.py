"""Inference calls of methods in Python: signals, texts and pictures that are none."""

from functools import partial

import torch

from avlib.methods.base import Localizer, QuerySeparator, VisualSeparator
from avlib.methods.deep_clustering import DeepClustering
from avlib.methods.mixit import MixIT

from .base import BadInput
from .command_line import sound

SIGNAL = torch.linspace(-1, 1, 800)
SPOILT = SIGNAL.where(torch.arange(800) != 100, torch.nan)
IMAGE = torch.zeros(1, 3, 8, 8)


def separate(mixture: object, method: type = MixIT) -> None:
    method().separate(mixture)


def query(mixture: object, queries: object) -> None:
    QuerySeparator(None).separate(mixture, queries)


def look(mixture: object, inputs: object) -> None:
    VisualSeparator(None).separate(mixture, inputs)


def localize(audio: object, image: object) -> None:
    Localizer(None).localize(audio, image)


def query_file(queries: object) -> None:
    from avlib.apps.separate_query import separate_by_query

    separate_by_query(sound(), 'music-queries', 'out', queries, progress=False)


CASES = [
    BadInput('mixture with NaN', partial(separate, SPOILT)),
    BadInput('infinite mixture', partial(separate, SIGNAL / 0)),
    BadInput('mixture without samples', partial(separate, SIGNAL[:0])),
    BadInput('mixture of whole numbers', partial(separate, SIGNAL.int())),
    BadInput('mixture of complex numbers', partial(separate, SIGNAL.cfloat())),
    BadInput('mixture in double precision', partial(separate, SIGNAL.double())),
    BadInput('number where a mixture is expected', partial(separate, torch.tensor(1.0))),
    BadInput('list where a mixture is expected', partial(separate, [0.0, 1.0])),
    BadInput('array where a mixture is expected', partial(separate, SIGNAL.numpy())),
    BadInput('mixture with NaN to cluster', partial(separate, SPOILT, DeepClustering)),
    BadInput('one channel without its dimension', lambda: MixIT().separate_channels(SIGNAL)),
    BadInput('query that is a number', partial(query, SIGNAL, 5)),
    BadInput('number among queries', partial(query, SIGNAL, ['violin', 5])),
    BadInput('query that is None', partial(query, SIGNAL, None)),
    BadInput('empty list of queries', partial(query, SIGNAL, [])),
    BadInput('query of bytes', partial(query, SIGNAL, b'violin')),
    BadInput('mixture with NaN and a query', partial(query, SPOILT, 'violin')),
    BadInput('number among queries for a file', partial(query_file, [5])),
    BadInput('number in place of queries for a file', partial(query_file, 5)),
    BadInput('several mixtures for one video', partial(look, SIGNAL.expand(2, -1), {})),
    BadInput('mixture with NaN for a video', partial(look, SPOILT, {})),
    BadInput('list where visual inputs are expected', partial(look, SIGNAL, [IMAGE])),
    BadInput('sound without its batch', partial(localize, SIGNAL, IMAGE)),
    BadInput('sound with NaN', partial(localize, SPOILT[None], IMAGE)),
    BadInput('image without its batch', partial(localize, SIGNAL[None], IMAGE[0])),
    BadInput('grey image', partial(localize, SIGNAL[None], IMAGE[:, :1])),
    BadInput('image of whole numbers', partial(localize, SIGNAL[None], IMAGE.byte())),
    BadInput('image with NaN', partial(localize, SIGNAL[None], IMAGE / 0)),
]
