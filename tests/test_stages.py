"""A stage reruns when code that its result rests on has changed: all that its notebook imports below `lab` is among its dependencies."""

import ast
import json
import re
from pathlib import Path

import pytest
import yaml

from test_layers import imported

ROOT = Path(__file__).parent.parent
STAGES = {
    name: stage
    for name, stage in yaml.safe_load((ROOT / 'dvc.yaml').read_text())['stages'].items()
    if '.ipynb' in stage['cmd']
}
PARAMS = yaml.safe_load((ROOT / 'params.yaml').read_text())
NAMED = {
    'train': ('method', 'data'),
    'evaluate': ('method', 'data', 'score'),
}  # what params.yaml names, and no import shows


def module_file(name: str) -> Path | None:
    "The file behind `avlib.room.module` or `avlib.room.module.attribute`."
    parts = name.split('.')
    files = [ROOT / ('/'.join(parts[:n]) + '.py') for n in (3, len(parts))]
    return next((file for file in files if parts[0] == 'avlib' and file.is_file()), None)


def imported_by_notebook(path: Path) -> set[str]:
    cells = [''.join(cell['source']) for cell in json.loads(path.read_text())['cells'] if cell['cell_type'] == 'code']
    nodes = [node for node in ast.walk(ast.parse('\n'.join(cells))) if isinstance(node, ast.ImportFrom)]
    return {f'{node.module}.{alias.name}' for node in nodes for alias in node.names}


def covered(file: Path, stage: dict) -> bool:
    return any(file.relative_to(ROOT).is_relative_to(dependency) for dependency in stage['deps'])


def told_papers(stage: dict) -> list[dict]:
    "The settings of the paper that a stage is told."
    return [PARAMS[paper] for paper in re.findall(r'--paper (\w+)', stage['cmd'])]


def rests_on(stage: dict) -> set[Path]:
    """Files whose change can change the result. Of `lab`, only what the stage lists is followed: figures and paths change no result."""
    notebook = next(dependency for dependency in stage['deps'] if dependency.endswith('.ipynb'))
    settings = [
        part
        for paper in told_papers(stage)
        for part in (paper['paper'], *paper.get('corpora', {}).values(), *paper['experiments'].values())
    ]
    named = {
        part[key].replace(':', '.') for part in settings for key in NAMED.get(Path(notebook).stem, ()) if key in part
    }
    waiting, found = imported_by_notebook(ROOT / notebook) | named, set()
    while waiting:
        file = module_file(waiting.pop())
        if file is None or file in found or (file.parent.name == 'lab' and not covered(file, stage)):
            continue
        found.add(file)
        waiting |= imported(file)
    return found


@pytest.mark.parametrize('name', STAGES)
def test_a_stage_depends_on_all_code_that_it_rests_on(name):
    forgotten = [str(file.relative_to(ROOT)) for file in rests_on(STAGES[name]) if not covered(file, STAGES[name])]
    assert not forgotten, f'dvc.yaml, stage {name}: add {", ".join(sorted(forgotten))} to deps'


@pytest.mark.parametrize(
    'name',
    ['prepare', 'mixit-train', 'mixit-evaluate', 'mixit-bundled', 'boot-spatialize', 'boot-train', 'boot-evaluate'],
)
def test_a_stage_depends_on_no_code_that_it_does_not_rest_on(name):
    listed = {
        path
        for dependency in STAGES[name]['deps']
        if dependency.startswith('avlib/')
        for path in ([ROOT / dependency] if dependency.endswith('.py') else (ROOT / dependency).glob('[!_]*.py'))
    }
    idle = [str(file.relative_to(ROOT)) for file in listed - rests_on(STAGES[name]) if file.name != 'run.py']
    assert not idle, f'dvc.yaml, stage {name}: {", ".join(sorted(idle))} cannot change its result'
