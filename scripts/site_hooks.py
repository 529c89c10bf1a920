"""Prepare the site for mkdocs: README.md in front, notebooks executed, equations as MathML, checks folded."""

import os
import posixpath
import re
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
from bs4 import BeautifulSoup
from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError
from mkdocs.plugins import get_plugin_logger
from mkdocs.structure.files import File
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / 'nbs'
RUN_BY_PIPELINE = ('papers', 'stages', 'benchmarks')
EXECUTE = os.environ.get('AVLIB_SITE_EXECUTE', '1') == '1'
FOLDED = 'Checks'
MATH = re.compile(r'`[^`]*`|\$\$(.+?)\$\$|\$([^$\n]+?)\$', re.DOTALL)
LINK = re.compile(r'\[(?P<text>[^\]]*)\]\((?P<target>[^()\s#]+)(?P<anchor>#[^()\s]*)?\)')

log = get_plugin_logger('site')
prepared = tempfile.TemporaryDirectory(prefix='avlib-site-')


def on_config(config):
    """Add the reports that exist to the navigation of mkdocs.yml."""
    pages = sorted((ROOT / 'reports').glob('*/*.md'))
    config.nav.append({'Reports': ['reports/README.md', *(path.relative_to(ROOT).as_posix() for path in pages)]})
    return config


def on_files(files, config):
    """Add the first page, the page on security and the reports; put a prepared copy in the place of each notebook."""
    files.append(File.generated(config, 'index.md', abs_src_path=str(ROOT / 'README.md')))
    files.append(File.generated(config, 'SECURITY.md', abs_src_path=str(ROOT / 'SECURITY.md')))
    for path in (ROOT / 'reports').rglob('*'):
        if path.is_file():
            files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    notebooks = [file for file in files if file.src_uri.endswith('.ipynb') and file.src_uri != 'index.ipynb']
    for file, path in zip(notebooks, prepare_all([file.src_uri for file in notebooks]), strict=True):
        file.abs_src_path = str(path)
    return files


def on_page_markdown(markdown, page, **_):
    """Turn links between files of the repository into links between pages of the site."""
    folder = posixpath.dirname('README.md' if page.file.src_uri == 'index.md' else page.file.src_uri)
    if folder and not folder.startswith('reports'):
        return markdown
    return LINK.sub(lambda match: site_link(match, folder), markdown)


def site_link(match: re.Match, folder: str) -> str:
    """Return a link of README.md or of a report as the site has it; the text alone where the site has no such page."""
    text, target, anchor = match['text'], match['target'], match['anchor'] or ''
    if re.match(r'[a-z]+:|/', target):
        return match[0]
    path = posixpath.normpath(posixpath.join(folder, target))
    if not path.startswith(('nbs/', 'reports/', 'SECURITY.md')):
        return text
    return f'[{text}]({posixpath.relpath(path.removeprefix("nbs/"), folder or ".")}{anchor})'


def on_page_content(html, page, **_):
    """Fold the cells of a notebook's section of edge cases."""
    if not page.file.src_uri.endswith('.ipynb') or FOLDED not in html:
        return html
    soup = BeautifulSoup(html, 'html.parser')
    heading = next((h for h in soup.find_all('h2') if h.get_text().strip('¶ \n') == FOLDED), None)
    cell = heading and heading.find_parent(class_='jp-Cell')
    if cell:
        fold(soup, cell)
    return str(soup)


def fold(soup, cell) -> None:
    """Move the cells after `cell`, up to the next section, into an element that opens on a click."""
    details, summary = soup.new_tag('details'), soup.new_tag('summary')
    summary.string = 'Edge cases and errors'
    details.append(summary)
    for sibling in list(cell.find_next_siblings()):
        if sibling.find('h2'):
            break
        details.append(sibling.extract())
    cell.insert_after(details)


def on_post_build(**_):
    prepared.cleanup()


def prepare_all(names: list[str]) -> list[Path]:
    """Prepare all notebooks, several at a time, and tell how long it takes."""
    count = sum(needs_execution(name) for name in names)
    if count:
        log.info('%d notebooks to execute; on two cores this takes some ten minutes', count)
    progress = Progress(count)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(lambda name: prepare(name, progress), names))


class Progress:
    """Count executed notebooks and tell what remains."""

    def __init__(self, total: int):
        self.total, self.done, self.start = total, 0, time.monotonic()

    def tell(self, name: str) -> None:
        self.done += 1
        left = (time.monotonic() - self.start) / self.done * (self.total - self.done)
        log.info('executed %d of %d notebooks, about %.0f s left: %s', self.done, self.total, left, name)


def needs_execution(name: str) -> bool:
    return EXECUTE and Path(name).parts[0] not in RUN_BY_PIPELINE


def prepare(name: str, progress: Progress) -> Path:
    """A copy to show: executed here or by the pipeline, without hidden cells, equations as MathML."""
    notebook = nbformat.read(latest_run(name) or NOTEBOOKS / name, as_version=4)
    if needs_execution(name):
        execute(notebook, name)
        progress.tell(name)
    notebook.cells = [cell for cell in notebook.cells if not cell.source.startswith('#| hide')]
    for cell in notebook.cells:
        clean = readable_markdown if cell.cell_type == 'markdown' else without_directives
        cell.source = clean(cell.source)
    notebook.cells = [cell for cell in notebook.cells if cell.source.strip()]
    copy = Path(prepared.name) / name
    copy.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, copy)
    return copy


def latest_run(name: str) -> Path | None:
    """The newest executed copy, under runs/, of a notebook that the pipeline runs; None before its first run."""
    if Path(name).parts[0] not in RUN_BY_PIPELINE:
        return None
    stem = Path(name).stem
    copies = [path for pattern in (stem, f'{stem}-*') for path in ROOT.glob(f'runs/*/*/notebooks/{pattern}.ipynb')]
    return max(copies, key=lambda path: path.stat().st_mtime, default=None)


def execute(notebook, name: str) -> None:
    """Run all cells in the notebook's own folder but those that nbdev is told not to evaluate."""
    shown = notebook.cells
    notebook.cells = [cell for cell in shown if not re.search(r'^#\| eval: false', cell.source, re.MULTILINE)]
    resources = {'metadata': {'path': str((NOTEBOOKS / name).parent)}}
    try:
        NotebookClient(notebook, timeout=600, resources=resources).execute()
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
