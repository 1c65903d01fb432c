"""NLLB, M2M-100, MADLAD and Opus-MT: language tokens, batches, both backends, and what is said when one is missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from capivara_cli.errors import CapivaraError
from capivara_cli.models.generation import Decoding, Setup
from capivara_cli.stages.translators import _ctranslate2, _seq2seq, m2m100, madlad, nllb, opus

from support import variants  # isort: skip
from support.tiny_translators import converted, tiny_m2m, tiny_marian, tiny_nllb, tiny_t5  # isort: skip

pytestmark = pytest.mark.filterwarnings("error::FutureWarning")  # of a call that the next version refuses

TEXTS = ["a dog", "the red cat is running on a house", "a dog", "man with a ball. The dog in the house", ""]
MANY = [
    " ".join(["a", "dog", "the", "red", "cat", "ball"][: 1 + number % 6]) + " in" * (number // 6)
    for number in range(18)
]
KINDS: dict[str, tuple[Any, Callable[[Path], Path]]] = {
    "nllb": (nllb, tiny_nllb),
    "m2m100": (m2m100, tiny_m2m),
    "madlad": (madlad, tiny_t5),
    "opus": (opus, lambda folder: tiny_marian(folder, targets=("por", "xho"))),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    import torch

    torch.set_num_threads(1)
    home = tmp_path_factory.mktemp("models")
    return {name: make(home / name) for name, (_, make) in KINDS.items()}


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights seldom end a text: it is cut earlier. No text of the tests has as many tokens."""
    monkeypatch.setattr(_seq2seq, "LONGEST", 32)


def loaded(kind: str, folder: Path, target: str = "xh", beams: int = 2) -> Any:
    return KINDS[kind][0].load(str(folder), source="en", target=target, setup=Setup("cpu", Decoding(beams=beams)))


@pytest.mark.parametrize("kind", KINDS)
def test_translations_do_not_depend_on_the_batch(kind: str, folders: dict[str, Path]) -> None:
    translator = loaded(kind, folders[kind])
    made = translator(TEXTS)
    assert made == [translator([text])[0] for text in TEXTS]
    assert made[0] == made[2]
    assert made[4] == ""
    assert any(made[:4])
    assert translator.by == f"{kind}:en-xh"
    assert "beams=2" in translator.version


@pytest.mark.parametrize("kind", variants.some([*KINDS], 2))
def test_the_score_of_a_translation_does_not_depend_on_the_batch(
    kind: str, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit: where two translations are nearly as good, the last bit would choose."""
    monkeypatch.setattr(_seq2seq, "LONGEST", 12)
    translator, scores = loaded(kind, folders[kind]), dict[tuple[int, ...], set[float]]()
    generate, pad = translator._model.model.generate, translator._model.pad

    def noting(**given: Any) -> Any:
        found = generate(**given, output_scores=True, return_dict_in_generate=True)
        for row, score in zip(given["input_ids"].tolist(), found.sequences_scores.tolist(), strict=True):
            scores.setdefault(tuple(token for token in row if token != pad), set()).add(score)
        return found.sequences

    translator._model.model.generate = noting
    for size in (3, len(MANY)):
        for start in range(0, len(MANY), size):
            translator(MANY[start : start + size])
    assert len(scores) >= 8  # longer texts are cut, so some are equal
    assert {row: found for row, found in scores.items() if len(found) > 1} == {}


@pytest.mark.parametrize("quantization", ["int8", "float32"])
def test_the_score_by_ctranslate2_does_not_depend_on_the_batch(quantization: str, folders: dict[str, Path]) -> None:
    """Padding changes what an int8 model rounds, and with it the third digit of a score."""
    folder = folders["opus"].with_name(f"opus-ct2{'' if quantization == 'float32' else '-int8'}")
    if not folder.is_dir():
        converted(folders["opus"], quantization)
    translator = loaded("opus", folder)
    rows = [translator._tokenizer.convert_ids_to_tokens(translator._ids(text)) for text in MANY]
    translate, scores = translator._model.model.translate_batch, list[float]()
    engine = _Noting(translate, translator._model.model.device, scores)
    settings = {"beam_size": 2, "max_decoding_length": 20}
    found = []
    for size in (1, 7, len(rows)):
        texts = [
            text
            for start in range(0, len(rows), size)
            for text in _ctranslate2.best_translations(engine, rows[start : start + size], "", settings)
        ]
        found.append((texts, sorted(scores)))
        scores.clear()
    assert found[1:] == found[:1] * 2


class _Noting:
    """A translator of CTranslate2 that notes the score of every translation."""

    def __init__(self, translate: Callable[..., Any], device: str, scores: list[float]) -> None:
        self.translate, self.device, self.scores = translate, device, scores

    def translate_batch(self, *rows: Any, **settings: Any) -> Any:
        found = self.translate(*rows, **settings, return_scores=True)
        self.scores += [each.result().scores[0] for each in found]
        return found


@pytest.mark.parametrize("kind", KINDS)
def test_the_languages_are_told(kind: str, folders: dict[str, Path]) -> None:
    xhosa, portuguese = loaded(kind, folders[kind]), loaded(kind, folders[kind], "pt")
    if kind != "opus":  # whose random weights say the same to everything
        assert xhosa(TEXTS) != portuguese(TEXTS)
    assert xhosa.version != portuguese.version
    source = xhosa._tokenizer.convert_ids_to_tokens(xhosa._ids("a dog"))
    first = {"nllb": "eng_Latn", "m2m100": "__en__", "madlad": "<2xh>", "opus": ">>xho<<"}[kind]
    assert source[0] == first
    assert source[-1] == "</s>"
    if kind in ("nllb", "m2m100"):
        started: list[int] = []
        xhosa._model.model.generate = lambda **given: started.append(given["forced_bos_token_id"]) or _nothing(given)
        xhosa(["a dog"])
        assert xhosa._tokenizer.convert_ids_to_tokens(started) == [{"nllb": "xho_Latn", "m2m100": "__xh__"}[kind]]


def _nothing(given: dict[str, Any]) -> Any:
    import torch

    return torch.zeros(len(given["input_ids"]), 1, dtype=torch.long)


@pytest.mark.parametrize("kind", ["nllb", "madlad", "opus"])  # of M2M-100 the converter wants all of the vocabulary
@pytest.mark.parametrize("beams", variants.some([1, 3], 1))
def test_a_converted_folder_translates_as_the_original(
    kind: str, beams: int, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    in_fp32 = {"device": "cpu", "compute_type": "float32"}  # the best two tokens of random weights are close
    monkeypatch.setattr(_ctranslate2, "device_arguments", lambda device: in_fp32)
    folder = folders[kind].with_name(f"{kind}-ct2")
    if not folder.is_dir():
        converted(folders[kind])
    original, fast = loaded(kind, folders[kind], beams=beams), loaded(kind, folder, beams=beams)
    assert fast.by == original.by
    if beams == 1:  # random weights wander off after a while, and where a search stops is each backend's own
        known = TEXTS[:3]  # and what of a word that is in no vocabulary, too
        assert [text[:10] for text in fast(known)] == [text[:10] for text in original(known)]
    assert len(fast(TEXTS)) == len(TEXTS)
    assert fast(TEXTS) == [fast([text])[0] for text in TEXTS]


def test_out_of_memory_halves_the_batch(folders: dict[str, Path]) -> None:
    import torch

    translator = loaded("nllb", folders["nllb"])
    expected = translator(TEXTS)
    generate, sizes = translator._model.model.generate, []

    def narrow(**given: Any) -> Any:
        sizes.append(len(given["input_ids"]))
        if len(given["input_ids"]) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return generate(**given)

    translator._model.model.generate = narrow
    assert translator(TEXTS) == expected
    assert sizes[:5] == [16, 8, 4, 2, 1]
    assert set(sizes[5:]) == {1}


def test_a_language_the_model_lacks(folders: dict[str, Path]) -> None:
    with pytest.raises(CapivaraError, match="madlad does not support this language: its vocabulary has no '<2hi>'"):
        loaded("madlad", folders["madlad"], "hi")
    with pytest.raises(CapivaraError, match="opus does not support this language: its vocabulary has no '>>hin<<'"):
        loaded("opus", folders["opus"], "hi")
    with pytest.raises(CapivaraError, match="nllb: Breton is not among its 200 languages"):
        loaded("nllb", folders["nllb"], "br")


def test_opus_takes_the_model_of_the_pair(tmp_path: Path) -> None:
    plain = tiny_marian(tmp_path / "plain")
    translator = loaded("opus", plain)
    assert translator._tokenizer.convert_ids_to_tokens(translator._ids("a dog"))[0] != ">>xho<<"
    with pytest.raises(CapivaraError, match="Helsinki-NLP/opus-mt-en-xh are needed") as caught:
        opus.load("", source="en", target="xh", setup=Setup("cpu"))
    assert "--translator" in caught.value.hint


@pytest.mark.parametrize(("kind", "size"), [(nllb, "2.5 GB"), (m2m100, "1.9 GB"), (madlad, "12 GB")])
def test_what_has_to_be_downloaded_is_said(kind: Any, size: str) -> None:
    with pytest.raises(CapivaraError, match=rf"the translator's weights \(about {size}\) of .* are needed"):
        kind.load("", source="en", target="xh", setup=Setup("cpu"))
