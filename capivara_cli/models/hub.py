"""Files from the Hugging Face hub: from the local cache, else downloaded.

``huggingface_hub`` alone retries for 23 seconds per file when there is no network. Here one request finds out within
four seconds, and the error names the files, their size, where they come from, and what to do without the hub.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from capivara_cli.errors import CapivaraError
from capivara_cli.storage.retry import GivenUp, Retry

_PROBE_SECONDS = 4.0

TOKENIZER_FILES = ("tokenizer*", "*.model", "vocab.*", "merges.txt", "special_tokens_map.json", "added_tokens.json")


@dataclass(frozen=True)
class Need:
    """The files that are needed of one repository.

    ``choices``: groups of names; the first file of each group that the repository has is taken, and it must have one.
    ``extras``: patterns of files that are taken where present. ``what`` and ``size`` are for error messages ("the CLIP
    weights", "1.5 GB"); ``ways`` are lines that say what to do without the hub.
    """

    repo: str
    choices: tuple[tuple[str, ...], ...]
    extras: tuple[str, ...] = ()
    what: str = "the files"
    size: str = ""
    ways: tuple[str, ...] = ()
    kind: str = "model"  # or "dataset", as the hub tells repositories apart


def folder(need: Need) -> Path:
    """The local folder with the files, downloaded on first use. Raises ``CapivaraError`` when they cannot be had."""
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        cached = Path(snapshot_download(need.repo, repo_type=need.kind, local_files_only=True))
    except LocalEntryNotFoundError:
        cached = None
    except HFValidationError as error:
        raise CapivaraError(f"{need.repo!r} is no name of a hub repository: {error}") from error
    if cached is not None and all(any((cached / name).is_file() for name in group) for group in need.choices):
        return cached
    if constants.HF_HUB_OFFLINE:
        raise _missing(need, "HF_HUB_OFFLINE is set and the local cache does not have them")
    if (problem := _unreachable(constants.ENDPOINT)) is not None:
        raise _missing(need, f"{constants.ENDPOINT} cannot be reached: {problem}")
    try:
        return _retry(need).call(lambda: _download(need))
    except GivenUp as error:
        raise _missing(need, error.message) from error


def _download(need: Need) -> Path:
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(need.repo, repo_type=need.kind, allow_patterns=_wanted(need)))


def _retry(need: Need) -> Retry:
    """For a connection that breaks during a download, which ``huggingface_hub`` resumes when it is called again."""
    from capivara_cli.storage.remote.filesystems import error_line, is_final, network_errors

    def final(error: BaseException) -> CapivaraError | None:  # no such repository, no permission, no space
        return _missing(need, str(error).splitlines()[0]) if is_final(error) else None

    return Retry(need.repo, network_errors, error_line, final)


def is_here(repo: str) -> bool:
    """Whether the local cache has a repository. The hub is not asked."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        snapshot_download(repo, local_files_only=True)
    except (LocalEntryNotFoundError, HFValidationError):
        return False
    return True


def _wanted(need: Need) -> list[str]:
    from huggingface_hub import list_repo_files

    there = list_repo_files(need.repo, repo_type=need.kind)
    chosen = []
    for group in need.choices:
        found = next((name for name in group if name in there), None)
        if found is None:
            raise CapivaraError(f"{need.repo}: has no {' or '.join(group)}", "\n".join(need.ways))
        chosen.append(found)
    return chosen + [name for name in there if any(fnmatch(name, pattern) for pattern in need.extras)]


def _unreachable(endpoint: str) -> str | None:
    """Why the hub does not answer, None when it does. A refused certificate is an answer: the client may know it."""
    import ssl  # 40 ms together, for those who ask the hub
    import urllib.error
    import urllib.request

    request = urllib.request.Request(endpoint, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=_PROBE_SECONDS):
            return None
    except urllib.error.HTTPError:
        return None
    except urllib.error.URLError as error:
        return None if isinstance(error.reason, ssl.SSLError) else str(error.reason)
    except (OSError, ValueError) as error:
        return str(error)


class NotHere(CapivaraError):
    """Files are neither in the local cache nor on a hub that can be reached now."""


def _missing(need: Need, why: str) -> NotHere:
    size = f" ({need.size})" if need.size else ""
    return NotHere(f"{need.what}{size} of {need.repo} are needed, but {why}", "\n".join(hints(need.ways)))


def hints(ways: Sequence[str]) -> list[str]:
    """``ways``, and the ways that help with any repository."""
    return [
        *ways,
        "set HF_HOME (or HF_HUB_CACHE) to a cache that has the files, copied from a machine with a connection",
        "set HF_ENDPOINT to a mirror that can be reached",
    ]
