"""What only a process of its own shows of bad input: a full disk, `make repro`'s command, and a folder with bad files.

The kinds of bad input and their messages are in tests/bad_inputs/.
"""

import json
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from workbench import CLI, ROOT, environment

RATE = 8000
LIMIT_BYTES = 4_000  # the largest file on the full disk
BAR = re.compile(r'\d+%\||\d+(clip|file|s) \[')


def write(path: Path, seconds: float = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.1 * np.random.default_rng(0).standard_normal(round(RATE * seconds)), RATE)
    return path


def cut(path: Path) -> None:
    """Cut off the second half of a file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def takes(folder: Path) -> Path:
    """Write a folder of recordings, three speakers with four each."""
    for speaker in ('ann', 'bob', 'eve'):
        for number in range(4):
            write(folder / f'yes_{speaker}_{number}.wav')
    return folder


def separate(*options: str) -> list:
    return [*CLI, 'separate', 'good.wav', '--model', 'mixit-speech', '--out', 'OUT', *options]


def add(folder: str, *options: str) -> list:
    split = ['--pattern', '{label}_{speaker}_{index}', '--test-speakers', 'eve', '--held-out', '.25']
    return [*CLI, 'data', 'add', folder, '--name', 'new', '--root', 'OUT', *split, *options]


def repro(*options: str) -> list:
    return [sys.executable, '-m', 'avlib.reproduction.repro', *options]


FULL_DISK = {  # writing must fail; the words name the file and the fix
    'separating into wav': (separate(), 'good-', 'disk is full'),
    'separating into flac': (separate('--suffix', 'flac'), 'good-', 'disk is full'),
    'adding a corpus': (add('takes'), 'yes_', 'disk is full'),
}
CASES = {  # a command, and words that its message must contain
    'more sources than the model has': (separate('--sources', '9'), 'sources: got 9', 'mixit-speech', 'choose 1 to 4'),
    'unknown corpus': (repro('--corpus', 'nobody'), 'no corpus "nobody"', 'avlib data add'),
    'unknown profile': (repro('--profile', 'huge'), 'no profile "huge"', 'smoke, tiny'),
    **FULL_DISK,
}


def fill_disk():
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT_BYTES, LIMIT_BYTES))


@pytest.fixture(scope='module')
def bench(tmp_path_factory) -> Path:
    """Write recordings, good ones and a bad one, and the files of a pipeline."""
    folder = tmp_path_factory.mktemp('bad')
    write(folder / 'good.wav')
    takes(folder / 'takes')
    cut(takes(folder / 'torn-takes') / 'yes_ann_2.wav')
    for name in ('params.yaml', 'dvc.yaml'):
        shutil.copy(ROOT / name, folder)
    return folder


def execute(bench: Path, command: list, out: str, **options) -> subprocess.CompletedProcess:
    """Run a command with an output folder of its own."""
    parts = [part.replace('OUT', out) for part in command]
    return subprocess.run(parts, cwd=bench, env=environment(ROOT), capture_output=True, text=True, **options)


def snapshot(folder: Path) -> dict:
    """Return the content of every file but the lock of a run."""
    paths = [path for path in folder.rglob('*') if path.is_file() and '.dvc' not in path.parts]
    return {path: path.read_bytes() for path in paths}


def message(stderr: str) -> list[str]:
    """Return the lines of an error output without progress bars."""
    return [line for line in re.split('[\r\n]', stderr) if line.strip() and not BAR.search(line)]


@pytest.mark.parametrize('name', CASES)
def test_names_the_error_and_writes_nothing(bench, name):
    """A user reads the file and the fix, a script the status, and no file is left or changed."""
    command, *words = CASES[name]
    before = snapshot(bench)
    ran = execute(bench, command, 'out', preexec_fn=fill_disk if name in FULL_DISK else None)
    assert ran.returncode == 1 and ran.stdout == '', ran.stdout
    [line] = message(ran.stderr)
    assert line.startswith('avlib: ') and 'Traceback' not in ran.stderr
    for word in words:
        assert word in line
    assert snapshot(bench) == before


def test_skip_bad_leaves_out_bad_files(bench):
    """`--skip-bad` lists the bad files, and makes a corpus of the others without problems."""
    added = execute(bench, add('torn-takes', '--skip-bad'), 'skipped')
    assert added.returncode == 0, added.stderr
    skipped = [line for line in message(added.stderr) if line.startswith('skipped ')]
    assert len(skipped) == 1 and 'yes_ann_2.wav: is truncated' in skipped[0]
    rows = [json.loads(line) for line in (bench / 'skipped/new/manifest.jsonl').read_text().splitlines()]
    assert len(rows) == 11 and {row['split'] for row in rows if row['speaker'] == 'eve'} == {'test'}
    assert '11 clips' in added.stdout and 'no problems' not in added.stderr


def test_adds_a_corpus_once(bench):
    """A second corpus of the same name is an error, and the first one stays unchanged."""
    assert execute(bench, add('takes'), 'once').returncode == 0
    before = snapshot(bench / 'once')
    again = execute(bench, add('takes'), 'once')
    assert again.returncode == 1 and 'once/new exists' in again.stderr and 'overwrite' in again.stderr
    assert snapshot(bench / 'once') == before
