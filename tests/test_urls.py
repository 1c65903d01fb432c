"""Secrets in URLs: one rule for what is stored, shown and published."""

from __future__ import annotations

import pytest

from capivara_cli.reports.card.public import public
from capivara_cli.urls import redacted, stored_url

SECRET = [
    "key", "api_key", "apikey", "Key-Pair-Id", "token", "access_token", "authtoken", "sig", "signature", "Signature",
    "secret", "client-secret", "password", "passwd", "pass_password", "auth", "authorization", "auth_user",
    "credential", "credentials", "X-Amz-Date", "x-goog-expires", "AWSAccessKeyId", "se", "sp", "sr", "sv", "Expires",
]  # fmt: skip
"""The names of secret parameters that model cards and stored URLs must not show."""


@pytest.mark.parametrize("name", SECRET)
def test_the_value_of_a_secret_parameter_is_removed(name: str) -> None:
    url = f"https://host/photo?id=7&{name}=f00"
    assert stored_url(url) == "https://host/photo?id=7"
    assert redacted(f"at {url} now") == f"at https://host/photo?id=7&{name}=… now"
    assert public([url]) == [f"https://host/photo?id=7&{name}=…"]


@pytest.mark.parametrize(
    "name", ["id", "author", "authors", "keyword", "keywords", "design", "versionId", "size", "sea"]
)
def test_a_parameter_that_names_the_file_stays(name: str) -> None:
    url = f"https://host/photo?{name}=f00"
    assert stored_url(url) == url
    assert redacted(url) == url


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://me:pa/ss@host/a?x=1", "https://host/a?x=1"),
        ("https://me:p?w@host/a", "https://host/a"),
        ("s3://key:secret@bucket/a.tar", "s3://bucket/a.tar"),
        ("'hf://datasets/u/r@main/a.tar'", "'hf://datasets/u/r@main/a.tar'"),
        ("hf-hub:ORG/NAME", "hf-hub:ORG/NAME"),
    ],
)
def test_user_and_password_are_removed(text: str, expected: str) -> None:
    assert redacted(text) == expected
