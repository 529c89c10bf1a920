"""Names of sounds: empty, without words, of a wrong type, or too many."""

from functools import partial
from pathlib import Path

import torch

from .base import BadInput, cli
from .command_line import OUT, sound


def query(*texts: str) -> None:
    cli('separate', sound(), *OUT, *(part for text in texts for part in ('--query', text)))


def separate(queries) -> None:
    from avlib.apps.separate_query import separate_by_query

    separate_by_query(sound(), 'music-queries', 'out', queries, progress=False)


def same_output() -> None:
    Path('out').mkdir()
    sound('out/mix-violin.wav')
    query('the sound of violin')


def mixture(value: torch.Tensor) -> None:
    from avlib.training.checkpoints import load_model

    load_model('music-queries')[0].separate(value, ['violin'])


CASES = [
    BadInput('empty query', partial(query, '')),
    BadInput('query of spaces', partial(query, '   ')),
    BadInput('query of punctuation', partial(query, '?!')),
    BadInput('query of underscores', partial(query, '___')),
    BadInput('prefix without a name', partial(query, 'the sound of ')),
    BadInput('empty query after a good one', partial(query, 'violin', '')),
    BadInput('query whose output exists', same_output),
    BadInput('no query, in Python', partial(separate, [])),
    BadInput('mixture without samples, in Python', partial(mixture, torch.zeros(1, 0))),
    BadInput('mixture of NaN, in Python', partial(mixture, torch.full((1, 8000), torch.nan))),
]
