"""Files from the Hugging Face hub: from the local cache, else downloaded.

``huggingface_hub`` alone retries for 23 seconds per file when there is no network. Here one request of at most four
seconds checks the connection, and the error names the files, their size, their source, and what to do without the hub.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from capivara_cli.errors import CapivaraError
from capivara_cli.storage.retry import GivenUp, Retry

_PROBE_SECONDS = 4.0
_HUB_HINTS = (
    "set HF_HOME (or HF_HUB_CACHE) to a cache that has the files, copied from a machine with a connection",
    "set HF_ENDPOINT to a mirror that can be reached",
)

TOKENIZER_FILES = ("tokenizer*", "*.model", "vocab.*", "merges.txt", "special_tokens_map.json", "added_tokens.json")


@dataclass(frozen=True)
class RepoFiles:
    """The files that are needed from one repository.

    ``choices`` are groups of names: the first file of each group that the repository has is taken, and it must have
    one. ``extras`` are patterns of files that are taken if present. ``what`` and ``size`` are for error
    messages ("the CLIP weights", "1.5 GB"); ``hints`` are lines that say what to do without the hub.
    """

    repo: str
    choices: tuple[tuple[str, ...], ...]
    extras: tuple[str, ...] = ()
    what: str = "the files"
    size: str = ""
    hints: tuple[str, ...] = ()
    kind: str = "model"  # or "dataset", as the hub tells repositories apart


def folder(files: RepoFiles) -> Path:
    """The local folder with the files, downloaded on first use. Raises ``CapivaraError`` if that fails."""
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        cached = Path(snapshot_download(files.repo, repo_type=files.kind, local_files_only=True))
    except LocalEntryNotFoundError:
        cached = None
    except HFValidationError as error:
        raise CapivaraError(f"{files.repo!r} is not the name of a hub repository: {error}") from error
    if cached is not None and all(any((cached / name).is_file() for name in group) for group in files.choices):
        return cached
    if constants.HF_HUB_OFFLINE:
        raise _missing(files, "HF_HUB_OFFLINE is set and the local cache does not have them")
    if (problem := _unreachable(constants.ENDPOINT)) is not None:
        raise _missing(files, f"{constants.ENDPOINT} cannot be reached: {problem}")
    try:
        return _retry(files).call(lambda: _download(files))
    except GivenUp as error:
        raise _missing(files, error.message) from error


def _download(files: RepoFiles) -> Path:
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(files.repo, repo_type=files.kind, allow_patterns=_file_names(files)))


def _retry(files: RepoFiles) -> Retry:
    """Retries a download when its connection breaks; ``huggingface_hub`` then resumes it."""
    from capivara_cli.storage.remote.filesystems import error_line, is_final, network_errors

    def final(error: BaseException) -> CapivaraError | None:  # no such repository, no permission, no space
        return _missing(files, str(error).splitlines()[0]) if is_final(error) else None

    return Retry(files.repo, network_errors, error_line, final)


def is_cached(repo: str) -> bool:
    """Whether the local cache has a repository; makes no request."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        snapshot_download(repo, local_files_only=True)
    except (LocalEntryNotFoundError, HFValidationError):
        return False
    return True


def revision(name: str) -> str | None:
    """The revision of a repository in the local cache; "" for a local folder, None if the cache does not have it.

    Makes no request.
    """
    from huggingface_hub import constants

    if Path(name).expanduser().exists():
        return ""
    ref = Path(constants.HF_HUB_CACHE) / f"models--{name.replace('/', '--')}" / "refs" / "main"
    try:
        return ref.read_text().strip() or None
    except (OSError, ValueError):
        return None


def _file_names(files: RepoFiles) -> list[str]:
    from huggingface_hub import list_repo_files

    names = list_repo_files(files.repo, repo_type=files.kind)
    chosen = []
    for group in files.choices:
        found = next((name for name in group if name in names), None)
        if found is None:
            raise CapivaraError(f"{files.repo}: has no {' or '.join(group)}", "\n".join(files.hints))
        chosen.append(found)
    return chosen + [name for name in names if any(fnmatch(name, pattern) for pattern in files.extras)]


def _unreachable(endpoint: str) -> str | None:
    """The reason why the hub does not answer; None if it does. A certificate error counts as an answer.

    The client may know the certificate.
    """
    import ssl  # 40 ms together, needed only for this request
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


class MissingFiles(CapivaraError):
    """Files that are neither in the local cache nor on a hub that can be reached now."""


def _missing(files: RepoFiles, why: str) -> MissingFiles:
    size = f" ({files.size})" if files.size else ""
    hints = "\n".join((*files.hints, *_HUB_HINTS))
    return MissingFiles(f"{files.what}{size} of {files.repo} are needed, but {why}", hints)
