"""Peers that cannot be installed beside us: each gets an environment of its own, made when it is first needed."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from capivara_cli.storage import cache

REQUIREMENTS = {
    "data-juicer": ("py-data-juicer==1.6.1",),
    "clip-retrieval": ("clip-retrieval==2.45.0", "setuptools>=77,<81"),
}


def python_of(peer: str) -> Path:
    """The interpreter of the peer's environment. What the peer does not pin, torch among it, it takes from ours."""
    folder = cache.folder() / "peers" / peer
    python = folder / "bin" / "python"
    ready = folder / "ready"
    if not ready.is_file():
        print(f"{peer}: installing {' '.join(REQUIREMENTS[peer])} in {folder}", flush=True)
        venv.create(folder, with_pip=True, clear=True)
        (site,) = folder.glob("lib/python*/site-packages")
        subprocess.run([python, "-m", "pip", "install", "--quiet", *REQUIREMENTS[peer]], check=True)
        (site / "zz_ours.pth").write_text(sysconfig.get_path("purelib") + "\n")
        ready.write_text(f"{sys.version}\n")
    return python


def version_of(peer: str, *packages: str) -> dict[str, str]:
    """Versions in the peer's environment."""
    program = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"
    done = subprocess.run([python_of(peer), "-c", program, *packages], capture_output=True, text=True, check=True)
    return dict(zip(packages, done.stdout.split(), strict=True))
