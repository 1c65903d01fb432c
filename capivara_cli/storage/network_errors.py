"""The errors of networks, whichever library raises them: which to catch, which are final, and one line for each."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator

from capivara_cli.errors import CapivaraError
from capivara_cli.storage.files import DISK_FULL
from capivara_cli.storage.network import MAX_REDIRECTS, SECONDS_VARIABLE, NetworkLimits
from capivara_cli.storage.retry import HttpStatus, Retry, is_refusal
from capivara_cli.urls import public_url, without_secrets

_FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
# By name, because each library has its own classes, and importing them takes time.
_BAD_CERTIFICATE = "SSLCertVerificationError"
_NO_HOST = "gaierror"
_NO_CONNECTION = frozenset({"ConnectTimeout", "ConnectTimeoutError", "ConnectionTimeoutError"})
_SILENCE = frozenset({"ReadTimeout", "ReadTimeoutError", "SocketTimeoutError"})
_REDIRECTS = "TooManyRedirects"
_FINAL_NAMES = frozenset(
    {
        "NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "NoAuthTokenError", "OfflineModeIsEnabled",
        "UnsupportedProtocol", _REDIRECTS,
    }
)  # fmt: skip
_HINTS = {
    "NoCredentialsError": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; "
    "for a public bucket: FSSPEC_S3_ANON=true",
    "OfflineModeIsEnabled": "HF_HUB_OFFLINE is set: unset it, or download the shards first",
}
_CERTIFICATE_HINT = "if your network has a certificate of its own, name it: SSL_CERT_FILE=FILE.pem"
_NETWORK_ERRORS = {
    "botocore.exceptions": "BotoCoreError",
    "aiohttp": "ClientError",
    "httpx": "HTTPError",
    "httpx2": "HTTPError",  # of huggingface_hub
    "gcsfs.retry": "HttpError",
    "asyncio": "TimeoutError",  # not the built-in TimeoutError until Python 3.11
}


def network_errors() -> tuple[type[BaseException], ...]:
    """The exceptions of file systems and networks, from the packages that are imported."""
    loaded = ((sys.modules.get(module), name) for module, name in _NETWORK_ERRORS.items())
    return (OSError, *(getattr(module, name, OSError) for module, name in loaded))  # a thread may be importing it


def retry_for(url: str) -> Retry:
    """A new retry loop for work on a URL."""
    shown = public_url(url)

    def final(error: BaseException) -> CapivaraError | None:
        return CapivaraError(f"{shown}: {error_line(error)}", hint_for(error)) if is_final(error) else None

    return Retry(shown, network_errors, error_line, final)


def is_final(error: BaseException) -> bool:
    """Whether another try cannot succeed."""
    if isinstance(error, HttpStatus):
        status: int | None = error.status
    else:
        answer = getattr(error, "response", None)
        status = getattr(answer, "status_code", None) or getattr(error, "code", None)
    if isinstance(status, int) and 400 <= status < 500:
        return is_refusal(status)
    return (
        is_bad_certificate(error)
        or isinstance(error, _FINAL)
        or _name(error) in _FINAL_NAMES
        or (isinstance(error, OSError) and error.errno in {errno.EINVAL, *DISK_FULL})
    )


def is_bad_certificate(error: BaseException) -> bool:
    """Whether the certificate of the server is not accepted."""
    return any(_name(each) == _BAD_CERTIFICATE for each in _causes(error))


def is_unreachable(error: BaseException) -> bool:
    """Whether there was no connection at all: no such host, no server, no network."""
    return any(
        isinstance(each, ConnectionRefusedError)
        or _name(each) in {_NO_HOST, "ConnectError", *_NO_CONNECTION}
        or getattr(each, "errno", None) in {errno.ENETUNREACH, errno.EHOSTUNREACH}
        for each in _causes(error)
    )


def is_redirected_too_often(error: BaseException) -> bool:
    return _name(error) == _REDIRECTS


def error_line(error: BaseException) -> str:
    """An error in one line, without secrets."""
    if is_redirected_too_often(error):
        return f"the server redirects more than {MAX_REDIRECTS} times"
    for each in _causes(error):
        if _name(each) == _BAD_CERTIFICATE:
            return f"the certificate of the server is not accepted: {getattr(each, 'verify_message', each)}"
        if _name(each) == _NO_HOST:
            return f"the host cannot be found: {getattr(each, 'strerror', each)}"
    if _name(error) in _NO_CONNECTION:
        return f"no connection in {NetworkLimits.from_environment().connect:g} s"
    if _name(error) in _SILENCE:
        return f"no byte in {NetworkLimits.from_environment().seconds:g} s ({SECONDS_VARIABLE})"
    lines = without_secrets(str(error)).strip().splitlines()
    text = lines[0] if lines else type(error).__name__
    bare = isinstance(error, FileNotFoundError) and " " not in text.removeprefix("[Errno 2] ")  # only the path
    return "there is no such file" if bare or "[Errno 2]" in text else text


def hint_for(error: BaseException) -> str:
    """What to do about an error that is final; "" if that is not known."""
    if is_bad_certificate(error):
        return _CERTIFICATE_HINT
    if isinstance(error, PermissionError) or getattr(error, "status", 0) in {401, 403}:
        return "check the credentials, and whether the URL's signature has expired"
    return _HINTS.get(_name(error), "")


def _name(error: BaseException) -> str:
    return type(error).__name__


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, and the errors that led to it."""
    seen: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        yield each
        reason = getattr(each, "reason", None)  # of urllib
        each = reason if isinstance(reason, BaseException) else each.__cause__ or each.__context__
