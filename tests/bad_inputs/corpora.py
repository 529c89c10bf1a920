"""Corpora: manifests, ids, recordings to add, speakers to hold out, and folders that are in use."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import soundfile

from .base import BadInput, cli

ROW = {'id': 'a', 'split': 'train', 'path': 'a.wav', 'sample_rate': 8000, 'frames': 100, 'labels': []}
ADD = ('data', 'add', 'mine', '--name', 'new', '--root', 'corpora')


def check(*rows: object, lines: int = 1) -> None:
    """Write a manifest and check the corpus; a row is what differs from a good one, or the text of a line."""
    texts = [row if isinstance(row, str) else json.dumps({**ROW, **row}) for row in rows]
    manifest(''.join(f'{text}\n' for text in texts).encode())
    cli('data', 'check', 'mine', '--root', 'corpora', lines=lines)


def manifest(content: bytes) -> None:
    Path('corpora/mine').mkdir(parents=True, exist_ok=True)
    Path('corpora/mine/manifest.jsonl').write_bytes(content)


def lacking(field: str) -> None:
    check(json.dumps({name: value for name, value in ROW.items() if name != field}))


def other_encoding() -> None:
    manifest(json.dumps(ROW).encode('utf-16'))
    cli('data', 'check', 'mine', '--root', 'corpora')


def link_out() -> None:
    Path('corpora/mine').mkdir(parents=True)
    Path('corpora/mine/a.wav').symlink_to('/nowhere/secret.wav')
    check({})


def home(value: object) -> None:
    Path('corpora/mine').mkdir(parents=True)
    Path('corpora/mine/home.json').write_text(json.dumps(value))
    check({})


def recordings(*names: str, seconds: float = 0.1) -> None:
    for number, name in enumerate(names or [f'{i}.wav' for i in range(6)]):
        path = Path('mine', name)
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).standard_normal(round(8000 * seconds))
        soundfile.write(path, 0.1 * noise, 8000, format='FLAC' if name.endswith('.flac') else 'WAV')


def add(*names: str, options: tuple = (), lines: int = 1) -> None:
    """Add a folder of recordings of these names."""
    recordings(*names)
    cli(*ADD, *options, lines=lines)


def add_bad(write, options: tuple = ()) -> None:
    """Add six recordings and a bad one, which `write(path)` writes."""
    recordings()
    write(Path('mine/bad.wav'))
    cli(*ADD, *options, lines=2)


def silence(path: Path) -> None:
    soundfile.write(path, np.zeros(800), 8000)


def opposite_channels(path: Path) -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal(800)
    soundfile.write(path, np.stack([noise, -noise], 1), 8000)


def existing(*files: str, options: tuple = ()) -> None:
    for file in files:
        path = Path('corpora/new', file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    add(options=options)


def misnamed() -> None:
    add('a.wav', options=('--pattern', '{label}_*'), lines=2)


def within() -> None:
    recordings()
    cli(*ADD[:-1], 'mine/corpora')


def itself() -> None:
    existing_corpus = Path('corpora/new/audio')
    existing_corpus.mkdir(parents=True)
    Path('corpora/new/manifest.jsonl').touch()
    soundfile.write(existing_corpus / 'a.wav', np.ones(800) / 2, 8000)
    cli('data', 'add', 'corpora/new/audio', *ADD[3:], '--overwrite')


CASES = [
    BadInput('clip whose id is a path', partial(check, {'id': 'speaker/1'})),
    BadInput('clip whose id leads out of its folder', partial(check, {'id': '../../a'})),
    BadInput('clip whose id holds NUL', partial(check, {'id': 'a\0'})),
    BadInput('clip whose id holds a line break', partial(check, {'id': 'a\nb'})),
    BadInput('clip whose id is empty', partial(check, {'id': ''})),
    BadInput('clip whose id is a number', partial(check, {'id': 7})),
    BadInput('two clips with one id', partial(check, {}, {'path': 'b.wav'})),
    BadInput('ids that differ in case alone', partial(check, {'id': 'Ann'}, {'id': 'ann'})),
    BadInput('ids that differ in the form of accents alone', partial(check, {'id': 'Zo\xeb'}, {'id': 'Zoe\u0308'})),
    BadInput('clip with an absolute path', partial(check, {'path': '/etc/passwd'})),
    BadInput('clip with a path out of its folder', partial(check, {'path': 'a/../../b.wav'})),
    BadInput('clip that is a link out of its folder', link_out),
    BadInput('clip of an unknown split', partial(check, {'split': 'dev'})),
    BadInput('clip of a negative length', partial(check, {'frames': -1})),
    BadInput('clip whose rate is a fraction', partial(check, {'sample_rate': 8000.5})),
    BadInput('clip whose labels are a text', partial(check, {'labels': 'dog'})),
    BadInput('clip with a number as a label', partial(check, {'labels': [1]})),
    BadInput('clip with an unknown field', partial(check, {'colour': 'red'})),
    BadInput('clip without a path', partial(lacking, 'path')),
    BadInput('clip whose text is half a character', partial(check, {'speaker': '\ud800'})),
    BadInput('row of a manifest that is a list', partial(check, '[1, 2]')),
    BadInput('row of a manifest that is cut', partial(check, {}, '{"id": "b", "spl')),
    BadInput('manifest without rows', check),
    BadInput('manifest in UTF-16', other_encoding),
    BadInput('manifest whose clips are elsewhere, in no folder', partial(home, {'home': '/nowhere/at/all'})),
    BadInput('manifest whose clips are elsewhere, in a list', partial(home, ['/'])),
    BadInput('clip without its sound file', partial(check, {}, lines=2)),
    BadInput('corpus that is not there', partial(cli, 'data', 'check', 'nobody', '--root', 'corpora')),
    BadInput('folder of recordings that is not there', partial(cli, *ADD)),
    BadInput('folder without recordings', partial(add, 'notes.txt')),
    BadInput('recordings too few for three splits', partial(add, '1.wav', '2.wav')),
    BadInput('recordings that differ in case alone', partial(add, 'A.wav', 'a.wav', '1.wav', '2.wav', lines=2)),
    BadInput('recordings that differ in the suffix alone', partial(add, 'a.wav', 'a.flac', lines=2)),
    BadInput('recordings whose folder and name make one id', partial(add, 'a/b.wav', 'a-b.wav', lines=2)),
    BadInput('recording without sound', partial(add_bad, silence)),
    BadInput('recording whose channels cancel', partial(add_bad, opposite_channels)),
    BadInput('recording that is a text', partial(add_bad, lambda path: path.write_text('no sound'))),
    BadInput('recording of no bytes', partial(add_bad, Path.touch)),
    BadInput('name that does not match the pattern', misnamed),
    BadInput('pattern that names nothing', partial(add, options=('--pattern', '*.wav'))),
    BadInput('labels from nowhere', partial(add, options=('--labels-from', 'moon'))),
    BadInput('unknown test speaker', partial(add, options=('--test-speakers', 'bob'))),
    BadInput('share of half for the test', partial(add, options=('--held-out', '0.5'))),
    BadInput('name of an embedded corpus', partial(cli, 'data', 'add', '.', '--name', 'music', '--root', 'corpora')),
    BadInput('name of a corpus that exists', partial(existing, 'manifest.jsonl')),
    BadInput('folder of other files to overwrite', partial(existing, 'thesis.tex', options=('--overwrite',))),
    BadInput('corpus inside the folder of recordings', within),
    BadInput('recordings inside the corpus to overwrite', itself),
]  # fmt: skip
