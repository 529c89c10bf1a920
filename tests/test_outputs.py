"""No command replaces a file that it did not make: folders are listed before and after each command."""

import functools
import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from filelock import FileLock
from typer.testing import CliRunner

from avlib.apps import cli, localize, separate, separate_query, separate_video
from avlib.apps.listening import Preference, Study, read_answers
from avlib.io.files import read_json, write_json
from avlib.io.pictures import write_png
from avlib.io.video import write_video
from avlib.methods.base import Separator
from avlib.training import checkpoints
from avlib.training.checkpoints import bundled_models, find_model
from workbench import CLI, ROOT, environment

RATE = 8000
STEM = 'Tälk 1'


@pytest.fixture(scope='module')
def media(tmp_path_factory):
    """A folder with a recording, a picture, a video with boxes, and maps with annotations."""
    folder = tmp_path_factory.mktemp('media')
    rng = np.random.default_rng(0)
    sound = 0.1 * rng.standard_normal((RATE, 2))
    soundfile.write(folder / f'{STEM}.wav', sound[:2000], RATE)
    soundfile.write(folder / 'tone.wav', sound[:2000, 0], RATE)
    frames = [torch.rand(3, 48, 48, generator=torch.manual_seed(i)) for i in range(10)]
    write_video(folder / f'{STEM}.mp4', frames, 10, torch.from_numpy(sound[:, 0]).float(), RATE)
    write_png(folder / f'{STEM}.png', frames[0])
    tracks = [{'name': name, 'times': [0.0, 0.9], 'boxes': [[5, 5, 30, 30]] * 2} for name in ('bell', 'zebra')]
    write_json(folder / 'boxes.json', {'objects': tracks})
    (folder / 'maps').mkdir()
    np.save(folder / 'maps/v0.npy', np.random.default_rng(1).random((14, 14)))
    write_json(folder / 'vggss.json', [{'file': 'v0', 'class': 'dog', 'bbox': [[0, 0, 1, 0.5]]}])
    return folder


cached_load = functools.cache(checkpoints.load_model)


class Halves(Separator):
    """A model without weights."""

    def separate(self, mixture):
        return torch.stack([0.6 * mixture, 0.4 * mixture], -2)


def load(name, runs='runs'):
    return (Halves(SimpleNamespace(sources=2)), {'rate': RATE}) if name == 'mixit-speech' else cached_load(name, runs)


def no_sounds(separator, mixture, window, count):
    return torch.zeros(len(separator.chosen), len(mixture))


@pytest.fixture
def work(media, tmp_path, monkeypatch):
    """A copy of the media, in which the commands run; models are loaded once, and objects aren't separated."""
    for module in (separate, separate_query, separate_video, localize):
        monkeypatch.setattr(module, 'load_model', load)
    monkeypatch.setattr(separate_video, 'separate_windows', no_sounds)
    shutil.copytree(media, tmp_path / 'work')
    monkeypatch.chdir(tmp_path / 'work')
    return tmp_path / 'work'


def listing(folder: Path) -> dict:
    """Content of every file, hidden ones too, target of every link, and every folder."""
    found = {}
    for path in sorted(folder.rglob('*')):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = os.readlink(path)
        else:
            found[name] = 'folder' if path.is_dir() else hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def run(*arguments):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def samples(path: Path) -> np.ndarray:
    with open(path, 'rb') as file:  # libsndfile takes no name that isn't UTF-8
        return soundfile.read(file)[0]


def refused(result) -> str:
    """The message of a command that was refused."""
    assert result.exit_code == 1 and isinstance(result.exception, ValueError), result.output
    assert '\n' not in str(result.exception)
    return str(result.exception)


BY_MODEL = ['separate', f'{STEM}.wav', '--model', 'mixit-speech', '--sources', '2']
COMMANDS = {
    'model': (BY_MODEL, ['{}-1.wav', '{}-2.wav']),
    'flac': ([*BY_MODEL, '--suffix', 'flac'], ['{}-1.flac', '{}-2.flac']),
    'spatial': (['separate', f'{STEM}.wav', '--method', 'spatial'], ['{}-1.wav', '{}-2.wav']),
    'ensemble': ([*BY_MODEL, '--method', 'ensemble', '--switch', '1'], ['{}-1.wav', '{}-2.wav']),
    'query': (['separate', f'{STEM}.wav', '--query', 'violin', '--rest'], ['{}-violin.wav', '{}-rest.wav']),
    'objects': (
        ['separate', f'{STEM}.mp4', '--objects', '--boxes', 'boxes.json'],
        ['{}-bell.wav', '{}-objects.mp4', '{}-objects.json'],
    ),
    'picture': (
        ['localize', f'{STEM}.png', '--audio', 'tone.wav'],
        ['{}.npy', '{}-overlay.png', '{}.json'],
    ),
    'video': (['localize', f'{STEM}.mp4', '--every', '0.5'], ['{}.npy', '{}-overlay.mp4', '{}.json']),
}  # fmt: skip


@pytest.mark.parametrize('name', COMMANDS)
def test_each_mode_replaces_nothing_unasked(name, work):
    command, outputs = COMMANDS[name]
    outputs = [output.format(STEM) for output in outputs]
    for number, output in enumerate(outputs):  # each output by itself exists: a file, a link, a twin, a folder
        kinds = (Path.touch, lambda path: path.symlink_to('nowhere'), Path.mkdir)
        folder = work / f'taken{number}'
        folder.mkdir()
        kinds[number % 3](folder / output)
        before = listing(work)
        message = refused(run(*command, '--out', folder))
        assert output in message and listing(work) == before
    made = run(*command, '--out', 'out')
    assert made.exit_code == 0, made.exception
    assert sorted(os.listdir('out')) == sorted(outputs)
    before = listing(work)
    assert '--overwrite' in refused(run(*command, '--out', 'out')) and listing(work) == before
    Path('out', outputs[0]).write_text('older')
    assert run(*command, '--out', 'out', '--overwrite').exit_code == 0
    assert set(listing(work)) == set(before) and Path('out', outputs[0]).read_bytes() != b'older'


def test_an_input_is_never_an_output(work):
    """Not even with --overwrite: by name, by link, and by another case of the letters."""
    (work / f'{STEM}-1.wav').symlink_to(f'{STEM}.wav')
    shutil.copy('boxes.json', f'{STEM}-objects.json')
    os.link('tone.wav', f'{STEM}-overlay.png')
    before = listing(work)
    for command in (
        COMMANDS['model'][0],
        ['separate', f'{STEM}.mp4', '--objects', '--boxes', f'{STEM}-objects.json'],
        COMMANDS['picture'][0],
    ):
        assert 'is read by this command' in refused(run(*command, '--out', '.', '--overwrite'))
    for out in ('vggss.json', 'maps/v0.npy'):
        evaluate = ['evaluate', 'localization', '--predictions', 'maps', '--annotations', 'vggss.json', '--out', out]
        assert 'is read by this command' in refused(run(*evaluate, '--overwrite'))
    assert listing(work) == before


def test_recordings_of_one_stem_do_not_share_files(work):
    soundfile.write('talk.flac', np.full(4000, 0.1), RATE)
    soundfile.write('TALK.wav', np.full(4000, 0.1), RATE)
    shutil.copy('tone.wav', 'talk.wav')
    options = ['--model', 'mixit-speech', '--sources', '1', '--suffix', 'wav', '--out', 'out']
    assert run('separate', 'talk.wav', *options).exit_code == 0
    before = listing(work)
    for other in ('talk.flac', 'TALK.wav'):
        assert 'talk-1.wav' in refused(run('separate', other, *options))
    assert listing(work) == before


def test_evaluation_and_corpora_replace_nothing(work):
    evaluate = ['evaluate', 'localization', '--predictions', 'maps', '--annotations', 'vggss.json', '--out', 'r.json']
    assert run(*evaluate).exit_code == 0 and run(*evaluate, '--overwrite').exit_code == 0
    assert 'r.json: exists' in refused(run(*evaluate))
    os.makedirs('takes')
    for speaker in ('ann', 'bob', 'eve'):
        for i in range(4):
            soundfile.write(f'takes/hello_{speaker}_{i}.wav', np.random.default_rng(i).random(800), RATE)
    os.makedirs('corpora/photos')
    Path('corpora/photos/one.jpg').write_text('mine')
    add = ['data', 'add', 'takes', '--pattern', '{label}_{speaker}_{index}', '--root', 'corpora', '--name']
    assert run(*add, 'takes').exit_code == 0 and run(*add, 'takes', '--overwrite').exit_code == 0
    before = listing(work)
    assert 'takes exists' in refused(run(*add, 'takes'))
    for options in ([], ['--overwrite']):
        assert 'photos' in refused(run(*add, 'photos', *options))
        assert 'photos' in refused(run('data', 'digits', '--name', 'photos', '--root', 'corpora', *options))
    assert listing(work) == before


def test_a_video_that_fails_leaves_nothing(work, monkeypatch):
    """Errors of the encoder come with nothing half-written, whether the folder existed or not."""

    def fail(*_, **__):
        raise ValueError('the encoder failed')

    monkeypatch.setattr('avlib.apps.localize.write_video', fail)
    monkeypatch.setattr(separate_video, 'write_overlay', fail)
    (work / 'old').mkdir()
    before = listing(work)
    for name in ('objects', 'video'):
        for out in ('old', 'new/deep'):
            assert 'the encoder failed' in refused(run(*COMMANDS[name][0], '--out', out))
    assert listing(work) == before


def test_objects_of_unknown_classes_are_named(work):
    result = run(*COMMANDS['objects'][0], '--out', 'out')
    assert 'zebra (1)' in result.output
    assert read_json(f'out/{STEM}-objects.json')['unknown'] == ['zebra']


def test_a_killed_call_is_started_again(work):
    """Its hidden folder is removed; one that is in use stays."""
    for name in ('killed', 'running'):
        (work / f'out/.writing-{name}/files').mkdir(parents=True)
        (work / f'out/.writing-{name}/lock').touch()
        (work / f'out/.writing-{name}/files/{STEM}-1.wav').write_text('half')
    with FileLock(work / 'out/.writing-running/lock'):
        assert run(*COMMANDS['model'][0], '--out', 'out').exit_code == 0
    assert sorted(os.listdir('out')) == ['.writing-running', f'{STEM}-1.wav', f'{STEM}-2.wav']


@pytest.mark.parametrize('stem', ['x' * 249, 'é' * 124, '音' * 83, 'x' * 250], ids=range(4))
def test_names_up_to_the_limit_of_the_file_system(stem, work):
    shutil.copy('tone.wav', f'{stem}.wav')
    before = listing(work)
    result = run('separate', f'{stem}.wav', '--model', 'mixit-speech', '--sources', '1', '--out', 'out')
    if len(f'{stem}-1.wav'.encode()) <= 255:
        assert result.exit_code == 0 and os.listdir('out') == [f'{stem}-1.wav'], result.exception
    else:
        assert 'bytes; the file system takes 255' in refused(result) and listing(work) == before


def test_names_that_are_not_utf8_are_named(work):
    latin = os.fsdecode(b'caf\xe9')
    for suffix in ('.wav', '.mp4', '.png'):
        shutil.copy(f'{STEM}{suffix}', latin + suffix)
    before = set(os.listdir('.'))
    for command in (
        ['separate', f'{latin}.wav', '--model', 'mixit-speech'],
        ['separate', f'{latin}.wav', '--method', 'spatial'],
        ['separate', f'{latin}.mp4', '--objects', '--boxes', 'boxes.json'],
        ['localize', f'{latin}.mp4'],
        ['localize', f'{latin}.png', '--audio', 'tone.wav'],
    ):
        message = refused(run(*command, '--out', 'out'))
        assert r'caf\xe9' in message and 'UTF-8' in message, message
    assert set(os.listdir('.')) == before


def test_a_folder_or_file_does_not_hide_a_packaged_model(work):
    for name, path in bundled_models().items():
        for make in (Path.mkdir, Path.touch):
            make(Path(name))
            assert find_model(name) == path
            Path(name).rmdir() if Path(name).is_dir() else Path(name).unlink()
    Path('music-scenes').mkdir()
    assert run(*COMMANDS['picture'][0], '--out', 'o').exit_code == 0  # names no model
    for _ in range(2):
        command = ['separate', 'tone.wav', '--model', 'mixit-speech', '--out', 'mixit-speech', '--overwrite']
        assert run(*command).exit_code == 0


def test_answers_of_listeners_are_kept(work):
    """A study appends; a last row without its line break stays, and a file of something else is refused."""
    sounds = {'a': torch.rand(800), 'b': torch.rand(800)}
    questions = [Preference(name, 'voice', torch.rand(800), sounds) for name in ('q1', 'q2')]
    first = Study(questions, 'answers.jsonl', 'ann')
    first.answer('A')
    Path('answers.jsonl').write_text(Path('answers.jsonl').read_text().rstrip('\n'))
    Study(questions, 'answers.jsonl', 'ann').answer('B')
    assert len(read_answers('answers.jsonl')) == 2
    before = listing(work)
    with pytest.raises(ValueError, match='vggss.json, row 1'):
        Study(questions, 'vggss.json', 'ann')
    assert listing(work) == before


def test_paths_of_the_command_line_are_bytes(work):
    """A folder whose name is not UTF-8 takes files, and their paths are printed as they are.

    The same command again makes the same files, where the file system can mark them as the command's own.
    """
    out = os.fsencode(work) + b'/caf\xe9'
    command = [*CLI, 'separate', 'tone.wav', '--model', 'mixit-speech', '--sources', '1', '--out', os.fsdecode(out)]
    variables = {**environment(ROOT), 'PYTHONIOENCODING': 'utf-8'}
    done = subprocess.run(command, cwd=work, env=variables, capture_output=True)
    assert done.returncode == 0 and done.stdout.strip() == out + b'/tone-1.wav', done.stderr
    [path] = Path(os.fsdecode(out)).iterdir()
    before, marked = samples(path), hasattr(os, 'listxattr') and os.listxattr(path)
    again = subprocess.run(command, cwd=work, env=variables, capture_output=True)
    assert (samples(path) == before).all() and (again.returncode == 0) == bool(marked), again.stderr
    path.write_bytes(b'mine')
    refusal = subprocess.run(command, cwd=work, env=variables, capture_output=True)
    assert refusal.returncode == 1 and b'exists' in refusal.stderr and path.read_bytes() == b'mine'


def test_make_quotes_the_path_of_the_repository(tmp_path):
    """Every command of the Makefile runs the programs of a folder with spaces and quotes in its path."""
    folder = tmp_path / "My Projects' (new)" / 'avlib'
    (folder / '.venv').mkdir(parents=True)
    for name in ('Makefile', 'requirements.lock', 'settings.ini', 'setup.py', 'pyproject.toml'):
        shutil.copy(ROOT / name, folder)
    (folder / '.venv/bin').mkdir()
    python = folder / '.venv/bin/python'
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$@" > arguments\n')
    python.chmod(0o755)
    for mark in ('.locked', '.installed'):
        (folder / '.venv' / mark).touch()
        os.utime(folder / '.venv' / mark, (2**31 - 1, 2**31 - 1))
    for target, words in (('readme', ['scripts/readme.py', '.']), ('repro', ['--corpus', '007']), ('pipeline', ['-m'])):
        done = subprocess.run(['make', target, 'CORPUS=007'], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        arguments = (folder / 'arguments').read_text().split('\n')
        assert all(word in arguments for word in words), arguments


def test_json_of_a_model_card_is_not_replaced(work):
    """An output may have the name of the card of the model that is used."""
    Path('scenes').mkdir()
    for suffix in ('.safetensors', '.json'):
        shutil.copy(bundled_models()['music-scenes'].with_suffix(suffix), f'scenes/{STEM}{suffix}')
    model = f'scenes/{STEM}.safetensors'
    before = listing(work)
    result = run(*COMMANDS['picture'][0], '--model', model, '--out', 'scenes', '--overwrite')
    assert f'{STEM}.json: is read' in refused(result) and listing(work) == before
    assert json.loads(Path(f'scenes/{STEM}.json').read_text())['method']
