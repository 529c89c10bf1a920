"""`pip install avlib-*.whl` alone, into an empty environment, separates a file."""

import os
import shutil
import subprocess
import sys
import venv
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import soundfile

ROOT = Path(__file__).parent.parent
SHIPPED = ['avlib', 'setup.py', 'settings.ini', 'pyproject.toml', 'MANIFEST.in', 'README.md', 'LICENSE']
CORE = {'torch', 'torchaudio', 'filelock', 'numpy', 'scipy', 'soundfile', 'safetensors', 'tqdm', 'typer'}
NOT_CORE = {
    'dvc',
    'papermill',
    'matplotlib',
    'pandas',
    'nbdev',
    'fastcore',
    'ipython',
    'jupyterlab',
    'lightning-fabric',
    'torchvision',
    'pytest',
    'laion-clap',
}
LARGEST_WEIGHTS = 5 * 2**20


def run(*command, cwd: Path) -> str:
    """Run a command and return its output. HOME is kept for pip's cache, Python's own variables are removed."""
    ran = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={key: value for key, value in os.environ.items() if not key.startswith('PYTHON')},
    )
    assert ran.returncode == 0, ran.stdout[-6000:]
    return ran.stdout


@pytest.fixture(scope='module')
def wheel(tmp_path_factory) -> Path:
    """Build the wheel from a clean copy of the shipped files, without an old build folder."""
    tree = tmp_path_factory.mktemp('tree')
    for name in SHIPPED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns('__pycache__'))
        else:
            shutil.copy(source, tree)
    run(
        sys.executable,
        '-m',
        'pip',
        'wheel',
        '-q',
        '--no-deps',
        '--no-build-isolation',
        '-w',
        tree / 'dist',
        tree,
        cwd=tree,
    )
    (built,) = (tree / 'dist').glob('avlib-*.whl')
    return built


@pytest.fixture(scope='module')
def environment(wheel, tmp_path_factory):
    """Install the wheel by its own metadata into an empty environment, with the versions of the lock file."""
    folder = tmp_path_factory.mktemp('empty') / 'venv'
    venv.create(folder, with_pip=True)
    run(
        folder / 'bin/python',
        '-m',
        'pip',
        'install',
        '-q',
        '--no-compile',
        '-c',
        ROOT / 'requirements.lock',
        wheel,
        cwd=folder,
    )
    yield folder
    shutil.rmtree(folder)


def test_wheel_holds_library_weights_and_metadata(wheel):
    with ZipFile(wheel) as archive:
        sizes = {info.filename: info.file_size for info in archive.infolist()}
        (metadata_file,) = (name for name in sizes if name.endswith('.dist-info/METADATA'))
        metadata = Parser().parsestr(archive.read(metadata_file).decode())
    weights = {name: size for name, size in sizes.items() if name.startswith('avlib/weights/')}
    models = {name for name in weights if name.endswith('.safetensors')}
    assert models and all(name.replace('.safetensors', '.json') in weights for name in models)
    assert sum(weights.values()) <= LARGEST_WEIGHTS
    assert {name for name in sizes if not name.startswith(('avlib/', 'avlib-'))} == set()
    assert metadata['Requires-Python'] == '>=3.11' and metadata['License-File'] == 'LICENSE'
    assert {'clap', 'depth', 'vision', 'train', 'notebooks', 'pipeline', 'dev'} == set(
        metadata.get_all('Provides-Extra')
    )
    required = {need.split('>')[0] for need in metadata.get_all('Requires-Dist') if 'extra ==' not in need}
    assert required == CORE


def test_wheel_installs_only_what_separation_needs(environment):
    listed = run(environment / 'bin/python', '-m', 'pip', 'list', '--format=freeze', cwd=environment)
    names = {line.split('==')[0].lower().replace('_', '-') for line in listed.splitlines() if '==' in line}
    assert CORE <= names
    assert not names & NOT_CORE


@pytest.mark.parametrize('suffix, rate, channels', [('wav', 44100, 2), ('flac', 8000, 1)])
def test_installed_wheel_separates_a_file(environment, tmp_path, suffix, rate, channels):
    noise = 0.1 * np.random.default_rng(0).standard_normal((rate + 7, channels))
    soundfile.write(tmp_path / f'mix.{suffix}', noise, rate)
    weights = environment.glob('lib/python*/site-packages/avlib/weights/*.safetensors')
    model = sorted(weights)[0].stem
    run(environment / 'bin/avlib', 'separate', f'mix.{suffix}', '--model', model, '--out', 'out', cwd=tmp_path)
    written = sorted((tmp_path / 'out').iterdir())
    assert len(written) >= 2 and {path.suffix for path in written} == {f'.{suffix}'}
    for path in written:
        info = soundfile.info(path)
        assert (info.samplerate, info.channels, info.frames) == (rate, channels, len(noise))


def test_installed_wheel_separates_by_queries(environment, tmp_path):
    soundfile.write(tmp_path / 'song.wav', 0.1 * np.random.default_rng(0).standard_normal(8000), 8000)
    run(
        environment / 'bin/avlib',
        'separate',
        'song.wav',
        '--query',
        'violin',
        '--query',
        'the sound of a flute',
        '--rest',
        '--out',
        'out',
        cwd=tmp_path,
    )
    assert len(list((tmp_path / 'out').iterdir())) == 3
