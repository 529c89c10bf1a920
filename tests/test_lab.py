"""Reading a notebook in JupyterLab changes no file in git."""

import importlib.util
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parent.parent
NOTEBOOKS = ['tutorials/listen', 'methods/mixit', 'stages/train', 'index']


def save_hook():
    spec = importlib.util.spec_from_file_location('jupyter_config', ROOT / 'scripts/jupyter_config.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.clear_outputs


@pytest.mark.parametrize('name', NOTEBOOKS)
def test_a_notebook_that_was_run_is_saved_as_it_was(name, tmp_path):
    path = ROOT / f'nbs/{name}.ipynb'
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata['language_info'] = {'name': 'python', 'version': '3.11'}
    for number, cell in enumerate(notebook.cells):
        cell.metadata['execution'] = {'iopub.status.idle': 'now'}
        cell.metadata['trusted'] = True
        if cell.cell_type == 'code':
            cell.execution_count = number
            cell.outputs = [nbformat.v4.new_output('stream', text='hello')]
    save_hook()({'type': 'notebook', 'content': notebook})
    nbformat.write(notebook, tmp_path / 'saved.ipynb')
    assert (tmp_path / 'saved.ipynb').read_text() == path.read_text()
