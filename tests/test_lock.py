"""requirements.lock is what the environment contains, all that is required and nothing else."""

import configparser
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from ruamel.yaml import YAML

ROOT = Path(__file__).parent.parent
LOCK_ONLY = 'tinysoundfont'  # settings.ini says why no extra names it
NEVER = {
    'pyaudio',  # asked for by tinysoundfont, needed for playing aloud alone
    'rfc3987-syntax',  # a grammar of addresses that jsonschema would read for two seconds and never uses here
}
UNLOCKED_EXTRAS = {'clap', 'depth'}  # bring transformers and a hub client; their adapters are tested without them


def locked() -> dict[str, str]:
    lines = (ROOT / 'requirements.lock').read_text().splitlines()
    pairs = [line.split('==') for line in lines if not line.startswith('#')]
    return {canonicalize_name(name): version for name, version in pairs}


def asked_for() -> list[Requirement]:
    settings = configparser.ConfigParser(delimiters=['='])
    settings.read(ROOT / 'settings.ini')
    keys = [key for key in settings['DEFAULT'] if key.endswith('requirements')]
    named = [
        settings['DEFAULT'][key].split() for key in keys if key.removesuffix('_requirements') not in UNLOCKED_EXTRAS
    ]
    return [Requirement(text) for text in [*sum(named, []), LOCK_ONLY]]


def needed_by(name: str, extra: str) -> list[Requirement]:
    """What an installed package asks for on either of the two Pythons."""

    def applies(requirement: Requirement) -> bool:
        pythons = ({'python_version': f'3.{minor}', 'python_full_version': f'3.{minor}.1'} for minor in (11, 12))
        return requirement.marker is None or any(
            requirement.marker.evaluate(python | {'extra': extra}) for python in pythons
        )

    return [need for text in metadata.requires(name) or [] if applies(need := Requirement(text))]


def closure(wanted: list[Requirement]) -> set[str]:
    """Names of everything that `wanted` pulls in."""
    seen, queue = set(), [(canonicalize_name(want.name), extra) for want in wanted for extra in ('', *want.extras)]
    while queue:
        name, extra = node = queue.pop()
        if node in seen or name in NEVER:
            continue
        seen.add(node)
        queue += [
            (canonicalize_name(need.name), inner) for need in needed_by(name, extra) for inner in ('', *need.extras)
        ]
    return {name for name, _ in seen}


def test_lock_is_complete_and_holds_nothing_idle():
    assert closure(asked_for()) == set(locked())


def test_environment_is_the_lock():
    assert {name: metadata.version(name) for name in locked()} == locked()


@pytest.mark.parametrize('requirement', asked_for(), ids=str)
def test_lock_satisfies_what_the_wheel_asks_for(requirement):
    assert requirement.specifier.contains(locked()[canonicalize_name(requirement.name)])


def test_dvc_reads_its_files_in_c():
    assert YAML(typ='safe').Parser.__name__ == 'CParser'
