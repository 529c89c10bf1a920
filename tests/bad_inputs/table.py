"""The table of bad inputs: all areas, the message that each kind gets, and the page of the site."""

import contextlib
import importlib
import io
import os
import pkgutil
import re
import tempfile
from pathlib import Path

import bad_inputs

from .base import REFUSED, BadInput

ROOT = Path(__file__).parents[2]
PAGE = ROOT / 'nbs/bad_inputs.md'
OWN = {'base', 'table'}  # modules without cases
HEAD = """# Bad inputs

Each kind of bad input that the tests hand to avlib, and the message that it gets. A command prints the message on one
line after `avlib: `, ends with status 1, and writes no file; a function of Python raises `ValueError`, `OSError` or
`ImportError` with it. Where several files of a folder are bad, a line for each follows.

`make readme` writes this page from `tests/bad_inputs/`, and a test compares them.
"""


def areas() -> dict[str, list[BadInput]]:
    """Return the cases of each module of this package, by its name."""
    names = sorted(module.name for module in pkgutil.iter_modules(bad_inputs.__path__) if module.name not in OWN)
    return {name: importlib.import_module(f'bad_inputs.{name}').CASES for name in names}


def outcome(case: BadInput, folder: Path) -> tuple[str, Exception]:
    """Run a case in an empty folder; return the message of its error, without what differs from call to call.

    The error itself comes second. Raises AssertionError where there is none, or a temporary file is left.
    """
    temporary = folder.with_name(f'{folder.name}-temporary')
    temporary.mkdir()
    with contextlib.chdir(folder), _temporary_files_in(temporary), contextlib.redirect_stderr(io.StringIO()):
        try:
            case.run()
        except REFUSED as caught:
            error = caught
        else:
            raise AssertionError(f'{case.kind}: is not refused')
    left = [path.name for path in temporary.iterdir() if not path.name.startswith('torchinductor')]  # PyTorch's own
    assert not left, f'{case.kind}: left {left}'
    return _without_folders(str(error), folder), error


@contextlib.contextmanager
def _temporary_files_in(folder: Path):
    """Let temporary files go to a folder, so that what is left of them is seen."""
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before


def _without_folders(message: str, folder: Path) -> str:
    """Return a message with the folders of this machine left out."""
    for place in (folder.resolve(), folder, ROOT):
        message = message.replace(f'{place}{os.sep}', '').replace(str(place), 'FOLDER')
    message = re.sub(r'process \d+, since [\d-]+ [\d:]+', 'process NUMBER, since TIME', message)
    message = re.sub(r'Error opening \d+:', 'Error opening NUMBER:', message)  # of an open file
    return re.sub(r'(.)\1{40,}', r'\1\1\1…', message)  # names of hundreds of letters


def row(kind: str, message: str) -> str:
    """Return a line of the table."""
    lines = '<br>'.join(_code(line) for line in message.split('\n'))
    return f'| {kind} | {lines} |'


def _code(text: str) -> str:
    """Return a line as a span of code, whatever it holds."""
    fence = '`' * (1 + max(map(len, re.findall('`+', text)), default=0))
    space = ' ' if '`' in text else ''
    return f'{fence}{space}{text}{space}{fence}'.replace('|', r'\|')


def page() -> str:
    """Run all cases; return the page of the site."""
    parts, count = [], 0
    for area, cases in areas().items():
        rows = []
        for case in cases:
            with tempfile.TemporaryDirectory(prefix='avlib-bad-inputs-') as root:
                folder = Path(root) / 'case'
                folder.mkdir()
                rows.append(row(case.kind, outcome(case, folder)[0]))
        count += len(rows)
        parts.append('\n'.join([f'## {title(area)}', '', '| kind | message |', '|---|---|', *rows]) + '\n')
    return '\n'.join([HEAD, f'There are {count} kinds.\n', *parts])


def title(area: str) -> str:
    """Return the heading of an area."""
    return area.replace('_', ' ').capitalize()
