"""What several files of tests share."""

import sys

import pytest

from workbench import copy_tree, run


@pytest.hookimpl(tryfirst=True)  # before names of groups are read from the markers
def pytest_collection_modifyitems(items):
    """Let each worker take whole files, so that what a file prepares is prepared once; the smoke run comes first."""
    for item in items:
        group = 'smoke' if 'smoke' in item.fixturenames else item.path.name
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: 'smoke' not in item.fixturenames)


@pytest.fixture(scope='session')
def smoke(tmp_path_factory):
    """A copy of the repository in which the smoke profile has run once, from nothing, and what that printed.

    No test changes the copy.
    """
    tree = copy_tree(tmp_path_factory.mktemp('smoke'))
    return tree, run(tree, sys.executable, '-m', 'avlib.reproduction.repro', '--profile', 'smoke')
