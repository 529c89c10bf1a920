"""Copies of the repository to run, change and break, for the tests that need a whole one."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import yaml

ROOT = Path(__file__).parent.parent
PIPELINE = 'pipelines/speech-smoke/dvc.yaml'
CLI = [sys.executable, '-c', 'from avlib.apps.cli import main; main()']
PRODUCED = ('data/', 'runs/', 'reports/', 'pipelines/', 'dvc.lock', '.dvc/cache/', '.dvc/tmp/')


def copy_tree(target: Path) -> Path:
    """The files of the working tree, committed or new, in a repository of their own; nothing that a pipeline made."""
    listing = ['git', 'ls-files', '-z', '--cached', '--others', '--exclude-standard']
    listed = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True)
    for name in listed.stdout.decode().split('\0'):
        if name and not name.startswith(PRODUCED) and (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)
    commit = ['-c', 'user.name=test', '-c', 'user.email=test@test', 'commit', '-qm', 'copy']
    for command in (['init', '-q'], ['add', '-A'], commit):
        subprocess.run(['git', *command], cwd=target, check=True)
    return target


def environment(tree: Path) -> dict:
    """Variables under which commands use the copy's library and this environment's programs."""
    kept = {
        key: value for key, value in os.environ.items() if not key.startswith(('DVC_', 'GIT_')) and key != 'IN_TEST'
    }
    path = f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'
    return {**kept, 'PYTHONPATH': str(tree), 'PATH': path, 'OMP_NUM_THREADS': '1'}


def run(tree: Path, *command, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        list(map(str, command)), cwd=tree, env=environment(tree), capture_output=True, text=True, **options
    )


def start(tree: Path, *command, output: Path | None = None) -> subprocess.Popen:
    """The command in the background, what it prints in a file (default: `tree`/output.txt)."""
    with open(output or tree / 'output.txt', 'w') as output:
        return subprocess.Popen(
            list(map(str, command)), cwd=tree, env=environment(tree), stdout=output, stderr=subprocess.STDOUT
        )


def change_settings(tree: Path, change) -> None:
    """Let `change(settings)` edit params.yaml."""
    path = tree / 'params.yaml'
    settings = yaml.safe_load(path.read_text())
    change(settings)
    path.write_text(yaml.safe_dump(settings, sort_keys=False))


def write_pipeline(tree: Path) -> None:
    """Write the smoke profile's dvc.yaml, which `avlib.reproduction.repro` removes at its end, and the hashes."""
    names = ['--profile', 'smoke', '--corpus', 'speech', '--labelled-corpus', 'music']
    for command in (['pipeline', 'smoke', 'speech'], ['stage_inputs', *names]):
        ran = run(tree, sys.executable, '-m', f'avlib.reproduction.{command[0]}', *command[1:])
        assert ran.returncode == 0, ran.stderr


def wait_for(happened, what: str, seconds: float = 180, every: float = 0.02) -> None:
    """Return as soon as `happened()`; fail after so many seconds."""
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, f'{what}: not within {seconds} s'
        time.sleep(every)


def kill(process: subprocess.Popen) -> list[psutil.Process]:
    """`kill -9` of this one process; returns all that it had started."""
    started = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    return started


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those still running; a zombie has ended, whether or not its parent has looked."""

    def runs(process):
        try:
            return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    return [process for process in processes if runs(process)]


def clean_up(processes: list[psutil.Process]) -> None:
    for process in alive(processes):
        process.kill()


def copy_run(tree: Path, target: Path) -> Path:
    """A copy of a tree with all that its pipeline made, DVC's view of it included."""
    shutil.copytree(tree, target, symlinks=True, ignore=shutil.ignore_patterns('__pycache__'))
    return target
