"""Words and form: docstrings that begin as they should, names of the field, lines and functions of a readable size."""

import ast
import json
import re
from pathlib import Path
from statistics import median, quantiles

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted(path for path in (ROOT / 'avlib').rglob('*.py') if path.name not in ('__init__.py', '_modidx.py'))
NOTEBOOKS = sorted(path for path in (ROOT / 'nbs').rglob('*.ipynb') if '.ipynb_checkpoints' not in path.parts)
BEGINNINGS = {'Of', 'What', 'Which', 'That', 'Who', 'Whose'}
RETIRED = (  # names that were this project's own; the field has others
    'looked_at', 'seen_in', 'made_of', 'keeping_linear', 'LoneObjects', 'of_image', 'of_sound', 'darken', 'unasked',
    'Watched', 'UnaskedSeparation', 'told', 'fitted', 'Listener', 'judges', 'needless', 'unwarped',
    'company', 'price', 'elsewhere', 'apart', 'ways', 'bare', 'looks',
)  # fmt: skip
NODES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def definitions(path: Path) -> list:
    return [node for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))) if isinstance(node, NODES)]


def body_length(node) -> int:
    """Lines of a function without its docstring."""
    documentation = ast.get_docstring(node, clean=False)
    return node.end_lineno - node.lineno + 1 - (documentation.count('\n') + 1 if documentation else 0)


@pytest.mark.parametrize('path', MODULES, ids=name)
def test_docstrings_begin_with_a_verb_or_a_noun(path):
    words = {node.name: (ast.get_docstring(node) or ' ').split(' ')[0].strip(',:') for node in definitions(path)}
    assert not {node: word for node, word in words.items() if word in BEGINNINGS}


@pytest.mark.parametrize('path', MODULES, ids=name)
def test_retired_names_are_gone(path):
    nodes = list(ast.walk(ast.parse(path.read_text(encoding='utf-8'))))
    identifiers = {node.id for node in nodes if isinstance(node, ast.Name)}
    identifiers |= {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    identifiers |= {node.arg for node in nodes if isinstance(node, ast.arg | ast.keyword) and node.arg}
    identifiers |= {node.name for node in definitions(path)}
    assert not identifiers & set(RETIRED)


@pytest.mark.parametrize('path', NOTEBOOKS, ids=name)
def test_exported_cells_are_short(path):
    cells = [cell for cell in json.loads(path.read_text())['cells'] if cell['cell_type'] == 'code']
    sources = [''.join(cell['source']) for cell in cells]
    lengths = [source.count('\n') + 1 for source in sources if re.match(r'#\| export\b', source)]
    assert not [length for length in lengths if length > 40]


def test_functions_are_short_without_being_dense():
    functions = [node for path in MODULES for node in definitions(path) if not isinstance(node, ast.ClassDef)]
    lengths = [body_length(node) for node in functions]
    assert median(lengths) <= 6 and quantiles(lengths, n=10)[-1] < 16
    assert not [path for path in MODULES if path.read_text().count('\n') > 300]
