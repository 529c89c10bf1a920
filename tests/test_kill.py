"""`kill -9` at any moment: no process is left, no half-written file counts as whole, going on gives the same bits."""

import json
import shutil
import sys
import time

import psutil
import pytest
import torch

from avlib.io.audio import audio_info, write_audio
from workbench import (
    CLI,
    PIPELINE,
    ROOT,
    alive,
    change_settings,
    clean_up,
    copy_run,
    kill,
    run,
    start,
    wait_for,
    write_pipeline,
)

NAME, EPOCHS, STEPS = '1or2-p100', 5, 40
FOLDER = f'runs/speech/smoke/train/{NAME}-0'
NOTEBOOK = f'runs/speech/smoke/notebooks/train-{NAME}-0.ipynb'
EXPERIMENT = {'paper': 'mixit', 'name': NAME, 'profile': 'smoke', 'corpus': 'speech', 'seed': 0}
TRAINING = [sys.executable, '-m', 'avlib.training.experiments', json.dumps(EXPERIMENT)]
RUNNER = [
    sys.executable,
    '-m',
    'avlib.reproduction.run',
    'nbs/stages/train.ipynb',
    NOTEBOOK,
    '--paper',
    'mixit',
    '--experiment',
    NAME,
    '--seed',
    '0',
    '--profile',
    'smoke',
    '--corpus',
    'speech',
]
DVC = [sys.executable, '-m', 'dvc', 'repro', '--single-item', f'{PIPELINE}:mixit-train@{NAME}-0']
WHOLE = {'model.safetensors', 'model.json', 'last.safetensors', 'log.jsonl'}
ENDS_WITHIN_S = 15


@pytest.fixture(scope='module')
def prepared(smoke, tmp_path_factory):
    """The smoke run with its data, without its trainings, which are made long enough to be interrupted."""
    tree = copy_run(smoke[0], tmp_path_factory.mktemp('prepared') / 'tree')
    for made in ('runs/speech/smoke/train', 'runs/speech/smoke/notebooks'):
        shutil.rmtree(tree / made)
    change_settings(
        tree, lambda settings: settings['mixit']['smoke']['train'].update(epochs=EPOCHS, steps_per_epoch=STEPS)
    )
    write_pipeline(tree)
    return tree


@pytest.fixture(scope='module')
def undisturbed(prepared, tmp_path_factory):
    """Weights and last state of a training that nobody interrupted."""
    tree = copy_run(prepared, tmp_path_factory.mktemp('undisturbed') / 'tree')
    ran = run(tree, *TRAINING)
    assert ran.returncode == 0, ran.stderr
    return weights(tree)


@pytest.fixture
def tree(prepared, tmp_path):
    return copy_run(prepared, tmp_path / 'tree')


@pytest.fixture
def started():
    """Processes that must have ended; a failing test leaves none behind."""
    processes = []
    yield processes
    clean_up(processes)


def weights(tree) -> dict:
    return {path.name: path.read_bytes() for path in (tree / FOLDER).glob('*.safetensors')}


def rows(tree) -> int:
    log = tree / FOLDER / 'log.jsonl'
    return log.read_text().count('\n') if log.is_file() else 0


def kill_in_epoch(tree, command, epoch: int, started, delay: float = 0.1) -> None:
    """Start `command`, and kill it, alone, so many seconds after the log has its row of the epoch before `epoch`."""
    process = start(tree, *command)
    try:
        wait_for(lambda: rows(tree) >= epoch or process.poll() is not None, f'epoch {epoch}')
        time.sleep(delay)
        assert process.poll() is None, (tree / 'output.txt').read_text()[-3000:]
    finally:
        started += kill(process)
    assert rows(tree) < EPOCHS, 'it was over before it was killed'


def assert_all_ended(started) -> None:
    wait_for(lambda: not alive(started), f'ending of {alive(started)}', ENDS_WITHIN_S)


def assert_all_whole(tree) -> None:
    """What bears a final name can be read."""
    code = (
        'import sys\nfrom pathlib import Path\nfrom avlib.io.files import read_json\n'
        'from avlib.training.checkpoints import load_tensors\n'
        'for path in Path(sys.argv[1]).glob("[!.]*.safetensors"): load_tensors(path)\n'
        'for path in Path(sys.argv[1]).glob("[!.]*.json"): read_json(path)'
    )
    ran = run(tree, sys.executable, '-c', code, FOLDER)
    assert ran.returncode == 0, ran.stderr


def test_training_goes_on_to_the_same_weights(tree, undisturbed, started):
    """Killed while an epoch is saved, and in the middle of another one, with half-written files left behind."""
    for epoch, delay in ((1, 0), (3, 0.2)):
        kill_in_epoch(tree, TRAINING, epoch, started, delay)
        assert_all_whole(tree)
    (tree / FOLDER / '.last.0123abcd.safetensors').write_bytes(b'half of a state')
    with open(tree / FOLDER / 'log.jsonl', 'a') as log:
        log.write('{"epoch": 4, "tot')
    ran = run(tree, *TRAINING)
    assert ran.returncode == 0, ran.stderr
    assert weights(tree) == undisturbed
    assert {path.name for path in (tree / FOLDER).iterdir()} == WHOLE
    assert [json.loads(line)['epoch'] for line in (tree / FOLDER / 'log.jsonl').read_text().splitlines()] == list(
        range(EPOCHS)
    )


def test_damaged_state_is_not_gone_on_with(tree, undisturbed, started):
    """A state that a failing disk tore is said to be so and left aside: training starts anew, to the same weights."""
    kill_in_epoch(tree, TRAINING, 2, started)
    state = tree / FOLDER / 'last.safetensors'
    state.write_bytes(state.read_bytes()[:-100])
    ran = run(tree, *TRAINING)
    assert ran.returncode == 0 and 'starting afresh' in ran.stderr and 'last.safetensors' in ran.stderr
    assert weights(tree) == undisturbed


def test_runner_takes_its_kernel_along_and_goes_on(tree, undisturbed, started):
    """The kernel is another process: it must end too, and the next attempt goes on from the last state."""
    kill_in_epoch(tree, RUNNER, 2, started)
    assert started, 'there was no kernel'
    assert_all_ended(started)
    assert not (tree / NOTEBOOK).exists()
    assert_all_whole(tree)
    reached = rows(tree)
    ran = run(tree, *RUNNER)
    assert ran.returncode == 0 and reached >= 2, ran.stderr
    assert weights(tree) == undisturbed
    assert not [
        cell for cell in json.loads((tree / NOTEBOOK).read_text())['cells'] if cell.get('execution_count', 1) is None
    ]
    assert [path.name for path in (tree / NOTEBOOK).parent.iterdir()] == [f'train-{NAME}-0.ipynb']


def test_runner_takes_a_training_on_many_devices_along_and_goes_on(tree, tmp_path, started):
    """With more than one device, training is a process of its own with one more for each further device."""
    change_settings(tree, lambda settings: settings['mixit']['smoke']['train'].update(devices=2))
    other = copy_run(tree, tmp_path / 'undisturbed')
    kill_in_epoch(tree, RUNNER, 2, started)
    assert len(started) >= 3, started
    assert_all_ended(started)
    assert not (tree / NOTEBOOK).exists()
    for place in (tree, other):
        ran = run(place, *TRAINING)
        assert ran.returncode == 0, ran.stderr
    assert weights(tree) == weights(other)


def test_dvc_takes_runner_and_kernel_along_and_goes_on(tree, undisturbed, started):
    """DVC leaves its commands running when it is killed.

    Its next call must neither meet them nor take the stage for done.
    """
    kill_in_epoch(tree, DVC, 2, started)
    assert len(started) >= 2, started
    assert_all_ended(started)
    assert not (tree / NOTEBOOK).exists()
    ran = run(tree, *DVC)
    assert ran.returncode == 0 and f'mixit-train@{NAME}-0' in ran.stdout, ran.stdout + ran.stderr
    assert weights(tree) == undisturbed and (tree / NOTEBOOK).is_file()
    again = run(tree, *DVC)
    assert again.returncode == 0 and 'Running stage' not in again.stdout


def test_repro_takes_all_along(tree, started):
    """The command that users see runs DVC more than once at a time; killed, it leaves nothing at work."""
    process = start(tree, sys.executable, '-m', 'avlib.reproduction.repro', '--profile', 'smoke', '--jobs', '2')
    try:
        wait_for(lambda: rows(tree) >= 1 or process.poll() is not None, 'the first epoch')
    finally:
        started += kill(process)
    assert len(started) >= 3, (tree / 'output.txt').read_text()[-3000:]
    assert_all_ended(started)


def test_a_stage_that_nobody_asks_for_any_more_starts_nothing(tree, monkeypatch):
    """A DVC that was between two stages when `avlib.reproduction.repro` was killed goes on to the next."""
    monkeypatch.setenv('AVLIB_PARENT', f'{psutil.Process().pid} 0.0')
    ran = run(tree, *RUNNER)
    assert ran.returncode == 1 and 'the parent process exited' in ran.stderr and not (tree / FOLDER).exists()


def test_separating_shows_no_half_written_source(tmp_path, started):
    """Sources take their names when all are whole: what an interrupted call leaves cannot be mistaken for a result."""
    write_audio(tmp_path / 'talk.wav', 0.1 * torch.randn(8000 * 90, generator=torch.manual_seed(0)), 8000)
    command = [*CLI, 'separate', tmp_path / 'talk.wav', '--model', 'mixit-speech', '--out', tmp_path / 'out']
    process = start(ROOT, *command, output=tmp_path / 'output.txt')

    def written():
        return sum(path.stat().st_size for path in tmp_path.glob('out/.*/**/*.wav'))

    try:
        wait_for(lambda: written() > 100_000, 'the first window')
    finally:
        started += kill(process)
    assert not list((tmp_path / 'out').glob('[!.]*'))
    assert run(ROOT, *command).returncode == 0
    sources = sorted((tmp_path / 'out').iterdir())  # nor is anything left of the killed call
    assert [path.name for path in sources] == [f'talk-{i}.wav' for i in range(1, 5)]
    assert {audio_info(path).frames for path in sources} == {8000 * 90}
