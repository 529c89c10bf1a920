"""Cards and weights of models that others made."""

import hashlib
import json
import shutil
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

import avlib

from .base import BadInput, cli

PACKAGED = Path(avlib.__file__).parent / 'weights'


def model(name: str = 'mixit-speech') -> dict:
    """Copy a packaged model's weights to m.safetensors; return its card."""
    shutil.copy(PACKAGED / f'{name}.safetensors', 'm.safetensors')
    return json.loads((PACKAGED / f'{name}.json').read_text(encoding='utf-8'))


def load() -> None:
    from avlib.training.checkpoints import load_model

    load_model('m.safetensors')


def card(content: str | bytes) -> None:
    """Load a model whose card has this content."""
    model()
    Path('m.json').write_bytes(content.encode() if isinstance(content, str) else content)
    load()


def entry(name: str, value: object, packaged: str = 'mixit-speech') -> None:
    """Load a packaged model with another value of an entry, whose name has a dot for each level."""
    content = model(packaged)
    *groups, key = name.split('.')
    place = content
    for group in groups:
        place = place[group]
    place[key] = value
    card_of(content)


def card_of(content: dict) -> None:
    Path('m.json').write_text(json.dumps(content), encoding='utf-8')
    load()


def weights(change: Callable[[dict], object]) -> None:
    """Load a model whose tensors, by name, are changed; the card has their sum."""
    content, tensors = model(), load_file(PACKAGED / 'mixit-speech.safetensors')
    change(tensors)
    save_file(tensors, 'm.safetensors')
    with_sum(content)


def with_sum(content: dict) -> None:
    digest = hashlib.sha256(Path('m.safetensors').read_bytes()).hexdigest()
    card_of({**content, 'sha256': digest})


def to(dtype: torch.dtype) -> Callable[[dict], object]:
    """Return the change of one tensor's type."""
    return lambda tensors: tensors.update({BIAS: tensors[BIAS].to(dtype)})


BIAS = 'network.mask.bias'


def header(content: bytes, length: int | None = None) -> None:
    """Load a model whose weights file has a header of these bytes, before eight of numbers."""
    card_content = model()
    size = len(content) if length is None else length
    Path('m.safetensors').write_bytes(struct.pack('<Q', size) + content + bytes(8))
    with_sum(card_content)


def tensor(**entries) -> bytes:
    return json.dumps({'dtype': 'F32', 'shape': [2], 'data_offsets': [0, 8], **entries}).encode()


def command(*options: str) -> None:
    """Separate or localize by a model whose card names a function of the command line."""
    content = model()
    Path('m.json').write_text(json.dumps({**content, 'method': 'avlib.apps.cli:main'}), encoding='utf-8')
    Path('s.wav').write_bytes(wave())
    cli(*options, '--model', 'm.safetensors', '--out', 'out')


def wave() -> bytes:
    """Return a WAV file of 1,000 samples at 8 kHz."""
    samples = bytes(range(200)) * 10
    form = struct.pack('<4sIHHIIHH', b'fmt ', 16, 1, 1, 8000, 16_000, 2, 16)
    data = struct.pack('<4sI', b'data', len(samples)) + samples
    return struct.pack('<4sI4s', b'RIFF', 4 + len(form) + len(data), b'WAVE') + form + data


def set_nan(tensors: dict) -> None:
    tensors[BIAS][3] = torch.nan


CASES = [
    BadInput('card that is a list', partial(card, '["method", "settings", "rate", "sha256"]')),
    BadInput('card that is a number', partial(card, '7')),
    BadInput('card of 100,000 open brackets', partial(card, '[' * 100_000)),
    BadInput('card in UTF-16', partial(card, '{"method": "a"}'.encode('utf-16'))),
    BadInput('card of more than a megabyte', partial(card, json.dumps({'x': 'y' * 2**20}))),
    BadInput('card without entries', partial(card, '{}')),
    BadInput('method that is a function of the command line', partial(entry, 'method', 'avlib.apps.cli:main')),
    BadInput('method of another package', partial(entry, 'method', 'os:system')),
    BadInput('method that is a number', partial(entry, 'method', 7)),
    BadInput('method that this version lacks', partial(entry, 'method', 'avlib.methods.mixit:MixIt2')),
    BadInput('base class of methods', partial(entry, 'method', 'avlib.methods.base:Separator')),
    BadInput('method with a NUL in its name', partial(entry, 'method', 'avlib.methods.mixit:MixIT\0')),
    BadInput('rate of 0', partial(entry, 'rate', 0)),
    BadInput('rate of a gigahertz', partial(entry, 'rate', 10**9)),
    BadInput('rate that is a text', partial(entry, 'rate', 'x')),
    BadInput('rate that is NaN', partial(entry, 'rate', float('nan'))),
    BadInput('checksum that is a path', partial(entry, 'sha256', '../../m.safetensors')),
    BadInput('settings that are null', partial(entry, 'settings', None)),
    BadInput('unknown setting', partial(entry, 'settings.evil', 1)),
    BadInput('unknown setting of a network', partial(entry, 'settings.tdcn.__class__', 'os')),
    BadInput('text in place of a size', partial(entry, 'settings.tdcn.hidden', 'x')),
    BadInput('object in place of a number', partial(entry, 'settings.snr_max', {'a': 1})),
    BadInput('fraction in place of a size', partial(entry, 'settings.tdcn.blocks', 2.5)),
    BadInput('negative size', partial(entry, 'settings.tdcn.blocks', -8)),
    BadInput('layer of a billion channels', partial(entry, 'settings.tdcn.hidden', 10**9)),
    BadInput('kernel of 10¹⁸ samples', partial(entry, 'settings.tdcn.kernel', 10**18)),
    BadInput('network of 60,000 layers', partial(entry, 'settings.tdcn.blocks', 60_000)),
    BadInput('U-Net of 60,000 levels', partial(entry, 'settings.unet.levels', 60_000, 'music-queries')),
    BadInput('sizes that no network has', partial(entry, 'settings.tdcn.kernel', 31)),
    BadInput('kind of norm that no network has', partial(entry, 'settings.tdcn.norm', 'batch')),
    BadInput('network of other sizes than the weights', partial(entry, 'settings.tdcn.hidden', 256)),
    BadInput('text of a megabyte in place of a choice', partial(entry, 'settings.search', 'x' * 10**6)),
    BadInput('spectrogram of a window of 10¹² samples', partial(entry, 'settings.n_fft', 10**12, 'music-queries')),
    BadInput('spectrogram of a hop of one sample', partial(entry, 'settings.hop', 1, 'music-queries')),
    BadInput('unknown joint embedding', partial(entry, 'settings.embedding.name', '../evil', 'music-queries')),
    BadInput('calibration without a slope', partial(entry, 'presence', {'bias': 0.5}, 'music-queries')),
    BadInput('labels that are numbers', partial(entry, 'prepared.labels', [1, 2], 'music-queries')),
    BadInput('segments of 10¹² s', partial(entry, 'prepared.seconds', 10**12, 'music-scenes')),
    BadInput('frames of 100,000 pixels a side', partial(entry, 'prepared.size', 10**5, 'music-scenes')),
    BadInput('more labels than classes', partial(entry, 'prepared.labels', ['a'] * 20, 'moving-scenes')),
    BadInput('weights without a tensor', partial(weights, lambda tensors: tensors.pop(BIAS))),
    BadInput('weights with one more tensor', partial(weights, lambda tensors: tensors.update(evil=torch.zeros(1)))),
    BadInput('tensor of another shape', partial(weights, lambda tensors: tensors.update({BIAS: torch.zeros(3)}))),
    *(
        BadInput(f'tensor of {name}', partial(weights, to(dtype)))
        for name, dtype in {
            'double precision': torch.float64,
            'integers': torch.int32,
            'complex numbers': torch.complex64,
            'truth values': torch.bool,
        }.items()
    ),
    BadInput('weight that is NaN', partial(weights, set_nan)),
    BadInput('header of 2⁶³ bytes', partial(header, b'{}', 2**63)),
    BadInput('header of 100,000 levels', partial(header, b'{"a":' * 100_000)),
    BadInput('tensor that overlaps another', partial(header, b'{"a":%s,"b":%s}' % (tensor(), tensor()))),
    BadInput('tensor named twice', partial(header, b'{"a":%s,"a":%s}' % (tensor(), tensor()))),
    BadInput('tensor of an unknown type', partial(header, b'{"a":%s}' % tensor(dtype='F99'))),
    BadInput('tensor larger than its file', partial(header, b'{"a":%s}' % tensor(shape=[2**40, 2**40]))),
    BadInput('separation by a card that names a function', partial(command, 'separate', 's.wav')),
    BadInput('queries by a card that names a function', partial(command, 'separate', 's.wav', '--query', 'violin')),
    BadInput('objects by a card that names a function', partial(command, 'separate', 's.mp4', '--objects')),
    BadInput('localization by a card that names a function', partial(command, 'localize', 's.png', '--audio', 's.wav')),
]
