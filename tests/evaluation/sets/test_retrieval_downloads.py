"""The eval sets with captions from the web: a server of our own on the loopback, a hub that is a folder."""

from __future__ import annotations

import functools
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from support.made_sets import (
    XM,
    images,
    load,
    multi30k_clones,
    packed,
    put,
    refused,
    write_tar,
    write_zip,
    xtd_clone,
)

from capivara_cli.evaluation.sets import _download, crossmodal3600, flickr30k, fm30k, multi30k, xtd
from capivara_cli.models import hub


@pytest.fixture
def server(tmp_path: Path, monkeypatch) -> Iterator[str]:
    """The folder ``served`` over HTTP, on this machine."""
    monkeypatch.setenv("CAPIVARA_CACHE", str(tmp_path / "cache"))
    (tmp_path / "served").mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path / "served"))) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_address[1]}"
        http.shutdown()


def online(monkeypatch, server: str) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(_download, "GITHUB", server)


def test_crossmodal3600_is_downloaded_once(tmp_path: Path, server: str, monkeypatch) -> None:
    online(monkeypatch, server)
    monkeypatch.setattr(crossmodal3600, "COUNT", 2)
    served = tmp_path / "served"
    for name in ("CAPTIONS", "IMAGES"):
        remote = getattr(crossmodal3600, name)
        monkeypatch.setattr(crossmodal3600, name, replace(remote, url=f"{server}/{remote.url.rpartition('/')[2]}"))
    refused(r"the captions of Crossmodal-3600 \(17 MB\) are needed, but the server answers HTTP 404", "crossmodal3600")
    text = "\n".join(json.dumps(each) for each in XM).encode()
    write_zip(served / "captions.zip", **{"__MACOSX/._captions.jsonl": b"x", "captions.jsonl": text})
    put(served / "images.tgz", "no archive")
    refused("not a tar archive, or damaged", "crossmodal3600")
    write_tar(served / "images.tgz", **{"images/a1.jpg": b"a" * 9_000})
    whole = (served / "images.tgz").read_bytes()
    for damaged in (whole[:-20], whole[:-8] + bytes(8)):  # cut off; with a wrong checksum
        put(served / "images.tgz", damaged)
        refused("not a tar archive, or damaged", "crossmodal3600")
    write_tar(served / "images.tgz", **{"images/a1.jpg": b"a", "../b2.jpg": b"b", "._a1.jpg": b"x"})
    found = load("crossmodal3600")
    assert images(found) == [b"a", b"b"]
    assert found.provenance.obtained == f"downloaded from {server}/captions.zip and {server}/images.tgz"
    assert list(found.provenance.checksums) == ["captions.zip"]
    kept = tmp_path / "cache/evalsets/crossmodal3600"
    assert sorted(path.name for path in kept.rglob("*")) == ["a1.jpg", "b2.jpg", "captions.zip", "images"]
    for path in served.iterdir():
        path.unlink()
    assert images(load("crossmodal3600", lang="qu")) == [b"a", b"b"]


def test_xtd_is_downloaded_and_checked(tmp_path: Path, server: str, monkeypatch) -> None:
    online(monkeypatch, server)
    monkeypatch.setattr(xtd, "COUNT", 6)
    served = xtd_clone(tmp_path / "served" / xtd.REPOSITORY.name / xtd.REPOSITORY.commit)
    hint = refused("test_image_names.txt: not the expected file: its sha256 is .*, not 504a472d", "xtd", lang="it")
    assert "DIR/XTD10" in hint
    assert not list((tmp_path / "cache").rglob("*.txt"))
    known = {path: hashlib.sha256((served / path).read_bytes()).hexdigest() for path in ("XTD10/test_image_names.txt",)}
    monkeypatch.setattr(xtd, "REPOSITORY", replace(xtd.REPOSITORY, sha256=known))
    monkeypatch.setattr(xtd, "IMAGES", replace(xtd.IMAGES, url=f"{server}/images.tar.gz"))
    write_tar(tmp_path / "served/images.tar.gz", **{"images/COCO_val2014_000000000005.jpg": b"five"})
    found = load("xtd", lang="it")
    assert images(found)[5] == b"five"
    assert found.provenance.obtained == (
        f"captions downloaded from github.com/{xtd.REPOSITORY.name}@{xtd.REPOSITORY.commit}; "
        f"images downloaded from {server}/images.tar.gz"
    )


def test_a_server_that_is_not_there_is_said_with_the_place_to_put_the_file(
    tmp_path: Path, server: str, monkeypatch
) -> None:
    online(monkeypatch, "http://127.0.0.1:9")
    hint = refused(r"the captions of XTD10 \(0\.8 MB\) are needed, but the download failed", "xtd", lang="it")
    url, kept = hint.splitlines()[-1].removeprefix("or download ").split(" on another machine and save it as ")
    assert url == f"http://127.0.0.1:9/{xtd.REPOSITORY.name}/{xtd.REPOSITORY.commit}/XTD10/test_image_names.txt"
    put(Path(kept), "a.jpg\n")
    refused(r"test_image_names\.txt: 1 lines, and this set has 1,000", "xtd", lang="it")


@pytest.mark.parametrize(("spec", "lang"), [("multi30k", "cs"), ("fm30k", "pt")])
def test_images_of_the_default_split_are_those_of_flickr30k_on_the_hub(
    spec: str, lang: str, server: str, tmp_path: Path, monkeypatch
) -> None:
    online(monkeypatch, server)
    thirty = multi30k_clones(tmp_path / "clones", monkeypatch)
    for repository in (multi30k.REPOSITORY, fm30k.REPOSITORY):
        served = tmp_path / "served" / repository.name / repository.commit
        served.parent.mkdir(parents=True)
        served.symlink_to(thirty)
    monkeypatch.setattr(fm30k, "REPOSITORY", replace(fm30k.REPOSITORY, sha256={}))
    monkeypatch.setattr(hub, "folder", lambda need: tmp_path)
    archive = tmp_path / flickr30k.FLICKR30K.hub.archive
    write_zip(archive, **{"test/1.jpg": b"one"})
    refused("1 of the 2 images are not in it", spec, lang=lang)
    write_zip(archive, **{"test/1.jpg": b"one", "test/2.jpg": b"two"})
    found = load(spec, lang=lang)
    assert images(found) == [b"one", b"two"]
    assert f"{multi30k.REPOSITORY.name}@{multi30k.REPOSITORY.commit}; images downloaded" in found.provenance.obtained
    put(thirty / "data/task1/image_splits/val.txt", "1.jpg\n2.jpg\n")
    packed(thirty / "data/task1/raw/val.cs.gz", "jeden", "dva")
    refused("val: the images of this split cannot be downloaded", spec, lang=lang, split="val")
