"""What several files of tests share."""

import json
import subprocess
import sys

import pytest
from filelock import FileLock

from workbench import copy_tree, run

FIRST, LAST = 'test_pipeline.py', 'test_kill.py'  # both need the smoke run; the second finds it made


def pytest_collection_modifyitems(items):
    """Begin with the file that takes longest: processes that share the tests take whole files in this order."""
    items.sort(key=lambda item: (item.path.name != FIRST, item.path.name == LAST))


@pytest.fixture(scope='session')
def smoke(tmp_path_factory, worker_id):
    """A copy of the repository in which the smoke profile has run once, from nothing, and what that printed.

    Processes that share the tests share it, too. No test changes the copy.
    """
    own = tmp_path_factory.getbasetemp()
    shared = own if worker_id == 'master' else own.parent
    tree, printed = shared / 'smoke', shared / 'smoke.json'
    with FileLock(shared / 'smoke.lock'):
        if not printed.exists():
            copy_tree(tree)
            ran = run(tree, sys.executable, '-m', 'avlib.reproduction.repro', '--profile', 'smoke')
            printed.write_text(json.dumps(vars(ran)))
    return tree, subprocess.CompletedProcess(**json.loads(printed.read_text()))
