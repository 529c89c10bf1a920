"""Memory of separation does not grow with the length of the file."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from workbench import ROOT, run

RATE = 48000
SHORT_S, LONG_S = 40, 240
GROWTH_MB = 60
# The peak memory of this program alone: getrusage also counts the memory of the parent at the fork.
MEASURED = 'from avlib.apps.cli import main\ntry: main()\nfinally: print(open("/proc/self/status").read())'


def peak_mb(folder: Path, seconds: int) -> float:
    """Return the peak resident memory, in MB, of separating so many seconds of noise."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    with soundfile.SoundFile(folder / 'mix.wav', 'w', RATE, 1) as file:
        for _ in range(seconds):
            file.write(0.1 * rng.standard_normal(RATE))
    command = ['separate', folder / 'mix.wav', '--model', 'mixit-speech', '--out', folder / 'out']
    ran = run(ROOT, sys.executable, '-c', MEASURED, *command)
    assert ran.returncode == 0, ran.stderr
    assert {soundfile.info(path).frames for path in (folder / 'out').iterdir()} == {seconds * RATE}
    return int(re.search(r'VmHWM:\s+(\d+) kB', ran.stdout)[1]) / 1024


@pytest.mark.skipif(not Path('/proc/self/status').exists(), reason='reads the peak memory from /proc')
def test_memory_does_not_grow_with_the_file(tmp_path):
    """Mixture and sources of the long file, held at once, would take 190 MB more than those of the short one."""
    short, long = (peak_mb(tmp_path / str(seconds), seconds) for seconds in (SHORT_S, LONG_S))
    assert long - short < GROWTH_MB, f'{short:.0f} MB for {SHORT_S} s, {long:.0f} MB for {LONG_S} s'
