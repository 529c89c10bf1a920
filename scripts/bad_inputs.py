"""Write nbs/bad_inputs.md, the table of bad inputs and their messages, by running each."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'tests'))

from bad_inputs.table import PAGE, page  # noqa: E402 (lies in tests/)

if __name__ == '__main__':
    PAGE.write_text(page(), encoding='utf-8')
