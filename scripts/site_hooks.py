"""Prepares the site for mkdocs: README.md in front, notebooks executed, their equations as MathML (no script, no network)."""

import os
import re
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError
from mkdocs.plugins import get_plugin_logger
from mkdocs.structure.files import File
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / 'nbs'
ROOMS = {
    'papers': 'Reports',
    'methods': 'Methods',
    'dsp': 'Signals',
    'metrics': 'Metrics',
    'data': 'Data',
    'models': 'Models',
    'lab': 'Laboratory',
    'pipeline': 'Pipeline',
    'benchmarks': 'Benchmarks',
}
RUN_ELSEWHERE = ('papers', 'pipeline', 'benchmarks')
MATH = re.compile(r'`[^`]*`|\$\$(.+?)\$\$|\$([^$\n]+?)\$', re.DOTALL)

log = get_plugin_logger('site')
prepared = tempfile.TemporaryDirectory(prefix='avlib-site-')


def on_config(config):
    """One section a room, in reading order, of the notebooks and reports that exist."""
    pages = {
        title: sorted(path.relative_to(NOTEBOOKS).as_posix() for path in (NOTEBOOKS / room).glob('*.ipynb'))
        for room, title in ROOMS.items()
    }
    pages['Reports'] += sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / 'reports').rglob('*.md'))
    first = ['index.md', *sorted(path.name for path in NOTEBOOKS.glob('*.ipynb') if path.name != 'index.ipynb')]
    config.nav = [{'Start': first}, *({title: paths} for title, paths in pages.items() if paths)]
    return config


def on_files(files, config):
    """Add the first page and the reports; put a prepared copy in the place of each notebook."""
    files.append(File.generated(config, 'index.md', abs_src_path=str(ROOT / 'README.md')))
    for path in (ROOT / 'reports').rglob('*'):
        if path.is_file():
            files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    notebooks = [file for file in files if file.src_uri.endswith('.ipynb') and file.src_uri != 'index.ipynb']
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for file, path in zip(notebooks, pool.map(prepare, [file.src_uri for file in notebooks])):
            file.abs_src_path = str(path)
    return files


def on_page_markdown(markdown, page, **_):
    """Links of README.md as the site has them."""
    if page.file.src_uri != 'index.md':
        return markdown
    return markdown.replace('](nbs/', '](').replace('[Apache 2.0](LICENSE)', 'Apache 2.0')


def on_post_build(**_):
    prepared.cleanup()


def prepare(name: str) -> Path:
    """A copy to show: executed here or by the pipeline, without hidden cells, equations as MathML."""
    run = latest_run(name)
    notebook = nbformat.read(run or NOTEBOOKS / name, as_version=4)
    if not run and Path(name).parts[0] not in RUN_ELSEWHERE and os.environ.get('AVLIB_SITE_EXECUTE', '1') == '1':
        execute(notebook, name)
    notebook.cells = [cell for cell in notebook.cells if not cell.source.startswith('#| hide')]
    for cell in notebook.cells:
        cell.source = (
            readable_markdown(cell.source) if cell.cell_type == 'markdown' else without_directives(cell.source)
        )
    notebook.cells = [cell for cell in notebook.cells if cell.source.strip()]
    copy = Path(prepared.name) / name
    copy.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, copy)
    return copy


def latest_run(name: str) -> Path | None:
    """The newest executed copy, under runs/, of a notebook that the pipeline runs; None before its first run."""
    if Path(name).parts[0] not in RUN_ELSEWHERE:
        return None
    stem = Path(name).stem
    copies = [path for pattern in (stem, f'{stem}-*') for path in ROOT.glob(f'runs/*/*/notebooks/{pattern}.ipynb')]
    return max(copies, key=lambda path: path.stat().st_mtime, default=None)


def execute(notebook, name: str) -> None:
    """Run all cells in the notebook's own folder but those that nbdev is told not to evaluate."""
    log.info('executing %s', name)
    shown = notebook.cells
    notebook.cells = [cell for cell in shown if not re.search(r'^#\| eval: false', cell.source, re.MULTILINE)]
    try:
        NotebookClient(
            notebook, timeout=600, resources={'metadata': {'path': str((NOTEBOOKS / name).parent)}}
        ).execute()
    except CellExecutionError as error:
        raise PluginError(f'nbs/{name} fails: {error}') from error
    notebook.cells = shown


def without_directives(source: str) -> str:
    return re.sub(r'^#\| .*\n?', '', source, flags=re.MULTILINE)


def readable_markdown(source: str) -> str:
    """Equations as MathML, links to other notebooks as links to their pages, reports where the site has them."""
    return MATH.sub(equation, source).replace('.ipynb)', '.html)').replace('](../../reports/', '](../reports/')


def equation(match: re.Match) -> str:
    block, inline = match[1], match[2]
    if not block and not inline:
        return match[0]
    number = re.search(r'\\tag\{([^}]*)\}', block or '')
    latex = re.sub(r'\\tag\{[^}]*\}', rf'\\qquad ({number[1]})' if number else '', (block or inline).strip())
    return re.sub(r'\s*\n\s*', '', convert(latex, display='block' if block else 'inline'))
