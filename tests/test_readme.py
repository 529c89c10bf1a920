"""README.md and reports/README.md are what the script makes of the committed reports, and their links work."""

import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = ('README.md', 'reports/README.md')


def committed_reports(folder: Path) -> Path | None:
    """The reports of the last commit, so that a local `make repro` doesn't count; None outside a repository."""
    archive = folder / 'reports.tar'
    git = subprocess.run(['git', 'archive', '-o', str(archive), 'HEAD', 'reports'], cwd=ROOT, capture_output=True)
    if git.returncode:
        return None
    with tarfile.open(archive) as tar:
        tar.extractall(
            folder, **({'filter': 'data'} if hasattr(tarfile, 'data_filter') else {})
        )  # Python before 3.11.4 has none
    return folder / 'reports'


def render(folder: Path, reports: Path) -> dict[str, str]:
    target = folder / 'rendered'
    subprocess.run([sys.executable, ROOT / 'scripts/readme.py', target, reports], check=True)
    return {name: (target / name).read_text(encoding='utf-8') for name in PAGES}


def test_pages_are_what_the_script_renders(tmp_path):
    pages = {name: (ROOT / name).read_text(encoding='utf-8') for name in PAGES}
    sources = [committed_reports(tmp_path), ROOT / 'reports']
    in_step = any(render(tmp_path, reports) == pages for reports in sources if reports)
    assert in_step, 'run `make readme` and commit README.md and reports/README.md with nbs/index.ipynb and reports/'


def test_front_page_is_short():
    lines = (ROOT / 'README.md').read_text(encoding='utf-8').split('\n')
    assert len(lines) <= 200 and max(map(len, lines)) <= 600


def links(text: str) -> list[str]:
    prose = re.sub(r'```.*?```', '', text, flags=re.DOTALL)
    return [target for target in re.findall(r'\]\(([^()\s]+)\)', prose) if not re.match(r'[a-z]+:|#', target)]


@pytest.mark.parametrize('target', links((ROOT / 'README.md').read_text(encoding='utf-8')))
def test_link_leads_somewhere(target):
    assert (ROOT / target.split('#')[0]).exists()
