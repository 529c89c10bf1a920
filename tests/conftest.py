"""What several files of tests share."""

import sys

import pytest

from workbench import copy_tree, run


@pytest.fixture(scope='session')
def smoke(tmp_path_factory):
    """A copy of the repository in which the smoke profile has run once, from nothing, and what that printed.

    No test changes the copy.
    """
    tree = copy_tree(tmp_path_factory.mktemp('smoke'))
    return tree, run(tree, sys.executable, '-m', 'avlib.reproduction.repro', '--profile', 'smoke')
