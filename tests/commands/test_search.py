"""``search``: the right images, with the scores of a plain computation; an index made once and never used damaged."""

from __future__ import annotations

import base64
import gzip
import io
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.made import a_sample, jpeg, shard_bytes
from support.reported import a_run

from capivara_cli import console
from capivara_cli.commands.search import Options, search
from capivara_cli.commands.searching import approximate
from capivara_cli.commands.searching.index import open_index
from capivara_cli.errors import CapivaraError, TruncatedInput, UsageError
from capivara_cli.evaluation.sets import toy
from capivara_cli.models import image_vectors
from capivara_cli.models.clip import Clip, load_clip
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings
from capivara_cli.shards.embedding import unit, with_embedding
from capivara_cli.shards.images import decode_image
from capivara_cli.shards.sample import Caption, Sample

COUNT = 40


@pytest.fixture(scope="session")
def clip() -> Clip:
    return load_clip("toy")


@pytest.fixture(scope="session")
def scenes() -> list[Sample]:
    """Drawn scenes, each with an English and a Portuguese caption."""
    env = Env(Settings(), "search")
    english, portuguese = (
        toy.load(str(COUNT), lang=lang, data="", split="test", env=env).samples for lang in ("en", "pt")
    )
    return [
        first.with_captions([*first.captions, *second.captions])
        for first, second in zip(english, portuguese, strict=True)
    ]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CAPIVARA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "search"


def environment(clip: Any) -> Env:
    return Env(Settings(device="cpu"), "search", {("clip", "toy", "", "cpu"): clip})


def run(clip: Clip, *inputs: object, json: bool = False, **options: Any) -> dict[str, Any]:
    env = environment(clip)
    env.json = json
    return search.run([str(each) for each in inputs], Options(model="toy", **options), env)


def keys(found: dict[str, Any], query: int = 0) -> list[str]:
    return [hit["key"] for hit in found["results"][query]["hits"]]


def scores(found: dict[str, Any], query: int = 0) -> list[float]:
    return [hit["score"] for hit in found["results"][query]["hits"]]


def plainly(clip: Clip, samples: Sequence[Sample], vector: np.ndarray) -> list[tuple[str, float]]:
    """Every image compared one by one, in double precision, with its embedding rounded as a stored one is."""
    computed = clip.embed_images([clip.preprocess(decode_image(each)) for each in samples]).astype(np.float16)
    images = np.stack([unit(each) for each in computed]).astype(np.float64)
    found = [(each.key, float(image @ vector.astype(np.float64))) for each, image in zip(samples, images, strict=True)]
    return sorted(found, key=lambda each: -each[1])


def test_a_portuguese_sentence_finds_the_scene_that_shows_it(
    clip: Clip, scenes: list[Sample], shards: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shards(scenes[:25], scenes[25:])
    query = "duas bolas vermelhas grandes manchadas do lado direito de um peixe vermelho grande listrado à noite"
    found = run(clip, query, folder, k=4, lang="pt")
    expected = plainly(clip, scenes, clip.embed_texts([query])[0])[:4]
    assert keys(found) == [key for key, _ in expected]
    assert scores(found) == pytest.approx([score for _, score in expected], abs=2e-6)
    best = next(each for each in scenes if each.key == keys(found)[0])
    assert best.document["scene"] == "1 big red striped fish|left|2 big red spotted ball|night"
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == query
    assert lines[1] == f"   1  {scores(found)[0]:.3f}  {keys(found)[0]}  {folder}/00000.tar"
    assert lines[2] == f"      pt   {query}" and lines[3].startswith("      en   ")


def test_the_index_is_made_once_and_for_these_shards_only(
    clip: Clip, scenes: list[Sample], shards: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, own_cache: Path
) -> None:
    folder = shards(scenes[:10])
    first = run(clip, "a red ball", folder, k=3)
    assert (first["images"], first["computed"]) == (10, 10)

    def touched(*arguments: object) -> None:
        raise AssertionError("an image was decoded")

    with monkeypatch.context() as patched:
        patched.setattr(image_vectors, "decode_image", touched)
        patched.setattr(clip.model.visual, "forward", touched)
        again = run(clip, "a red ball", folder, k=3)
    assert again["results"] == first["results"] and again["computed"] == 0
    shards(scenes[:12])
    assert run(clip, "a red ball", folder, k=3)["images"] == 12
    other = Clip(**{**vars(clip), "identity": replace(clip.identity, weights="sha256:other")})
    assert run(other, "a red ball", folder, k=3)["computed"] == 12
    assert len(list(own_cache.iterdir())) == 3


def test_stored_embeddings_are_taken_and_those_of_other_towers_are_not(
    clip: Clip, scenes: list[Sample], shards: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = clip.embed_images([clip.preprocess(decode_image(each)) for each in scenes[:6]]).astype(np.float16)
    stored = [with_embedding(each, vector, clip.identity) for each, vector in zip(scenes[:6], vectors, strict=True)]
    folder = shards(stored)
    with monkeypatch.context() as patched:
        patched.setattr(clip.model, "encode_image", None)
        found = run(clip, "a red ball", folder, k=6)
    assert found["computed"] == 0
    text = clip.embed_texts(["a red ball"])[0]
    expected = {each.key: float(unit(vector) @ text) for each, vector in zip(stored, vectors, strict=True)}
    assert dict(zip(keys(found), scores(found), strict=True)) == pytest.approx(expected, abs=2e-6)
    foreign = [with_embedding(each, vectors[0], replace(clip.identity, weights="x")) for each in scenes[:6]]
    assert run(clip, "a red ball", shards(foreign, name="foreign"), k=1)["computed"] == 6


@pytest.mark.parametrize("name", ["features", "span", "keys", "index.json"])
def test_a_damaged_index_is_made_again_never_used(
    name: str,
    clip: Clip,
    scenes: list[Sample],
    shards: Callable[..., Path],
    own_cache: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = shards(scenes[:8])
    before = run(clip, "a red ball", folder, k=8)
    (kept,) = own_cache.iterdir()
    data = (kept / name).read_bytes()
    (kept / name).write_bytes(data[:-9] + bytes([data[-9] ^ 4]) + data[-8:] if name != "index.json" else data[:-20])
    capsys.readouterr()
    after = run(clip, "a red ball", folder, k=8)
    assert f"warning: {kept}: damaged (" in capsys.readouterr().err
    assert after["results"] == before["results"] and after["computed"] == 8
    assert (kept / name).read_bytes() == data
    (kept / name).unlink()
    assert run(clip, "a red ball", folder, k=8)["computed"] == 8


@pytest.mark.parametrize(("key", "value"), [("computed", 3), ("dropped", {"x": 1}), ("images", "8")])
def test_an_index_with_an_altered_document_is_made_again(
    key: str,
    value: Any,
    clip: Clip,
    scenes: list[Sample],
    shards: Callable[..., Path],
    own_cache: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = shards(scenes[:8])
    before = run(clip, "a red ball", folder, k=8)
    (kept,) = own_cache.iterdir()
    document = json.loads((kept / "index.json").read_text())
    (kept / "index.json").write_text(json.dumps({**document, key: value}))
    after = run(clip, "a red ball", folder, k=8)
    assert f"warning: {kept}: damaged (index.json), so it is made again" in capsys.readouterr().err
    assert after["results"] == before["results"] and after["dropped"] == before["dropped"]


def test_a_failure_leaves_no_index(
    clip: Clip, scenes: list[Sample], shards: Callable[..., Path], own_cache: Path
) -> None:
    folder = shards(scenes[:3])
    shard = folder / "00000.tar"
    shard.write_bytes(shard.read_bytes()[:-2000])
    with pytest.raises(TruncatedInput):
        run(clip, "a red ball", folder)
    assert list(own_cache.iterdir()) == []


def test_equal_images_come_in_the_order_of_the_shards(clip: Clip, shards: Callable[..., Path]) -> None:
    same = [a_sample(f"{name}", image=jpeg((220, 40, 40))) for name in "dbca"]
    folder = shards(same[:1], same[1:])
    found = run(clip, "a red square", folder, k=3)
    assert keys(found) == ["d", "b", "c"] and len(set(scores(found))) == 1


def test_by_an_image(clip: Clip, scenes: list[Sample], shards: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "like.png").write_bytes(scenes[7].image)
    found = run(clip, shards(scenes[:20]), image=str(tmp_path / "like.png"), k=2)
    assert keys(found)[0] == scenes[7].key
    assert scores(found)[0] == pytest.approx(1, abs=2e-6)
    assert found["results"][0]["query"] == str(tmp_path / "like.png")


def test_many_queries_from_a_file_and_from_standard_input(
    clip: Clip,
    scenes: list[Sample],
    shards: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = "\ufeffa red ball\n\n  two blue boats \r\na red ball"
    (tmp_path / "q.txt").write_bytes(text.encode())
    folder = shards(scenes[:20])
    found = run(clip, folder, queries=str(tmp_path / "q.txt"), k=3)
    assert [each["query"] for each in found["results"]] == ["a red ball", "two blue boats", "a red ball"]
    assert (
        found["results"][0]["hits"]
        == found["results"][2]["hits"]
        == run(clip, "a red ball", folder, k=3)["results"][0]["hits"]
    )
    assert keys(found, 1) == keys(run(clip, "two blue boats", folder, k=3))
    assert "3 queries, 20 images (embedded now: 20, stored: 0), exact" in capsys.readouterr().err
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    assert run(clip, queries="-", k=3)["results"] == [
        {**each, "hits": [{**hit, "shard": "shards/00000.tar"} for hit in each["hits"]]} for each in found["results"]
    ]


def test_a_model_trained_on_translated_queries_is_asked_in_translation(
    clip: Clip, scenes: list[Sample], shards: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shards(scenes)
    translating = Clip(**{**vars(clip), "translate_queries": "en"})
    found = run(translating, "uma bola vermelha pequena", folder, k=3, lang="pt", translator="toy")
    assert found["results"][0]["asked"] == "a small red ball" and "toy" in found["results"][0]["translated_by"]
    assert found["results"][0]["hits"] == run(clip, "a small red ball", folder, k=3, lang="pt")["results"][0]["hits"]
    assert capsys.readouterr().out.startswith("uma bola vermelha pequena  → a small red ball  [toy")
    assert "asked" not in run(translating, "a red ball", folder, k=3, lang="en", translator="toy")["results"][0]
    with pytest.raises(CapivaraError, match="trained on queries translated to en: which language") as raised:
        run(translating, "uma bola vermelha", folder)
    assert "--lang pt" in raised.value.hint


def test_a_stream_is_read_once_and_its_images_are_read_back(
    clip: Clip, scenes: list[Sample], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, own_cache: Path
) -> None:
    (tmp_path / "s.tar").write_bytes(shard_bytes(scenes[:10]))
    before = os.dup(0)
    with open(tmp_path / "s.tar", "rb") as file:
        os.dup2(file.fileno(), 0)
        try:
            found = run(clip, "a red ball", "-", k=10)
        finally:
            os.dup2(before, 0)
            os.close(before)
    hits = found["results"][0]["hits"]
    assert {hit["shard"] for hit in hits} == {"standard input"}
    captions = {each.key: [caption.to_json() for caption in each.captions] for each in scenes[:10]}
    assert {hit["key"]: hit["captions"] for hit in hits} == captions
    assert not own_cache.exists()


def test_remote_and_compressed_shards(clip: Clip, scenes: list[Sample], tmp_path: Path, own_cache: Path) -> None:
    import fsspec

    data = shard_bytes(scenes[:6])
    with fsspec.open("memory://search/s.tar", "wb") as out:
        out.write(data)
    (tmp_path / "z.tar.gz").write_bytes(gzip.compress(data))
    remote = run(clip, "a red ball", "memory://search/s.tar", k=6)
    assert not own_cache.exists()
    packed = run(clip, "a red ball", tmp_path / "z.tar.gz", k=6)
    plain = [(hit["key"], hit["score"], hit["captions"]) for hit in remote["results"][0]["hits"]]
    assert plain == [(hit["key"], hit["score"], hit["captions"]) for hit in packed["results"][0]["hits"]]
    (tmp_path / "cut.tar.gz").write_bytes(gzip.compress(data)[:-30])
    with pytest.raises(TruncatedInput, match=r"cut\.tar\.gz: the compressed stream is damaged"):
        run(clip, "a red ball", tmp_path / "cut.tar.gz")


def test_what_cannot_be_found_is_counted_and_the_rest_keeps_its_place(
    clip: Clip, scenes: list[Sample], shards: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    text = Sample("text", {"txt": b"no image"})
    bad = Sample("bad", {"jpg": b"no jpeg"})
    folder = shards([text, scenes[0], bad, text, scenes[1], bad], [bad, scenes[2], text])
    env = environment(clip)
    with open_index([str(folder / "00000.tar"), str(folder / "00001.tar")], clip, env) as index:
        assert [index.key(row) for row in range(len(index))] == [each.key for each in scenes[:3]]
        assert [index.sample(row) for row in range(len(index))] == scenes[:3]
        assert index.shard.tolist() == [0, 0, 1]
    run(clip, "a red ball", folder)
    said = "warning: not searched: 6 samples (no image: 3, image cannot be decoded: not an image: 3)"
    assert said in capsys.readouterr().err
    with pytest.raises(CapivaraError, match=r"no image in 2 samples \(no image: 1, image cannot be decoded"):
        run(clip, "a red ball", shards([text, bad], name="none"))
    with pytest.raises(CapivaraError, match=r"00000\.tar: no samples, so there is nothing to search"):
        run(clip, "a red ball", shards([], name="empty"))


def test_html_is_one_page_with_nothing_from_elsewhere(
    clip: Clip, scenes: list[Sample], shards: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "q.txt").write_text("a <b>red</b> ball\ntwo blue boats\n", "utf-8")
    evil = a_sample("evil", Caption("<script>alert(1)</script>", "en", "alt"))
    target = tmp_path / "deep" / "found.html"
    folder = shards([*scenes[:4], evil])
    run(clip, folder, queries=str(tmp_path / "q.txt"), k=5, html=str(target))
    page = target.read_text("utf-8")
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    images = [source for source in sources if source.startswith("data:image/jpeg;base64,")]
    assert len(images) == 10 and {*sources} - {*images} == {"data:,", "#query-1", "#query-2"}
    assert "http" not in page and "<script" not in page and "url(" not in page
    assert page.count("<body>") == page.count("</html>") == page.count("<style>") == 1
    assert '<h1 lang="" dir="auto">a &lt;b&gt;red&lt;/b&gt; ball</h1>' in page
    assert '<h1 lang="" dir="auto">two blue boats</h1>' in page and "5 of 5 images, found by toy" in page
    assert f"<code>capivara search &#39;two blue boats&#39; {folder} --model toy --k 5</code>" in page
    captured = capsys.readouterr()
    assert captured.out == "" and f"2 queries in {target}" in captured.err


def test_html_is_a_grid_of_images_with_rank_score_and_captions(
    clip: Clip, scenes: list[Sample], shards: Callable[..., Path], tmp_path: Path
) -> None:
    captions = [*scenes[0].captions, Caption("लाल गेंद", "hi", "who"), Caption("كرة حمراء", "ar", "who")]
    bad = Sample("bad", {"jpg": jpeg(), "json": b"["})
    folder = shards([scenes[0].with_captions(captions), *scenes[1:], bad])
    target = tmp_path / "found.html"
    found = run(clip, "a red ball", folder, k=41, html=str(target), lang="en")
    page = target.read_text("utf-8")
    every = page.split('<li class="card">')[1:]
    assert len(every) == 41 and page.count('<ol class="grid">') == 1
    for rank, (card, hit) in enumerate(zip(every, found["results"][0]["hits"], strict=True), start=1):
        score = f"{hit['score']:.3f}"
        assert card.startswith("<img src=") and f"<b>{rank}.</b> <data" in card and f">{score}</data>" in card
        assert f"<bdi>{hit['key']}</bdi>" in card
    (mixed,) = [card for card in every if "كرة" in card]
    assert "<summary>2 more</summary>" in mixed
    assert (
        '<span lang="hi" dir="auto">लाल गेंद</span>' in mixed and '<span lang="ar" dir="auto">كرة حمراء</span>' in mixed
    )
    (damaged,) = [card for card in every if "<bdi>bad</bdi>" in card]
    assert '<p class="problem">json cannot be parsed</p>' in damaged
    assert '<h1 lang="en" dir="auto">a red ball</h1>' in page


def test_html_of_a_search_by_image_shows_the_image(
    clip: Clip, scenes: list[Sample], shards: Callable[..., Path], tmp_path: Path
) -> None:
    asked, target = tmp_path / "asked.png", tmp_path / "found.html"
    decode_image(scenes[3]).save(asked)
    run(clip, shards(scenes[:5]), image=str(asked), k=2, html=str(target))
    page = target.read_text("utf-8")
    assert page.count("<img") == 3 and 'alt="the image searched for"' in page


def test_html_of_a_translated_query_says_by_whom_in_which_language(tmp_path: Path) -> None:
    from capivara_cli.commands.searching.query import Query
    from capivara_cli.commands.searching.results import Answer, page_section
    from capivara_cli.reports.search_page import search_page

    answer = Answer(Query("um cão", "a dog", "argos:pt-en", "en"), [])
    page = search_page([page_section(answer, "capivara search", "pt")], searched=1_000, model="runs/pt")
    assert '<h1 lang="pt" dir="auto">um cão</h1>' in page and "0 of 1,000 images, found by runs/pt" in page
    assert '<span lang="en" dir="auto">a dog</span> (argos:pt-en)' in page


def test_json_prints_no_text_and_holds_everything(
    clip: Clip, scenes: list[Sample], shards: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shards(scenes[:5])
    found = run(clip, "a red ball", folder, k=2, json=True, lang="pt")
    assert capsys.readouterr().out == ""
    hit = json.loads(json.dumps(found))["results"][0]["hits"][0]
    sample = next(each for each in scenes if each.key == hit["key"])
    assert list(hit) == ["rank", "score", "key", "shard", "captions"]
    assert hit["rank"] == 1 and hit["shard"] == str(folder / "00000.tar")
    assert hit["captions"] == [each.to_json() for each in reversed(sample.captions)]  # the language asked in first
    assert found["index"] == "exact" and found["images"] == 5


def test_hostile_text_is_shown_not_obeyed(
    clip: Clip, shards: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    evil = a_sample(
        "k\u202ey", Caption("\x1b[31mred\nnext", "xh", "who"), Caption("b", "en", "w"), Caption("c", "en", "w")
    )
    run(clip, "\x1b]0;title\x07 ball", shards([evil]), inline="off")
    out = capsys.readouterr().out
    assert out.splitlines()[0] == "\\x1b]0;title\\x07 ball"
    assert "k\\u202ey" in out and "      xh   \\x1b[31mred next\n      en   b\n" in out
    assert "\x1b" not in out and "      en   c" not in out


def test_wrong_use_is_said(clip: Clip, scenes: list[Sample], shards: Callable[..., Path], tmp_path: Path) -> None:
    folder = str(shards(scenes[:2]))
    (tmp_path / "empty.txt").write_text("\n  \n")
    (tmp_path / "latin.txt").write_bytes("cão".encode("latin-1"))
    for error, message, inputs, options in [
        (UsageError, "search: no query", [], {}),
        (UsageError, f"no query for {folder}", [folder], {}),
        (UsageError, "the query is empty", ["  ", folder], {}),
        (UsageError, "--image and --queries do not go together", [folder], {"image": "a", "queries": "b"}),
        (UsageError, "--queries -: the shards are read from standard input", ["-"], {"queries": "-"}),
        (UsageError, "--lang: a language is empty", ["a", folder], {"lang": " "}),
        (CapivaraError, "there is no language 'klingonish'", ["a", folder], {"lang": "klingonish"}),
        (CapivaraError, "standard input can be read only once", ["a", "-", "-"], {}),
        (CapivaraError, "nowhere: no such file or folder", ["a", "nowhere"], {}),
        (CapivaraError, "--queries gone: no such file", [folder], {"queries": "gone"}),
        (CapivaraError, "no query in this file", [folder], {"queries": str(tmp_path / "empty.txt")}),
        (CapivaraError, "not UTF-8: byte 1", [folder], {"queries": str(tmp_path / "latin.txt")}),
        (CapivaraError, "--image gone.jpg: no such file", [folder], {"image": "gone.jpg"}),
        (CapivaraError, "txt: image cannot be decoded: not an image", [folder], {"image": str(tmp_path / "latin.txt")}),
        (CapivaraError, "--inline on: standard output is not a terminal", ["a", folder], {"inline": "on"}),
        (CapivaraError, "there is no translator 'arogs'", ["a", folder], {"translator": "arogs"}),
    ]:  # fmt: skip
        with pytest.raises(error, match=re.escape(message)):
            run(clip, *inputs, **options)
    with pytest.raises(CapivaraError, match="no-such-model"):
        search.run(["a", folder], Options(model="no-such-model"), environment(clip))


def test_the_language_of_a_run_is_that_of_its_queries(tmp_path: Path) -> None:
    from capivara_cli.commands.search import _language

    one, two = a_run(tmp_path / "one", lang="pt"), a_run(tmp_path / "two", lang="pt,hi")
    assert _language(Options(model=str(one))) == "pt"
    assert _language(Options(model=str(one), lang="Hindi")) == "hi"
    assert _language(Options(model=str(two))) == ""
    assert _language(Options(model="toy")) == ""


def test_faiss_finds_the_same_with_the_same_scores(
    clip: Clip,
    scenes: list[Sample],
    shards: Callable[..., Path],
    own_cache: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("faiss")
    folder = shards(scenes)
    expected = run(clip, "a red ball", folder, k=5)
    found = run(clip, "a red ball", folder, k=5, index="faiss")
    assert found["results"] == expected["results"] and found["index"] == "faiss"
    assert "sorting 40 images into 1 clusters, once" in capsys.readouterr().err
    assert run(clip, "a red ball", folder, k=5, index="faiss")["results"] == expected["results"]
    assert "sorting" not in capsys.readouterr().err
    (kept,) = own_cache.iterdir()
    (kept / "faiss.index").write_bytes((kept / "faiss.index").read_bytes()[:-1] + b"x")
    assert run(clip, "a red ball", folder, k=5, index="faiss")["results"] == expected["results"]
    assert f"{kept / 'faiss.index'}: damaged, so it is rebuilt" in capsys.readouterr().err


def test_without_faiss_the_command_says_how_to_get_it(
    clip: Clip,
    scenes: list[Sample],
    shards: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = shards(scenes[:5])
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(CapivaraError, match="faiss is not installed") as raised:
        run(clip, "a red ball", folder, index="faiss")
    assert "pip install 'capivara[search]'" in raised.value.hint
    monkeypatch.setattr(approximate, "LARGE", 4)
    monkeypatch.setattr(approximate, "installed", lambda: False)
    assert run(clip, "a red ball", folder)["index"] == "exact"
    assert (
        "warning: comparing with 5 images one by one\n  faiss is faster: pip install 'capivara[search]'\n"
        in capsys.readouterr().err
    )


def test_images_on_a_terminal_by_both_protocols(
    clip: Clip,
    scenes: list[Sample],
    shards: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = shards(scenes[:3])
    monkeypatch.setattr(console, "is_terminal", lambda: True)
    for name in ("KITTY_WINDOW_ID", "TERM_PROGRAM", "LC_TERMINAL", "TMUX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-kitty")
    found = run(clip, "a red ball", folder, k=1)
    sequences = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", capsys.readouterr().out)
    assert sequences[0][0].startswith("a=T,f=100,q=2,r=10,m=")
    assert [control.rpartition("m=")[2] for control, _ in sequences] == ["1"] * (len(sequences) - 1) + ["0"]
    assert all(len(piece) <= 4096 for _, piece in sequences)
    sent = decode_image(base64.b64decode("".join(piece for _, piece in sequences)))
    shown = next(each for each in scenes if each.key == keys(found)[0])
    assert sent.tobytes() == decode_image(shown).tobytes()  # a scene is smaller than what is sent at most
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("TERM_PROGRAM", "WezTerm")
    run(clip, "a red ball", folder, k=1)
    match = re.search(
        r"\x1b\]1337;File=inline=1;size=(\d+);height=10;preserveAspectRatio=1:([^\x07]*)\x07", capsys.readouterr().out
    )
    assert match is not None and int(match[1]) == len(base64.b64decode(match[2]))
    run(clip, "a red ball", folder, k=1, inline="off")
    assert "\x1b" not in capsys.readouterr().out
    monkeypatch.setenv("TERM_PROGRAM", "other")
    with pytest.raises(CapivaraError, match=r"--inline on: this terminal \(TERM=xterm-256color\) is not kitty"):
        run(clip, "a red ball", folder, inline="on")


def test_a_terminal_is_told_from_the_real_standard_output(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with open(tmp_path / "out", "wb") as file:
        monkeypatch.setattr(console.STREAMS, "data", file.fileno())
        assert not console.is_terminal()
    first, second = os.openpty()
    monkeypatch.setattr(console.STREAMS, "data", second)
    assert console.is_terminal()
    os.close(first)
    os.close(second)


def test_a_cache_that_cannot_be_written_is_done_without(
    clip: Clip,
    scenes: list[Sample],
    shards: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CAPIVARA_CACHE", str(tmp_path / "file"))
    found = run(clip, "a red ball", shards(scenes[:4]), k=2)
    assert len(keys(found)) == 2
    assert "the index cannot be stored, so every search builds it again: Not a directory" in capsys.readouterr().err
