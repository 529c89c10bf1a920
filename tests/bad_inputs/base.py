"""One kind of bad input, and the command line run in this process."""

import contextlib
import io
import re
import sys
import warnings
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

REFUSED = (ValueError, OSError, ImportError)  # what avlib's command line turns into one line and status 1
BAR = re.compile(r'\d+%\||\d+(clip|file|s) \[')


@dataclass(frozen=True)
class BadInput:
    """A kind of bad input, a noun phrase in plain words, and a function that writes one and hands it to avlib.

    `run()` starts with an empty folder as working directory, writes the bad file there by a relative path, and calls
    avlib, which must raise ValueError, OSError or ImportError (or call `cli`, which raises what the command printed).
    Its message must name a file, an argument or its value, or the word `about`.
    """

    kind: str
    run: Callable[[], object]
    about: str = ''


class Refused(ValueError):
    """What the command line printed about its input, without the prefix `avlib: `. `call`: the command's arguments."""

    def __init__(self, message: str, call: tuple):
        super().__init__(message)
        self.call = call


def cli(*args: str, lines: int = 1) -> None:
    """Call avlib's command line in this process. Raises Refused with the line that it printed, or its `lines`.

    Raises AssertionError where the command does not end with status 1, prints to stdout, prints a traceback or more
    than `lines` lines, or leaves or changes a file in the working directory.
    """
    before = _files()
    status, printed, errors, cause = _call(args)
    assert _files() == before, f'{args} wrote to {_files() ^ before}'
    assert status == 1, f'{args} ended with status {status}: {printed}{errors}'
    assert not printed, f'{args} printed to stdout: {printed}'
    shown = [line for line in re.split('[\r\n]', errors) if line.strip() and not BAR.search(line)]
    assert 1 <= len(shown) <= lines and shown[0].startswith('avlib: '), f'{args} printed: {errors}'
    raise Refused('\n'.join(shown).removeprefix('avlib: '), args) from cause


def usage(*args: str) -> None:
    """Call the command line with arguments that it can't parse. Raises Refused with the line after its usage.

    Raises AssertionError where it does not end with status 2 and, as its last line, `Error: …`.
    """
    status, printed, errors, _ = _call(args)
    shown = errors.splitlines()
    assert status == 2 and not printed, f'{args} ended with status {status}: {printed}{errors}'
    assert shown[-1].startswith('Error: '), f'{args} printed: {errors}'
    raise Refused(shown[-1].removeprefix('Error: '), args)


def _files() -> set[tuple]:
    """Return paths, sizes and times of the files below the working directory."""
    paths = {path: path.lstat() for path in Path().rglob('*') if not path.is_dir()}
    return {(str(path), status.st_size, status.st_mtime_ns) for path, status in paths.items()}


def _call(args) -> tuple[int, str, str, BaseException | None]:
    """Return the status of a command, what it printed to stdout and stderr, and the error that it came from."""
    from avlib.apps.cli import main

    output, errors, status, cause = io.StringIO(), io.StringIO(), 0, None
    with (
        patch.object(sys, 'argv', ['avlib', *map(str, args)]),
        warnings.catch_warnings(),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(errors),
    ):
        try:
            copy_context().run(main)
        except SystemExit as end:
            status, cause = end.code, end.__cause__
    return status, output.getvalue(), errors.getvalue(), cause
