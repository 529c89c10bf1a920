"""Imports go downward only, each room keeps to its trade, and importing is light and touches no network."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = {  # each room and the rooms that it may import from, itself aside
    'dsp': (),
    'metrics': ('dsp',),
    'models': ('dsp', 'metrics'),
    'io': ('dsp',),
    'corpora': ('dsp', 'metrics', 'io'),
    'synthesis': ('dsp', 'metrics', 'io', 'corpora'),
    'datasets': ('dsp', 'metrics', 'models', 'io', 'corpora', 'synthesis'),
    'methods': ('dsp', 'metrics', 'models', 'io', 'corpora', 'synthesis', 'datasets'),
    'training': ('dsp', 'metrics', 'models', 'io', 'corpora', 'synthesis', 'datasets'),
    'reproduction': ('dsp', 'metrics', 'models', 'io', 'corpora', 'synthesis', 'datasets', 'training'),
    'apps': (
        'dsp',
        'metrics',
        'models',
        'io',
        'corpora',
        'synthesis',
        'datasets',
        'methods',
        'training',
        'reproduction',
    ),
}
FILES = {'soundfile', 'pathlib', 'os', 'io', 'shutil', 'tempfile', 'json', 'csv', 'safetensors'}
NETWORK = ['urllib3', 'requests', 'httpx', 'aiohttp', 'huggingface_hub', 'fsspec']
HEAVY = [
    'matplotlib',
    'pandas',
    'seaborn',
    'IPython',
    'ipywidgets',
    'papermill',
    'dvc',
    'lightning_fabric',
    'torchvision',
    'mir_eval',
    'fast_bss_eval',
    'pretty_midi',
    'tinysoundfont',
    'pyroomacoustics',
    'espeakng_loader',
    'laion_clap',
    'nbdev',
    'fastcore',
    'sklearn',
]
MODULES = sorted(path for path in (ROOT / 'avlib').rglob('*.py') if path.name not in ('__init__.py', '_modidx.py'))


def module_name(path: Path) -> str:
    return '.'.join(path.relative_to(ROOT).with_suffix('').parts)


def imported(path: Path) -> set[str]:
    """Full names of all that a module imports anywhere in it, relative imports resolved."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = module_name(path).split('.')[: -node.level] if node.level else []
            module = '.'.join([*package, *([node.module] if node.module else [])])
            names |= {f'{module}.{alias.name}' for alias in node.names}
    return names


def python(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize('path', MODULES, ids=module_name)
def test_imports_go_downward(path):
    room = path.relative_to(ROOT / 'avlib').parts[0]
    rooms = {name.split('.')[1] for name in imported(path) if name.startswith('avlib.')}
    allowed = {room, *ROOMS[room]}
    assert rooms <= allowed, f'{module_name(path)} imports from {sorted(rooms - allowed)}'


@pytest.mark.parametrize('path', [path for path in MODULES if path.parent.name in ('dsp', 'metrics')], ids=module_name)
def test_signals_and_metrics_know_nothing_of_files(path):
    assert not {name.split('.')[0] for name in imported(path)} & FILES


def test_resolves_relative_imports(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], 'ROOT', tmp_path)
    module = tmp_path / 'avlib/dsp/wrong.py'
    module.parent.mkdir(parents=True)
    module.write_text('from ..apps import cli\nimport torch.nn as nn\nfrom .mixing import level_db\n')
    assert imported(module) == {'avlib.apps.cli', 'torch.nn', 'avlib.dsp.mixing.level_db'}


def test_importing_avlib_loads_nothing_else():
    ran = python(
        'import sys; before = set(sys.modules); import avlib; '
        "print([name for name in set(sys.modules) - before if not name.startswith('avlib')])"
    )
    assert ran.stdout.strip() == '[]', ran.stderr


def test_every_module_imports_without_network_and_without_the_extras():
    """One process for all: sockets refuse to be made, packages of the extras refuse to be imported."""
    names = [module_name(path) for path in MODULES]
    ran = python(f"""
import importlib, socket, sys
import torch, torchaudio, scipy.signal, scipy.optimize, soundfile, safetensors.torch, tqdm.auto, typer

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name in {HEAVY}: raise ImportError(f'imported without being asked for: {{name}}')

def refuse(*_, **__): raise OSError('a module reached for the network when it was imported')

sys.meta_path.insert(0, Refuse())
for name in {HEAVY}: sys.modules.pop(name, None)
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
loaded = set(sys.modules)
for name in {names}: importlib.import_module(name)
assert not {{name.split('.')[0] for name in set(sys.modules) - loaded}} & set({NETWORK}), set(sys.modules) - loaded
""")
    assert ran.returncode == 0, ran.stderr
