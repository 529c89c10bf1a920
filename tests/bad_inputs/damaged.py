"""Recordings, models and corpora that were damaged on the way, as the command line meets them."""

import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import soundfile

import avlib

from .base import BadInput, cli
from .command_line import OUT

RATE = 8000
MODEL = 'mixit-speech'


def write(path: str, signal=None, rate: int = RATE, **options) -> Path:
    """Write a second of noise, or a signal; return the path."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    noise = 0.1 * np.random.default_rng(0).standard_normal(RATE)
    soundfile.write(path, noise if signal is None else signal, rate, **options)
    return Path(path)


def cut(path: Path, keep: float = 0.5) -> None:
    """Cut off the end of a file."""
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])


def separate(path: str = 'mix.wav', model: str = MODEL) -> None:
    cli('separate', path, *OUT, '--model', model)


def cut_recording(path: str, keep: float = 0.5) -> None:
    cut(write(path, 0.1 * np.random.default_rng(0).standard_normal(30 * RATE)), keep)
    separate(path)


def broken_sample(value: float) -> None:
    signal = np.zeros(RATE, np.float32)
    signal[100] = value
    write('mix.wav', signal, subtype='FLOAT')
    separate()


def folder_as_recording() -> None:
    Path('mix.wav').mkdir()
    separate()


def odd_rate() -> None:
    write('mix.wav', rate=65537)
    separate()


def damaged_model(damage) -> None:
    """Copy the packaged model, and damage the copy by `damage(weights, card)`."""
    weights, card = Path('model.safetensors'), Path('model.json')
    for path in (weights, card):
        shutil.copy(Path(avlib.__file__).parent / f'weights/{MODEL}{path.suffix}', path)
    damage(weights, card)
    write('mix.wav')
    separate(model='model.safetensors')


def flip_a_bit(weights: Path, card: Path) -> None:
    content = bytearray(weights.read_bytes())
    content[-1000] ^= 1
    weights.write_bytes(content)


def remove_entry(name: str, weights: Path, card: Path) -> None:
    entries = json.loads(card.read_text())
    del entries[name]
    card.write_text(json.dumps(entries))


def check(change, lines: int = 1) -> None:
    """Write a corpus of six clips, damage it by `change(rows, folder)`, and check it."""
    folder = Path('corpora/mine')
    splits = {'ann': 'train', 'bob': 'train', 'cid': 'valid', 'dan': 'valid', 'eve': 'test', 'fay': 'test'}
    rows = [
        {'id': name, 'split': split, 'path': f'{name}.wav', 'speaker': name, 'sample_rate': RATE, 'frames': RATE}
        | {'labels': ['speech']}
        for name, split in splits.items()
    ]
    for row in rows:
        write(folder / row['path'])
    change(rows, folder)
    (folder / 'manifest.jsonl').write_text(''.join(json.dumps(row) + '\n' for row in rows))
    cli('data', 'check', 'mine', '--root', 'corpora', lines=lines)


def add_with_a_cut_file() -> None:
    for speaker in ('ann', 'bob', 'eve'):
        for number in range(4):
            write(f'takes/yes_{speaker}_{number}.wav')
    cut(Path('takes/yes_ann_2.wav'))
    cli('data', 'add', 'takes', '--name', 'new', '--root', 'corpora', '--pattern', '{label}_{speaker}_{index}', lines=2)


CASES = [
    BadInput('recording that is not there', partial(separate, 'nowhere.wav')),
    BadInput('folder in place of a recording', folder_as_recording),
    BadInput('WAV whose second half is missing', partial(cut_recording, 'mix.wav')),
    BadInput('FLAC whose second half is missing', partial(cut_recording, 'mix.flac')),
    BadInput('first bytes of a FLAC alone', partial(cut_recording, 'mix.flac', 0.0005)),
    BadInput('recording with an infinite sample', partial(broken_sample, np.inf)),
    BadInput('recording of a rate without a small ratio to the model', odd_rate),
    BadInput('weights with a bit flipped', partial(damaged_model, flip_a_bit)),
    BadInput('weights whose second half is missing', partial(damaged_model, lambda weights, card: cut(weights))),
    BadInput('card whose second half is missing', partial(damaged_model, lambda weights, card: cut(card))),
    BadInput('card without settings', partial(damaged_model, partial(remove_entry, 'settings'))),
    BadInput('card without a rate', partial(damaged_model, partial(remove_entry, 'rate'))),
    BadInput('clip without its length', partial(check, lambda rows, folder: rows[2].pop('frames'))),
    BadInput(
        'clip of another length than its row says',
        partial(check, lambda rows, folder: rows[5].update(frames=RATE + 1), 2),
    ),
    BadInput('clip that was deleted', partial(check, lambda rows, folder: (folder / 'eve.wav').unlink(), 2)),
    BadInput('one damaged recording among twelve', add_with_a_cut_file),
]
