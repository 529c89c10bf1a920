"""What separating costs: memory that does not grow with the file."""

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
# The high-water mark of this program alone: getrusage also counts what the parent held when it forked.
MEASURED = 'from avlib.apps.cli import main\ntry: main()\nfinally: print(open("/proc/self/status").read())'


def peak_mb(folder: Path, seconds: int) -> float:
    """Peak resident memory, in MB, of separating so many seconds of noise, written block by block."""
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


@pytest.mark.skipif(not Path('/proc/self/status').exists(), reason='peak memory of a program is read from /proc')
def test_memory_does_not_grow_with_the_file(tmp_path):
    """Mixture and sources of the long file would take 190 MB more than those of the short one if they were held at once."""
    short, long = (peak_mb(tmp_path / str(seconds), seconds) for seconds in (SHORT_S, LONG_S))
    assert long - short < GROWTH_MB, f'{short:.0f} MB for {SHORT_S} s, {long:.0f} MB for {LONG_S} s'
