"""Files of strangers: whatever their bytes, they are read, or refused by one line that names the file.

Mutants of good files go to each reader in one process of limited memory; see `hostile.py`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from avlib.apps.evaluate_maps import read_map
from avlib.corpora.localization_benchmarks import read_benchmark
from avlib.corpora.video_corpora import vggsound_list
from avlib.io.files import read_json, read_jsonl
from avlib.io.yaml_files import read_yaml
from hostile import READERS
from workbench import ROOT, environment

MUTANTS = 300


@pytest.fixture(scope='module')
def outcomes(tmp_path_factory) -> dict:
    command = [sys.executable, Path(__file__).with_name('hostile.py'), str(MUTANTS), '0']
    folder = tmp_path_factory.mktemp('hostile')
    ran = subprocess.run(command, cwd=folder, env=environment(ROOT), capture_output=True, text=True)
    assert ran.returncode == 0, (ran.returncode, ran.stderr[-2000:])
    assert not list(folder.iterdir())
    return json.loads(ran.stdout)


@pytest.mark.parametrize('name', READERS)
def test_mutants_are_read_or_refused_by_name(outcomes, name):
    found = outcomes[name]
    assert found.pop('seeds read') == len(READERS[name].seeds)
    assert set(found) <= {'read', 'refused'}, {outcome: count for outcome, count in found.items() if len(outcome) > 7}
    assert sum(found.values()) == MUTANTS and found['refused'] > MUTANTS / 10


@pytest.mark.parametrize(
    ('name', 'read'),
    {
        'x.json': read_json,
        'x.jsonl': read_jsonl,
        'vggsound.csv': lambda path: vggsound_list(path.parent),
        'x.xml': lambda path: read_benchmark(path.parent),
        'x.yaml': read_yaml,
        'x.npy': read_map,
    }.items(),
)
def test_a_file_of_a_terabyte_is_refused_at_once(tmp_path, name, read):
    path = tmp_path / name
    path.write_bytes(
        b'\x93NUMPY\x01\0v\0' + repr({'descr': '<f8', 'fortran_order': False, 'shape': (10**6, 10**5)}).encode()
    )
    path.write_bytes(path.read_bytes().ljust(127) + b'\n')
    os.truncate(path, 2**40)
    with pytest.raises(ValueError, match=f'{name}: .*expected at most') as caught:
        read(path)
    assert '\n' not in str(caught.value)
