"""The index of Argos packages on the web: which packages there are, and their installation.

argostranslate's own functions wait for a slow server without end, and raise the errors of half a download.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from capivara_cli.errors import CapivaraError
from capivara_cli.stages.translators._package import extract
from capivara_cli.stages.translators._route import Pair
from capivara_cli.storage.files import move_folder, replacing
from capivara_cli.storage.network_errors import error_line, network_errors
from capivara_cli.urls import public_url


def available() -> dict[Pair, list[str]]:
    """Language pair -> URLs of its package, by the index on the web; by that of the last time if it cannot be read.

    Raises ``CapivaraError`` if there is neither.
    """
    from argostranslate import settings

    try:
        data = _fetched(settings.remote_package_index)
        found = _parsed(data, settings.remote_package_index)
    except CapivaraError:
        if not settings.local_package_index.is_file():
            raise
        return _parsed(settings.local_package_index.read_bytes(), str(settings.local_package_index))
    with replacing(settings.local_package_index) as out:
        out.write(data)
    return found


def install(urls: list[str], packages: Path) -> None:
    """Download a package from the first URL that gives it, and install it into the folder of packages.

    Raises ``CapivaraError`` if none does.
    """
    packages.mkdir(parents=True, exist_ok=True)
    problem = CapivaraError("the index gives no URL")
    for url in urls:
        try:
            data = _fetched(url)
            with tempfile.TemporaryDirectory(dir=packages, prefix=".installing-") as partial:
                file = Path(partial) / url.rpartition("/")[2]
                file.write_bytes(data)
                extract(file, Path(partial) / "unpacked")
                for folder in sorted((Path(partial) / "unpacked").iterdir()):
                    move_folder(folder, packages / folder.name)
            return
        except CapivaraError as error:
            problem = CapivaraError(f"{public_url(url)}: {error.message.removeprefix(f'{public_url(url)}: ')}")
    raise problem


def _fetched(url: str) -> bytes:
    """The bytes of a file. A broken connection is resumed; an unreachable server is an error at once."""
    from capivara_cli.storage.remote.read import WebFile, contents

    try:
        file = WebFile(url)
        file.version()
        return b"".join(contents(url, file))
    except network_errors() as error:
        raise CapivaraError(f"{public_url(url)}: {error_line(error)}") from error


def _parsed(data: bytes, name: str) -> dict[Pair, list[str]]:
    try:
        entries = json.loads(data)
        return {
            (entry["from_code"], entry["to_code"]): [link for link in entry["links"] if link.startswith("http")]
            for entry in entries
            if entry.get("type", "translate") == "translate"
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CapivaraError(f"{public_url(name)}: not an index of packages") from error
