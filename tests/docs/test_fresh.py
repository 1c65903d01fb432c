"""The README and the tutorial in a fresh clone and a fresh virtual environment, as a new user reads them.

CAPIVARA_TEST_FRESH=1 pytest tests/docs/test_fresh.py -n 0     about half an hour, and 8 GB of disk
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from docs.test_docs import blocks_to_run
from support.made import ROOT, copy_photos

pytestmark = pytest.mark.skipif("CAPIVARA_TEST_FRESH" not in os.environ, reason="installs everything anew")


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The variables of a shell in which ``capivara`` is that of a fresh clone, without what is not committed."""
    folder = tmp_path_factory.mktemp("fresh")
    subprocess.run(["git", "clone", "-q", ROOT, folder / "clone"], check=True)
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    subprocess.run([folder / "venv" / "bin" / "pip", "install", "-q", folder / "clone"], check=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "CAPIVARA"))}
    return {**kept, "PATH": f"{folder / 'venv' / 'bin'}:{kept['PATH']}", "HOME": str(folder)}


@pytest.mark.parametrize("page", ["README.md", "docs/tutorial.md"])
def test_its_commands_run_in_order_as_typed(page: str, tmp_path: Path, environment: dict[str, str]) -> None:
    copy_photos(tmp_path / "photos", count=200)
    script = "\n".join(blocks_to_run((ROOT / page).read_text("utf-8")))
    done = subprocess.run(
        ["bash", "-c", "set -e\n" + script], cwd=tmp_path, env=environment, capture_output=True, text=True,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not re.search(r"\w+Warning\b", done.stderr)
