"""Models that a name or a path should find, and models of another task."""

from functools import partial
from pathlib import Path

from .base import BadInput, cli
from .command_line import OUT, sound


def separate(model: str, *options: str) -> None:
    cli('separate', sound(), *OUT, '--model', model, *options)


def separate_by(path: str, content: bytes | None) -> None:
    """Separate by a path that holds `content`, or is an empty folder."""
    if content is None:
        Path(path).mkdir()
    else:
        Path(path).write_bytes(content)
    separate(path)


def localize() -> None:
    cli('localize', sound('scene.wav'), *OUT, '--model', 'mixit-speech')


def load(name) -> None:
    from avlib.training.checkpoints import load_model

    load_model(name)


CASES = [
    BadInput('unknown name', partial(separate, 'nobody')),
    BadInput('name in other letters', partial(separate, 'MixIT-Speech')),
    BadInput('name with a line break', partial(separate, 'mixit\nspeech')),
    BadInput('name of 5,000 letters', partial(separate, 'm' * 5000)),
    BadInput('path to weights that are missing', partial(separate, 'far/model.safetensors')),
    BadInput('folder without a model', partial(separate_by, 'models', None)),
    BadInput('weights without a card', partial(separate_by, 'lone.safetensors', b'')),
    BadInput('checkpoint of PyTorch, a zipped pickle', partial(separate_by, 'model.ckpt', b'PK\x03\x04' + bytes(60))),
    BadInput('sound file in place of a model', partial(separate, 'mix.wav')),
    BadInput('model by names where sources are separated', partial(separate, 'music-queries')),
    BadInput('model of sources where a sound is named', partial(separate, 'mixit-speech', '--query', 'violin')),
    BadInput('model that localizes where sources are separated', partial(separate, 'music-scenes')),
    BadInput('model of sources where a sound is localized', localize),
    BadInput(
        'model without a switch for the ensemble',
        lambda: cli('separate', sound(channels=2), *OUT, '--model', 'mixit-speech', '--method', 'ensemble'),
    ),
    BadInput('empty name, in Python', partial(load, ''), 'model.safetensors'),
]
