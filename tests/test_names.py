"""Names that strangers chose are checked at every door, and two runs never share a clone."""

import shutil
import subprocess
import sys

import pytest

from workbench import ROOT, environment

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
