"""Write README.md and reports/README.md from nbs/index.ipynb and the claims: scripts/readme.py ROOT [REPORTS]."""

import os
import posixpath
import re
import sys
import tempfile
from pathlib import Path

import papermill
from nbconvert import MarkdownExporter

from avlib.reproduction.overview import claim_rows, claims_page, read_ledgers

ROOT = Path(__file__).resolve().parent.parent


def from_root(match: re.Match) -> str:
    """A relative link of the notebook, seen from the root instead of nbs/."""
    target = match[1]
    local = not re.match(r'[a-z]+:|#|/', target)
    return f']({posixpath.normpath(posixpath.join("nbs", target)) if local else target})'


def render(reports: Path) -> str:
    """The text of README.md with the numbers and pictures under `reports`; code is left out, its output stays."""
    with tempfile.TemporaryDirectory() as folder:
        executed = Path(folder) / 'index.ipynb'
        papermill.execute_notebook(
            ROOT / 'nbs/index.ipynb',
            executed,
            parameters={'reports': str(reports)},
            cwd=ROOT / 'nbs',
            progress_bar=False,
        )
        text, _ = MarkdownExporter(exclude_input=True).from_filename(str(executed))
    text = re.sub(r'\]\(([^()\s]+)\)', from_root, text)
    lines = [line.rstrip() for line in text.strip().split('\n')]
    return re.sub(r'\n{3,}', '\n\n', '\n'.join(lines)) + '\n'


def write(target: Path, text: str) -> None:
    """Replace a file as a whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f'.{target.name}.unfinished')
    unfinished.write_text(text, encoding='utf-8')
    os.replace(unfinished, target)


if __name__ == '__main__':
    target, reports = Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else ROOT / 'reports').resolve()
    write(target / 'README.md', render(reports))
    write(target / 'reports/README.md', claims_page(claim_rows(read_ledgers(reports))))
