"""Names that strangers chose are checked at every door, and two runs never share a clone."""

import ast
import re
import shlex
import shutil
import subprocess
import sys

import pytest

from avlib.reproduction import pipeline, repro, run, stage_inputs
from workbench import CLI, ROOT, clean_up, environment, kill, wait_for

BAD = {
    'command': '$(touch MADE)',
    'semicolon': 'a;touch MADE',
    'backticks': '`touch MADE`',
    'quote': "x'; touch MADE; '",
    'double quote': 'x"; touch MADE; "',
    'pipe': 'x|touch${IFS}MADE',
    'space': 'a b',
    'line break': 'a\nb',
    'option': '-x',
    'folder above': '../x',
    'path': 'x/y',
    'hidden': '.hidden',
    'make': '$(shell touch MADE)',
    'variable': '$HOME',
    'template': '${profile}',
    'letters': 'grün',
    'long': 'x' * 300,
}


def make_clone(folder):
    """A folder with the Makefile, whose python writes its arguments down."""
    (folder / '.venv/bin').mkdir(parents=True)
    for name in ('Makefile', 'requirements.lock', 'settings.ini', 'setup.py', 'pyproject.toml'):
        shutil.copy(ROOT / name, folder)
    python = folder / '.venv/bin/python'
    python.write_text('#!/bin/sh\nprintf "%s\\0" "$@" > arguments\n')
    python.chmod(0o755)
    for mark in ('.locked', '.installed'):
        (folder / '.venv' / mark).touch()
        subprocess.run(['touch', '-d', '2038-01-01', folder / '.venv' / mark], check=True)
    return folder


def make(folder, *arguments, **variables):
    done = subprocess.run(
        ['make', *arguments], cwd=folder, env=environment(folder) | variables, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return (folder / 'arguments').read_text().split('\0')[:-1]


@pytest.mark.parametrize('name', BAD.values(), ids=BAD)
@pytest.mark.parametrize('by', ['argument', 'environment'])
def test_make_passes_names_on_as_they_are(tmp_path, name, by):
    """Neither make nor its shell runs what stands in a variable; the program behind refuses the name."""
    folder = make_clone(tmp_path / 'clone')
    names = {'PROFILE': name, 'CORPUS': name, 'HOURS': name}
    given = [f'{key}={text}' for key, text in names.items()] if by == 'argument' else []
    arguments = make(folder, 'repro', *given, **({} if given else names))
    assert arguments == ['-m', 'avlib.reproduction.repro', '--profile', name, '--corpus', name, '--hours', name]
    assert not (folder / 'MADE').exists()


def test_make_has_defaults(tmp_path):
    folder = make_clone(tmp_path / 'clone')
    assert make(folder, 'repro') == ['-m', 'avlib.reproduction.repro', '--profile', 'tiny', '--corpus', 'speech']


@pytest.mark.parametrize('name', ['$HOME', 'a $(touch MADE) b', '`touch MADE`', 'say "hi"', '$$', "it's"])
def test_make_runs_in_a_folder_of_any_name(tmp_path, name):
    folder = make_clone(tmp_path / name)
    assert make(folder, 'pipeline') == ['-m', 'avlib.reproduction.pipeline']
    assert not (folder / 'MADE').exists()


PLACES = {  # a door of the pipeline, and what the name is of
    'repro-corpus': (repro.main, ['--profile', 'smoke', '--corpus={}'], 'corpus'),
    'repro-profile': (repro.main, ['--profile={}'], 'profile'),
    'pipeline-corpus': (pipeline.main, ['smoke', '{}'], 'corpus'),
    'pipeline-profile': (pipeline.main, ['{}', 'speech'], 'profile'),
    'inputs-corpus': (stage_inputs.main, ['--profile=smoke', '--corpus={}', '--labelled-corpus=music'], 'corpus'),
    'inputs-labelled': (stage_inputs.main, ['--profile=smoke', '--corpus=speech', '--labelled-corpus={}'], 'corpus'),
    'stage-corpus': (run.main, ['nbs/stages/prepare.ipynb', 'out.ipynb', '--corpus', '{}'], 'corpus'),
    'stage-experiment': (run.main, ['nbs/stages/train.ipynb', 'out.ipynb', '--experiment', '{}'], 'experiment'),
}
MANIFEST = '{"id": "a", "split": "train", "path": "a.wav", "rate": 8000, "frames": 1, "speaker": "s"}\n'
DVC = """
import os, sys, time
if 'status' in sys.argv:
    sys.exit('no such pipeline')
with open('called', 'a') as log:
    log.write(f'{os.getpid()}\\n')
while os.path.exists('wait'):
    time.sleep(0.05)
sys.exit(3)
"""


@pytest.fixture
def clone(tmp_path):
    """A folder like a clone, with corpora of bad names, and a `dvc` that waits for a file to go and fails."""
    folder = tmp_path / 'clone'
    for name in BAD.values():
        if '/' not in name and len(name) < 256:
            (folder / 'data/corpora' / name).mkdir(parents=True)
            (folder / 'data/corpora' / name / 'manifest.jsonl').write_text(MANIFEST)
    for name in ('avlib', 'nbs', 'params.yaml'):
        (folder / name).symlink_to(ROOT / name)
    (folder / 'dvc').mkdir()
    (folder / 'dvc/__init__.py').touch()
    (folder / 'dvc/__main__.py').write_text(DVC)
    return folder


def contents(folder):
    """The files of a clone that a run may change, and what is in them."""
    made = [path for path in folder.rglob('*') if path.relative_to(folder).parts[0] not in ('avlib', 'nbs')]
    return {path: path.read_bytes() for path in made if path.is_file()}


def start(folder, module, *arguments):
    command = [sys.executable, '-m', f'avlib.reproduction.{module}', *arguments]
    pipes = {'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE, 'text': True}
    return subprocess.Popen(command, cwd=folder, env=environment(folder) | {'PYTHONDONTWRITEBYTECODE': '1'}, **pipes)


@pytest.mark.parametrize('place', PLACES)
def test_a_bad_name_is_refused_in_one_line(clone, monkeypatch, place):
    """The message names the name, and nothing is written."""
    (main, arguments, what), before = PLACES[place], contents(clone)
    monkeypatch.chdir(clone)
    for name in BAD.values():
        given = [argument.replace('{}', name) for argument in arguments]
        monkeypatch.setattr(sys, 'argv', [place, *given])
        with pytest.raises(SystemExit, match=f'^avlib: {what} [\'"].*: the name .*; rename it$') as refusal:
            main() if main == pipeline.main else main(given)
        assert '\n' not in refusal.value.code and repr(name)[1:40] in refusal.value.code
    assert contents(clone) == before


def test_a_command_as_name_does_not_run(clone):
    """As a user calls it, with a corpus that is there."""
    refused = start(clone, 'repro', '--profile', 'smoke', '--corpus', '$(touch MADE)')
    output, errors = refused.communicate()
    assert (refused.returncode, output) == (1, '') and errors.startswith("avlib: corpus '$(touch MADE)': the name")
    assert errors.count('\n') == 1 and not list(clone.rglob('MADE'))


@pytest.mark.parametrize(
    'text, what',
    [
        ("profiles: {'a;b': {experiments: {}}}", "profile 'a;b'"),
        ("'$(touch MADE)': {}", "section '$(touch MADE)'"),
        ("mixit: {corpora: {'-x': {}}}", "corpus '-x'"),
        ('profiles: {tiny: {seeds: [0], experiments: {mixit: ["*"]}}}\nmixit: {experiments: {a b: {}}}', "'a b'"),
        (
            'profiles: {tiny: {seeds: [0; touch MADE], experiments: {mixit: [a]}}}\nmixit: {experiments: {a: {}}}',
            'seeds',
        ),
    ],
)
def test_a_bad_name_in_the_settings_is_refused(tmp_path, monkeypatch, text, what):
    """params.yaml may be a stranger's, too: what it names reaches the shell of DVC."""
    (tmp_path / 'params.yaml').write_text(text)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=f'^avlib: params.yaml: .*{re.escape(what)}'):
        repro.main([])
    assert not (tmp_path / 'dvc.yaml').exists()


def test_commands_of_the_pipeline_are_words(clone):
    """A shell reads each command of each stage as the words that were meant, also with the values filled in."""
    built = pipeline.build_pipeline(clone, 'tiny', 'speech')
    [variables] = built['vars']
    values = {**variables, 'item.experiment': '1or2-p100', 'item.seed': 0, 'item.model': 'x'}
    for stage in built['stages'].values():
        words = re.sub(r'\$\{([\w.]+)\}', lambda match: str(values[match[1]]), stage['cmd'])
        assert shlex.join(shlex.split(words)) == words and words.startswith('python -m avlib.reproduction.')


def test_no_program_is_started_by_a_shell():
    """Programs are started with lists of words."""
    calls = {'system', 'popen', 'getoutput', 'getstatusoutput', 'create_subprocess_shell'}
    for path in [*ROOT.glob('avlib/**/*.py'), *ROOT.glob('scripts/*.py')]:
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if isinstance(node, ast.Call):
                assert getattr(node.func, 'attr', '') not in calls, f'{path}:{node.lineno}'
                shell = [word.value for word in node.keywords if word.arg == 'shell']
                assert all(isinstance(value, ast.Constant) and value.value is False for value in shell), path


def wait_until_called(clone, process, times=1):
    def called():
        return (clone / 'called').is_file() and (clone / 'called').read_text().count('\n') >= times

    wait_for(lambda: called() or process.poll() is not None, 'a stage of the first run')
    assert process.poll() is None, process.communicate()


def test_the_second_run_in_a_clone_ends_at_once(clone):
    """It says who is at work, and disturbs nothing: another profile, a stage by hand, or a new pipeline neither."""
    (clone / 'wait').touch()
    first = start(clone, 'repro', '--profile', 'smoke', '--jobs', '1')
    try:
        wait_until_called(clone, first)
        before = contents(clone)
        seconds = [
            start(clone, 'repro', '--profile', 'smoke'),
            start(clone, 'repro', '--profile', 'small'),
            start(clone, 'pipeline', 'small', 'speech'),
            start(clone, 'run', 'nbs/stages/prepare.ipynb', 'out.ipynb', '--profile', 'smoke', '--corpus', 'speech'),
        ]
        for second in seconds:
            output, errors = second.communicate()
            assert (second.returncode, output) == (1, ''), errors
            assert re.search(rf': another run is at work .*; wait .*\(process {first.pid}, since [^\n]+\)\n$', errors)
            assert errors.count('\n') == 1 and 'lock' not in errors
        assert first.poll() is None and contents(clone) == before
    finally:
        (clone / 'wait').unlink()
        first.communicate()
    assert first.returncode == 3  # as its dvc


def test_a_killed_run_does_not_hold_the_lock(clone):
    (clone / 'wait').touch()
    left = []
    killed = start(clone, 'repro', '--profile', 'smoke', '--jobs', '1')
    try:
        wait_until_called(clone, killed)
        left = kill(killed)
        again = start(clone, 'repro', '--profile', 'smoke', '--jobs', '1')
        wait_until_called(clone, again, 2)
    finally:
        (clone / 'wait').unlink()
        clean_up(left)
    output, errors = again.communicate()
    assert again.returncode == 3 and 'another run' not in errors


def test_listings_leave_bad_names_out_with_a_warning(clone):
    """A model or a corpus of a bad name can't be meant by a command, and doesn't break the list."""
    for name in ('good', '$(touch MADE)', 'a\nb'):
        model = clone / 'runs' / name / 'tiny/train/a-0/model.safetensors'
        model.parent.mkdir(parents=True)
        model.touch()
    ran = subprocess.run([*CLI, 'models'], cwd=clone, env=environment(ROOT), capture_output=True, text=True)
    assert ran.returncode == 0 and 'good/tiny/a-0\t' in ran.stdout and 'MADE' not in ran.stdout
    warned = ran.stderr.splitlines()
    assert len(warned) == 2 and all(re.match('avlib: model .*; it is left out$', line) for line in warned), warned

    (clone / 'data/corpora/good').mkdir()
    (clone / 'data/corpora/good/manifest.jsonl').write_text(MANIFEST)
    command = [*CLI, 'data', 'check', 'missing']
    ran = subprocess.run(command, cwd=clone, env=environment(ROOT), capture_output=True, text=True)
    *warned, error = ran.stderr.splitlines()
    assert ran.returncode == 1 and 'no such corpus; there are good: make one' in error
    assert len(warned) > 5 and all(re.match('avlib: corpus .*; it is left out$', line) for line in warned), warned
