"""The site lists every notebook once, and builds from a fresh clone without a broken link."""

import os
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent


def pages(entry) -> list[str]:
    """The pages of a part of the navigation."""
    if isinstance(entry, str):
        return [entry]
    parts = entry.values() if isinstance(entry, dict) else entry
    return [page for part in parts for page in pages(part)]


def test_navigation_lists_every_notebook_once():
    listed = pages(yaml.safe_load((ROOT / 'mkdocs.yml').read_text())['nav'])
    paths = [path.relative_to(ROOT / 'nbs') for path in (ROOT / 'nbs').rglob('*.ipynb')]
    notebooks = [path.as_posix() for path in paths if '.ipynb_checkpoints' not in path.parts]
    assert sorted(page for page in listed if page.endswith('.ipynb')) == sorted(set(notebooks) - {'index.ipynb'})


def test_site_builds_strictly_without_executing(tmp_path):
    """Links, navigation and equations are checked; `make docs` executes the notebooks, too."""
    environment = {**os.environ, 'AVLIB_SITE_EXECUTE': '0', 'NO_MKDOCS_2_WARNING': '1'}
    command = [Path(sys.executable).with_name('mkdocs'), 'build', '--strict', '--quiet', '-d', str(tmp_path / 'site')]
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    page = (tmp_path / 'site/methods/mixit.html').read_text()
    assert '<details>' in page and (tmp_path / 'site/index.html').is_file()
