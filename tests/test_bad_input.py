"""Bad input to the command line: status 1, one line that names the file and the fix, and no output file."""

import json
import re
import resource
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile

from workbench import CLI, ROOT, environment

MODEL = 'mixit-speech'
RATE = 8000
LIMIT_BYTES = 4_000  # the largest file on the full disk
BAR = re.compile(r'\d+%\||\d+(clip|file|s) \[')


def noise(seconds: float = 1, seed: int = 0):
    return 0.1 * np.random.default_rng(seed).standard_normal(round(RATE * seconds)).astype('float32')


def write(path: Path, signal=None, rate: int = RATE, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, noise() if signal is None else signal, rate, **options)
    return path


def torn(path: Path, keep: float = 0.5) -> Path:
    """Cut off the end of a file, and return its path."""
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    return path


def broken_at(value: float):
    signal = noise()
    signal[100] = value
    return signal


def model(folder: Path, change) -> Path:
    """Copy the packaged model, and apply `change(weights, card)` to the copied files."""
    folder.mkdir()
    weights, card = folder / 'model.safetensors', folder / 'model.json'
    shutil.copy(ROOT / f'avlib/weights/{MODEL}.safetensors', weights)
    shutil.copy(ROOT / f'avlib/weights/{MODEL}.json', card)
    change(weights, card)
    return weights


def flip_a_bit(weights, card):
    content = bytearray(weights.read_bytes())
    content[-1000] ^= 1
    weights.write_bytes(content)


def remove_fields(*fields):
    def change(weights, card):
        entries = json.loads(card.read_text())
        card.write_text(json.dumps({name: value for name, value in entries.items() if name not in fields}))

    return change


def corpus(root: Path, name: str, change=lambda rows: None) -> Path:
    """Write a corpus of six clips, with its manifest's rows changed by `change(rows)`; return the manifest."""
    clips = [('train', 'ann'), ('train', 'bob'), ('valid', 'cid'), ('valid', 'dan'), ('test', 'eve'), ('test', 'fay')]
    common = {'sample_rate': RATE, 'frames': RATE, 'labels': ['speech']}
    rows = [{'id': name, 'split': split, 'path': f'{name}.wav', 'speaker': name, **common} for split, name in clips]
    for row in rows:
        write(root / name / row['path'], noise(seed=ord(row['id'][0])))
    change(rows)
    manifest = root / name / 'manifest.jsonl'
    manifest.write_text(''.join(json.dumps(row) + '\n' for row in rows))
    return manifest


def takes(folder: Path) -> Path:
    """Write a folder of recordings, three speakers with four each."""
    for speaker in ('ann', 'bob', 'eve'):
        for i in range(4):
            write(folder / f'yes_{speaker}_{i}.wav', noise(1, i))
    return folder


def write_sounds(folder: Path) -> None:
    (folder / 'folder.wav').mkdir()
    (folder / 'empty.wav').touch()
    (folder / 'words.wav').write_text('not a sound but a sentence\n' * 100)
    write(folder / 'good.wav')
    write(folder / 'none.wav', noise(0))
    torn(write(folder / 'torn.wav'))
    torn(write(folder / 'torn.flac', noise(30)))
    torn(write(folder / 'stub.flac'), 0.002)
    write(folder / 'nan.wav', broken_at(np.nan), subtype='FLOAT')
    write(folder / 'infinite.wav', broken_at(np.inf), subtype='FLOAT')
    write(folder / 'odd.wav', rate=65537)


def write_models(folder: Path) -> None:
    model(folder / 'flipped', flip_a_bit)
    model(folder / 'short', lambda weights, card: torn(weights))
    model(folder / 'bare', lambda weights, card: card.unlink())
    model(folder / 'cut', lambda weights, card: torn(card))
    model(folder / 'vague', remove_fields('settings'))
    model(folder / 'rateless', remove_fields('rate'))


def write_corpora(folder: Path) -> None:
    for name in ('params.yaml', 'dvc.yaml'):
        shutil.copy(ROOT / name, folder)
    root = folder / 'corpora'
    corpus(root, 'lacking', lambda rows: rows[2].pop('frames'))
    corpus(root, 'double', lambda rows: rows[3].update(id='ann'))
    corpus(root, 'escaping', lambda rows: rows[1].update(path='../../secret.wav'))
    corpus(root, 'absent', lambda rows: rows[4].update(path='gone.wav'))
    corpus(root, 'lying', lambda rows: rows[5].update(frames=RATE + 1))
    torn(corpus(root, 'cut'), 0.9)
    takes(folder / 'takes')
    torn(takes(folder / 'torn-takes') / 'yes_ann_2.wav')
    write(takes(folder / 'stray-takes') / 'somehow.wav')
    (folder / 'nothing').mkdir()


def separate(mixture: str, *options: str, model: str = MODEL) -> list:
    return [*CLI, 'separate', mixture, '--model', model, *([] if '--out' in options else ['--out', 'OUT']), *options]


def add(folder: str, *options: str, name: str = 'new') -> list:
    return [
        *CLI,
        'data',
        'add',
        folder,
        '--name',
        name,
        '--root',
        'OUT',
        '--pattern',
        '{label}_{speaker}_{index}',
        '--test-speakers',
        'eve',
        '--held-out',
        '.25',
        *options,
    ]


def check(name: str) -> list:
    return [*CLI, 'data', 'check', name, '--root', 'corpora']


def repro(*options: str) -> list:
    return [sys.executable, '-m', 'avlib.reproduction.repro', *options]


FULL_DISK = {  # writing must fail; the words name the file and the fix
    'separating into wav': (separate('good.wav'), 'good-', 'disk is full'),
    'separating into flac': (separate('good.wav', '--suffix', 'flac'), 'good-', 'disk is full'),
    'adding a corpus': (add('takes'), 'yes_', 'disk is full'),
}
CASES = {  # a command, and words that its message must contain
    'missing': (separate('nowhere.wav'), 'nowhere.wav', 'check the path'),
    'empty': (separate('empty.wav'), 'empty.wav', 'is empty'),
    'truncated wav': (separate('torn.wav'), 'torn.wav', 'is truncated', 'copy or record it again'),
    'truncated flac': (separate('torn.flac'), 'torn.flac', 'is truncated', 'copy or record it again'),
    'a few bytes of flac': (separate('stub.flac'), 'stub.flac', 'convert it to WAV or FLAC'),
    'not audio': (separate('words.wav'), 'words.wav', 'convert it to WAV or FLAC'),
    'no samples': (separate('none.wav'), 'none.wav', 'holds no samples'),
    'NaN': (separate('nan.wav'), 'nan.wav', 'NaN', 'the first at 100', 'cut them out'),
    'infinite': (separate('infinite.wav'), 'infinite.wav', 'infinite', 'the first at 100', 'cut them out'),
    'folder': (separate('folder.wav'), 'folder.wav', 'is a folder'),
    'rate without a small ratio': (separate('odd.wav'), 'odd.wav', '65537', 'convert the signal to a common rate'),
    'unknown format': (separate('good.wav', '--suffix', 'mp3'), '.mp3', '.wav or .flac'),
    'output folder is a file': (separate('good.wav', '--out', 'good.wav'), 'good.wav', 'give a folder'),
    'more sources than the model has': (
        separate('good.wav', '--sources', '9'),
        'sources: got 9',
        MODEL,
        'choose 1 to 4',
    ),
    'no sources': (separate('good.wav', '--sources', '0'), 'sources: got 0', 'choose 1 to 4'),
    'unknown model': (separate('good.wav', model='nobody'), 'no model "nobody"', MODEL),
    'missing weights': (separate('good.wav', model='far/model.safetensors'), 'far/model.', 'train'),
    'bit flipped in weights': (
        separate('good.wav', model='flipped'),
        'flipped/model.safetensors',
        'damaged',
        'retrain',
    ),
    'truncated weights': (separate('good.wav', model='short'), 'short/model.safetensors', 'damaged', 'train'),
    'card missing': (separate('good.wav', model='bare'), 'bare/model.json', 'missing', 'beside'),
    'card truncated': (separate('good.wav', model='cut'), 'cut/model.json', 'no whole JSON'),
    'card without settings': (
        separate('good.wav', model='vague'),
        'vague/model.json',
        'settings',
        'copy the card again',
    ),
    'card without a rate': (
        separate('good.wav', model='rateless'),
        'rateless/model.json',
        'rate',
        'copy the card again',
    ),
    'unknown corpus': (repro('--corpus', 'nobody'), 'no corpus "nobody"', 'avlib data add'),
    'unknown profile': (repro('--profile', 'huge'), 'no profile "huge"', 'smoke, tiny'),
    'corpus to check is unknown': (check('nobody'), 'nobody/manifest.jsonl', 'double'),
    'field missing': (check('lacking'), 'lacking/manifest.jsonl, row 3', '"frames" is missing', 'add it'),
    'id twice': (check('double'), 'double/manifest.jsonl, row 4', '"ann" is taken by row 1'),
    'path that escapes': (check('escaping'), 'escaping/manifest.jsonl, row 2', 'secret.wav', 'must lie in the folder'),
    'manifest truncated': (check('cut'), 'cut/manifest.jsonl, row 6', 'mend or delete that row'),
    'clip missing': (check('absent'), 'gone.wav', 'no such file', 'add the corpus again'),
    'clip of another length': (check('lying'), 'fay.wav', str(RATE + 1), 'add the corpus again'),
    'bad file among good ones': (
        add('torn-takes'),
        '1 of 12 files',
        'torn-takes/yes_ann_2.wav',
        'is truncated',
        '--skip-bad',
    ),
    'folder missing': (add('far'), 'far', 'check the path'),
    'folder without sound': (add('nothing'), 'nothing', 'holds no sound file'),
    'name that is a path': (add('takes', name='../new'), '"../new"', 'letters'),
    'name of an embedded corpus': (add('takes', name='speech'), '"speech"', 'another name'),
    'unknown speaker': (add('takes', '--valid-speakers', 'zoe'), '"zoe"', 'ann, bob, eve'),
    'name off the pattern': (add('stray-takes'), 'somehow.wav', 'does not match', 'rename it'),
    **FULL_DISK,
}
# cases whose message has a line for each file, too
LISTING = {'clip missing', 'clip of another length', 'bad file among good ones', 'name off the pattern'}


def fill_disk():
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT_BYTES, LIMIT_BYTES))


@pytest.fixture(scope='module')
def bench(tmp_path_factory) -> Path:
    """Write all bad files to a folder."""
    folder = tmp_path_factory.mktemp('bad')
    for write_files in (write_sounds, write_models, write_corpora):
        write_files(folder)
    return folder


def execute(bench: Path, name: str) -> subprocess.CompletedProcess:
    """Run one case, with the output folder `out NAME`."""
    command = [part.replace('OUT', f'out {name}') for part in CASES[name][0]]
    return subprocess.run(
        command,
        cwd=bench,
        env=environment(ROOT),
        capture_output=True,
        text=True,
        preexec_fn=fill_disk if name in FULL_DISK else None,
    )


@pytest.fixture(scope='module')
def outcomes(bench, request) -> dict:
    """Run the chosen cases in parallel, because each spends its time on imports; return their results by name."""
    items = [item for item in request.session.items if item.fspath == request.fspath and hasattr(item, 'callspec')]
    chosen = {item.callspec.params['name'] for item in items}
    before = snapshot(bench)
    with ThreadPoolExecutor(3) as pool:
        results = pool.map(lambda name: execute(bench, name), chosen)
        return {'before': before, **dict(zip(chosen, results, strict=True))}


def snapshot(folder: Path) -> dict:
    """Return the content of every file outside the output folders."""
    paths = [path for path in folder.rglob('*') if not path.relative_to(folder).parts[0].startswith('out ')]
    return {path: path.read_bytes() for path in paths if path.is_file()}


def message(stderr: str) -> list[str]:
    """Return the lines of an error output without progress bars."""
    return [line for line in re.split('[\r\n]', stderr) if line.strip() and not BAR.search(line)]


@pytest.mark.parametrize('name', CASES)
def test_names_the_error_and_writes_nothing(bench, outcomes, name):
    """A user reads the file and the fix, a script the status, and no file is left."""
    ran, (_, *words) = outcomes[name], CASES[name]
    assert ran.returncode == 1 and ran.stdout == '', ran.stdout
    first, *more = message(ran.stderr)
    assert first.startswith('avlib: ') and (not more or name in LISTING), ran.stderr
    for word in words:
        assert word in '\n'.join([first, *more])
    assert 'Traceback' not in ran.stderr
    assert not [path for path in (bench / f'out {name}').rglob('*') if path.is_file()]


def test_changes_no_existing_file(bench, outcomes):
    """Recordings, models and corpora are as before."""
    assert snapshot(bench) == outcomes['before']


def test_skip_bad_leaves_out_bad_files(bench):
    """`--skip-bad` lists the bad files, and makes a corpus of the others without problems."""
    command = [part.replace('OUT', 'skipped') for part in add('torn-takes', '--skip-bad')]
    added = subprocess.run(command, cwd=bench, env=environment(ROOT), capture_output=True, text=True)
    assert added.returncode == 0, added.stderr
    skipped = [line for line in message(added.stderr) if line.startswith('skipped ')]
    assert len(skipped) == 1 and 'yes_ann_2.wav: is truncated' in skipped[0]
    rows = [json.loads(line) for line in (bench / 'skipped/new/manifest.jsonl').read_text().splitlines()]
    assert len(rows) == 11 and {row['split'] for row in rows if row['speaker'] == 'eve'} == {'test'}
    assert '11 clips' in added.stdout and 'no problems' not in added.stderr


def test_adds_a_corpus_once(bench):
    """A second corpus of the same name is an error, and the first one stays unchanged."""
    command = [part.replace('OUT', 'once') for part in add('takes')]

    def run_add():
        return subprocess.run(command, cwd=bench, env=environment(ROOT), capture_output=True, text=True)

    assert run_add().returncode == 0
    before = {path: path.read_bytes() for path in (bench / 'once').rglob('*') if path.is_file()}
    again = run_add()
    assert again.returncode == 1 and 'once/new exists' in again.stderr and 'overwrite' in again.stderr
    assert {path: path.read_bytes() for path in (bench / 'once').rglob('*') if path.is_file()} == before
