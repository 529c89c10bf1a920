"""Every kind of bad input gets the message that the table of the site says, and leaves nothing behind."""

import re
import traceback
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest
from typer.main import get_command

from avlib.apps.cli import app
from avlib.io.outputs import PREFIX
from bad_inputs.base import BadInput, Refused, cli
from bad_inputs.table import PAGE, ROOT, areas, outcome, row, title

LONGEST = 400  # characters of a line of a message
CASES = [pytest.param(area, case, id=f'{area}: {case.kind}') for area, cases in areas().items() for case in cases]


@pytest.fixture(scope='module')
def rows() -> dict[str, list[str]]:
    """Rows of the page of the site, by the heading of their area."""
    parts = re.split(r'^## ', PAGE.read_text(encoding='utf-8'), flags=re.MULTILINE)[1:]
    return {part.split('\n')[0]: [line for line in part.split('\n')[4:] if line] for part in parts}


@pytest.mark.parametrize('area, case', CASES)
def test_is_refused_as_the_table_says(area, case, rows, tmp_path):
    """Status, number of lines and files that a command leaves are checked where it runs (`cli`)."""
    folder = tmp_path / 'case'
    folder.mkdir()
    message, error = outcome(case, folder)
    assert row(case.kind, message) in rows[title(area)], 'run `make readme` and commit nbs/bad_inputs.md'
    lines = message.split('\n')
    assert len(lines) == 1 or isinstance(error, Refused), 'a function names several files on one line'
    assert all(line.strip() and line.isprintable() and len(line) <= LONGEST for line in lines), message
    assert not re.search(r'Traceback|0x[0-9a-f]{6}|object at', message)
    paths = list(folder.rglob('*'))
    left = [path.name for path in paths if path.name.startswith(PREFIX if path.is_dir() else '.')]
    assert not left, 'a hidden file, or a folder of unfinished files, is left'
    assert names_one_of(lines[0], {path.name for path in paths} | arguments(error) | {case.about}), (
        f'{message}: names no file and no argument'
    )


def names_one_of(line: str, names: set[str]) -> bool:
    """Return whether a message contains one of the names as a word of its own."""
    return any(re.search(rf'(?<!\w){re.escape(name)}(?!\w)', line) for name in names if name.strip())


def arguments(error: BaseException | None) -> set[str]:
    """Return names and values of the arguments that a command had, and the functions of avlib that an error left."""
    found = {*error.call, *options(get_command(app))} if isinstance(error, Refused) else set()
    while error:
        for frame, _ in traceback.walk_tb(error.__traceback__):
            if Path(frame.f_code.co_filename).is_relative_to(ROOT / 'avlib'):
                found |= named(frame.f_locals, frame.f_code.co_varnames[: frame.f_code.co_argcount])
        error = error.__cause__
    return found


def named(values: dict, parameters) -> set[str]:
    """Return the names of parameters, their texts and numbers, and the fields of a dataclass that checks itself."""
    texts = {str(values[name]) for name in parameters if isinstance(values.get(name), str | int | float | Path)}
    own = values.get('self')
    return {*parameters, *texts, *(field.name for field in (fields(own) if is_dataclass(own) else ()))}


def options(command) -> set[str]:
    """Return the names of all arguments and options of a command and its subcommands."""
    parts = [*command.params, *getattr(command, 'commands', {}).values()]
    return {name for part in parts for name in (options(part) if hasattr(part, 'params') else (*part.opts, part.name))}


def test_counts_a_hundred_kinds_at_least():
    kinds = [(area, case.kind) for area, cases in areas().items() for case in cases]
    assert len(set(kinds)) == len(kinds) >= 100


def test_table_has_no_other_rows(rows):
    kinds = {title(area): [case.kind for case in cases] for area, cases in areas().items()}
    assert {area: [line[2:].split(' | ')[0] for line in lines] for area, lines in rows.items()} == kinds


def test_notices_what_is_not_refused(tmp_path, monkeypatch):
    """A command that ends well, a function that returns, a message without a name."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AssertionError, match='status 0'):
        cli('models')
    with pytest.raises(AssertionError, match='good sound: is not refused'):
        outcome(BadInput('good sound', lambda: None), tmp_path)
    assert names_one_of('mix.wav: is empty', {'mix.wav'}) and not names_one_of('remix.wav: is empty', {'mix.wav'})
