"""Files from the Hugging Face hub: from the local cache, else downloaded.

``huggingface_hub`` alone retries for 23 seconds per file when there is no network. Here one request of at most four
seconds checks the connection, and the error names the files, their size, their source, and what to do without the hub.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from capivara_cli import console
from capivara_cli.errors import CapivaraError
from capivara_cli.models.hub_client import hub_errors, is_refusal, limit_waiting, reason
from capivara_cli.storage.network import TooSlow, answered
from capivara_cli.storage.network_errors import error_line
from capivara_cli.storage.retry import GivenUp, Retry

_PROBE_SECONDS = 4.0
_TRIES = 4  # huggingface_hub makes some of its own for each of them
_NO_FILE = "."
"""A pattern that no file name matches: only whether there is a folder is asked."""
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
    """The local folder with the files, downloaded on first use. Raises ``CapivaraError`` if that fails.

    If the hub does not give the rest, a folder that has a file of each group in ``choices`` is enough.
    """
    from huggingface_hub import constants

    cached = _cached(files)
    if cached is not None and _has_all(files, cached):
        return cached
    if constants.HF_HUB_OFFLINE:
        problem: str | None = "HF_HUB_OFFLINE is set and the local cache does not have them"
    elif (problem := _unreachable(constants.ENDPOINT)) is not None:
        problem = f"{constants.ENDPOINT} cannot be reached: {problem}"
    if problem is not None:
        if cached is not None:
            return cached
        raise _missing(files, problem)
    try:
        return _downloaded(files, constants.ENDPOINT)
    except MissingFiles as error:
        if cached is None:
            raise
        console.warn(f"{error.message}; those in the cache are used")
        return cached


def _cached(files: RepoFiles) -> Path | None:
    """The cached folder of the repository if it has a file of each group in ``choices``; None otherwise."""
    from huggingface_hub.errors import HFValidationError

    try:
        cached = _snapshot(files.repo, files.kind)
    except HFValidationError as error:
        raise CapivaraError(f"{files.repo!r} is not the name of a hub repository: {error}") from error
    if cached is None or not all(any((cached / name).is_file() for name in group) for group in files.choices):
        return None
    return cached


def _snapshot(repo: str, kind: str = "model", patterns: Sequence[str] = (_NO_FILE,)) -> Path | None:
    """The cached folder of a repository; None if there is none, or a file that matches is known to be missing."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repo, repo_type=kind, allow_patterns=[*patterns], local_files_only=True))
    except LocalEntryNotFoundError:
        return None


def _has_all(files: RepoFiles, cached: Path) -> bool:
    """Whether a folder has the ``extras`` too, as far as the cache knows what the repository has."""
    chosen = [next(name for name in group if (cached / name).is_file()) for group in files.choices]
    return _snapshot(files.repo, files.kind, [*chosen, *files.extras]) is not None


def _download(files: RepoFiles) -> Path:
    from huggingface_hub import snapshot_download

    limit_waiting()
    return Path(snapshot_download(files.repo, repo_type=files.kind, allow_patterns=_file_names(files)))


def _downloaded(files: RepoFiles, endpoint: str) -> Path:
    """Download the files. If a connection breaks it is tried again, and ``huggingface_hub`` resumes the download.

    Raises ``MissingFiles`` if that fails.
    """

    def final(error: BaseException) -> CapivaraError | None:  # no such repository, no permission, no space
        return _missing(files, reason(error, endpoint)) if is_refusal(error) else None

    retry = Retry(files.repo, hub_errors, lambda error: reason(error, endpoint), final, tries=_TRIES)
    try:
        return retry.call(lambda: _download(files))
    except GivenUp as error:
        raise _missing(files, error.message.removeprefix(f"{files.repo}: ")) from error


def is_cached(repo: str) -> bool:
    """Whether the local cache has a repository; makes no request."""
    from huggingface_hub.errors import HFValidationError

    try:
        return _snapshot(repo) is not None
    except HFValidationError:
        return False


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
    import http.client  # 40 ms together, needed only for this request
    import ssl
    import urllib.error
    import urllib.request

    late = TooSlow(f"no answer in {_PROBE_SECONDS:g} s")
    try:
        request = urllib.request.Request(endpoint, method="HEAD")
        answered(lambda: urllib.request.urlopen(request, timeout=_PROBE_SECONDS), _PROBE_SECONDS, late).close()
        return None
    except urllib.error.HTTPError:
        return None
    except urllib.error.URLError as error:
        return None if isinstance(error.reason, ssl.SSLError) else error_line(error)
    except http.client.HTTPException:
        return None  # a strange answer, which the download will get again and name
    except (OSError, ValueError) as error:
        return error_line(error)


class MissingFiles(CapivaraError):
    """Files that are neither in the local cache nor on a hub that can be reached now."""


def _missing(files: RepoFiles, why: str) -> MissingFiles:
    size = f" ({files.size})" if files.size else ""
    hints = "\n".join((*files.hints, *_HUB_HINTS))
    return MissingFiles(f"{files.what}{size} of {files.repo} are needed, but {why}", hints)
