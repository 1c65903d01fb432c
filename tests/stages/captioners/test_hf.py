"""hf:MODEL: every family word for word as its own ``generate``, in any batch, by seed, in the language asked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from capivara_cli import languages
from capivara_cli.errors import CapivaraError
from capivara_cli.languages.prompts import PREFIXES
from capivara_cli.models import transformers_models
from capivara_cli.models.generation import Decoding, Draw, Setup
from capivara_cli.stages.captioners import hf
from capivara_cli.stages.captioners._blip2 import Blip2Captioner
from capivara_cli.stages.captioners._prompts import REQUEST

from support import variants  # isort: skip
from support.tiny_models import tiny_blip2, tiny_gpt2  # isort: skip
from support.tiny_vlms import MODELS, Folders  # isort: skip

pytestmark = pytest.mark.filterwarnings("error::FutureWarning")  # of a call that the next version refuses

FAMILIES = sorted(MODELS)
CHAT = ["idefics3", "llava", "qwen2-vl"]
ENGLISH, PORTUGUESE = languages.get("en"), languages.get("pt")
WORDS_THAT_END = {  # a random model seldom comes to its end
    "blip": "an",  # its config says so, as its own ``generate`` takes the end from there
    "florence2": "cat gato",
    "git": "moment art",
    "idefics3": "happening shows",
    "llava": "paragraph Answer",
    "paligemma": "<loc0799> <loc0573>",
    "qwen2-vl": "pt captures",
    "vit-gpt2": "photo image",
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    import torch

    torch.set_num_threads(1)
    made: dict[str, Path] = {}

    def folder(family: str) -> Path:
        if family not in made:
            made[family] = MODELS[family](tmp_path_factory.mktemp("models") / f"tiny-{family}")
        return made[family]

    return folder


def pictures() -> list[Image.Image]:
    """Three images of different content, size and shape."""
    gradient, circles = Image.linear_gradient("L"), Image.radial_gradient("L")
    return [
        Image.merge("RGB", [gradient, circles, gradient.rotate(90)]).resize((64, 64)),
        Image.merge("RGB", [circles, gradient.rotate(180), gradient]).resize((96, 64)),
        Image.new("RGB", (48, 80), (250, 30, 90)),
    ]


def loaded(folder: Path, **decoding: Any) -> Any:
    captioner: Any = hf.load(str(folder), setup=Setup("cpu", Decoding(**{"max_tokens": 12, **decoding})))
    end_soon(captioner.generator, captioner.tokenizer, folder.name.removeprefix("tiny-"))
    return captioner


def captions_of(captioner: Any, images: list[Image.Image], draws: list[Draw]) -> list[list[str]]:
    return captioner([captioner.prepare(image) for image in images])([draws] * len(images))


def end_soon(generator: Any, tokenizer: Any, family: str) -> list[int]:
    """Give a model words that end its texts; all that do."""
    ends = [generator.generation_config.eos_token_id, *tokenizer.convert_tokens_to_ids(WORDS_THAT_END[family].split())]
    if family != "blip":
        generator.generation_config.eos_token_id = ends
    return ends


class Plain:
    """A model as its documentation uses it: one image, its own processor, its own ``generate``."""

    def __init__(self, folder: Path, family: str) -> None:
        from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoProcessor, AutoTokenizer

        self.family = family
        self.model: Any = AutoModelForImageTextToText.from_pretrained(folder).eval()
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self.processor: Any = (AutoImageProcessor if family == "vit-gpt2" else AutoProcessor).from_pretrained(folder)
        self.ends = end_soon(self.model, self.tokenizer, family)

    def __call__(self, image: Image.Image, prompt: str, **options: Any) -> str:
        inputs = self.inputs(image, prompt)
        tokens = self.model.generate(**inputs, **{**self.defaults, **options})[0].tolist()
        given = {"vit-gpt2": 1, "florence2": 1}.get(self.family) or inputs["input_ids"].shape[1] - (
            self.family == "blip"
        )
        said = tokens[given:]
        said = said[: next((place for place, token in enumerate(said) if token in self.ends), len(said))]
        words = self.tokenizer.decode(said, skip_special_tokens=True)
        return (
            words if prompt.endswith((".", ">")) or not prompt or "caption" in prompt else f"{prompt} {words}".strip()
        )

    @property
    def defaults(self) -> dict[str, Any]:
        return dict(max_new_tokens=12, do_sample=False, num_beams=1, repetition_penalty=1.0, no_repeat_ngram_size=0)

    def inputs(self, image: Image.Image, prompt: str) -> dict[str, Any]:
        import torch

        if self.family == "vit-gpt2":
            return dict(self.processor(images=image, return_tensors="pt"))
        if self.family == "git":
            ids = self.tokenizer(prompt, add_special_tokens=False)["input_ids"]
            return {**self.processor(images=image, return_tensors="pt"), "input_ids": torch.tensor([[1, *ids]])}
        text = prompt
        if self.family == "paligemma":
            text = f"<image>{prompt}"
        if self.family in CHAT:
            asked, begun = (prompt, "") if prompt.endswith(".") else (REQUEST, prompt)
            turn = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": asked}]}
            text = self.processor.apply_chat_template([turn], add_generation_prompt=True) + begun
        inputs = self.processor(images=image, text=text, return_tensors="pt")
        return {name: value for name, value in inputs.items() if name != "labels"}


def prompts_of(captioner: Any) -> list[str]:
    """Three at most, the paper's of three and of five words."""
    own = captioner.prompts(ENGLISH)
    return [own[0], own[3], own[8]] if own == PREFIXES else list(own)


DECODINGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "greedy": ({}, {}),
    "short": ({"max_tokens": 5}, {"max_new_tokens": 5}),
    "beams": ({"beams": 3}, {"num_beams": 3}),
    "penalty": ({"repetition_penalty": 1.7}, {"repetition_penalty": 1.7}),
    "ngram": ({"beams": 2, "no_repeat_ngram": 2}, {"num_beams": 2, "no_repeat_ngram_size": 2}),
}
EVERY = [(family, name) for family in FAMILIES for name in DECODINGS]
EACH = [(family, [*DECODINGS][place % len(DECODINGS)]) for place, family in enumerate(FAMILIES)]
"""Each family and each decoding."""
CHOSEN = EVERY if variants.ALL else EACH


@pytest.mark.parametrize(
    ("family", "decoding", "options"),
    [(family, *DECODINGS[name]) for family, name in CHOSEN],
    ids=["-".join(each) for each in CHOSEN],
)
def test_word_for_word_the_plain_way(
    family: str, decoding: dict[str, Any], options: dict[str, Any], folders: Folders
) -> None:
    captioner, plain = loaded(folders(family), **decoding), Plain(folders(family), family)
    prompts = prompts_of(captioner)
    rows = captions_of(captioner, pictures(), [Draw(prompt) for prompt in prompts])
    assert rows == [[plain(image, prompt, **options) for prompt in prompts] for image in pictures()]
    assert captioner.by == f"tiny-{family}"


@pytest.mark.parametrize("family", variants.some(FAMILIES, 2))
def test_images_make_a_difference_and_texts_end(family: str, folders: Folders) -> None:
    """Otherwise the tests around this one would compare little."""
    captioner = loaded(folders(family), repetition_penalty=1.7)
    prompts = prompts_of(captioner)
    rows = captions_of(captioner, pictures(), [*map(Draw, prompts), *(Draw(prompts[0], seed) for seed in range(9))])
    assert len(set(map(tuple, rows))) == 3
    assert len({len(text.split()) for row in rows for text in row}) > 1


@pytest.mark.parametrize("family", variants.some(FAMILIES, 3))
def test_a_draw_is_the_same_in_any_batch(family: str, folders: Folders) -> None:
    captioner = loaded(folders(family), repetition_penalty=1.3)
    images, (prompt, *_) = pictures(), prompts_of(captioner)
    draws = [Draw(prompt), *(Draw(prompt, seed) for seed in (3, 5, 2**47))]
    rows = captions_of(captioner, images, draws)
    assert len({text for row in rows for text in row}) > 5
    texts_of = captioner([captioner.prepare(image) for image in reversed(images)])
    assert texts_of([draws[2:], [], [draws[1], draws[0]]]) == [rows[2][2:], [], [rows[0][1], rows[0][0]]]
    assert texts_of([[], draws, []]) == [[], rows[1], []]
    assert captioner([])([]) == []
    searching = loaded(folders(family), repetition_penalty=1.3, beams=3)
    assert [row[1:] for row in captions_of(searching, images, draws)] == [
        row[1:] for row in rows
    ]  # beams are for the others


@pytest.mark.parametrize("family", variants.some(FAMILIES, 2))
def test_out_of_memory_halves_and_goes_on(family: str, folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    captioner = loaded(folders(family))
    draws = [Draw(prompts_of(captioner)[0]), Draw(prompts_of(captioner)[0], 7)]
    expected = captions_of(captioner, pictures(), draws)
    generate, sizes = captioner.generator.generate, []

    def narrow(**given: Any) -> Any:
        rows = len(given.get("decoder_input_ids", given.get("input_ids")))
        if rows > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        sizes.append(rows)
        return generate(**given)

    monkeypatch.setattr(captioner.generator, "generate", narrow)
    assert captions_of(captioner, pictures(), draws) == expected
    assert max(sizes) <= 2
    assert sum(sizes) == 6


@pytest.mark.parametrize(
    ("family", "tower"),
    [
        ("blip", lambda captioner: captioner.model.vision_model),
        ("git", lambda captioner: captioner.image_encoder),
        ("vit-gpt2", lambda captioner: captioner.model.encoder),
        ("florence2", lambda captioner: captioner.model.model.vision_tower),
    ],
)
def test_an_image_is_looked_at_once(family: str, tower: Callable[[Any], Any], folders: Folders) -> None:
    captioner = loaded(folders(family))
    looks: list[int] = []
    tower(captioner).register_forward_hook(lambda *_: looks.append(1))
    texts_of = captioner([captioner.prepare(image) for image in pictures()])
    prompt = prompts_of(captioner)[0]
    texts_of([[Draw(prompt), Draw(prompt, 1), Draw("a photo of")]] * 3)
    texts_of([[Draw(prompt, 2)], [], []])
    assert looks == [1]


def test_what_each_family_is_given(folders: Folders) -> None:
    by_family = {family: loaded(folders(family)) for family in FAMILIES}
    assert by_family["blip"].prompts(ENGLISH) == by_family["git"].prompts(ENGLISH) == PREFIXES
    assert by_family["llava"].prompts(ENGLISH) == by_family["qwen2-vl"].prompts(ENGLISH) == PREFIXES
    assert by_family["vit-gpt2"].prompts(ENGLISH) == ("",)
    assert by_family["florence2"].prompts(ENGLISH) == ("<CAPTION>", "<DETAILED_CAPTION>", "<MORE_DETAILED_CAPTION>")
    assert by_family["paligemma"].prompts(ENGLISH) == ("caption en",)
    assert by_family["paligemma"].prompts(PORTUGUESE) == ("caption pt",)
    assert by_family["paligemma"].prompts(languages.get("he")) == ("caption iw",)
    for family in CHAT:
        asked = by_family[family].prompts(PORTUGUESE)
        assert asked[0] == "Write a one-sentence caption of this image in Portuguese."
        assert len(set(asked)) == 5
        assert all("Portuguese" in request and request.endswith(".") for request in asked)
    for family in ("blip", "git", "vit-gpt2", "florence2"):
        with pytest.raises(CapivaraError, match=f"--lang pt: tiny-{family} writes English only") as caught:
            by_family[family].prompts(PORTUGUESE)
        assert "--prefixes FILE" in caught.value.hint


@pytest.mark.parametrize("family", variants.some(["paligemma", *CHAT], 2))
def test_another_language_is_written_directly(family: str, folders: Folders) -> None:
    captioner, plain = loaded(folders(family)), Plain(folders(family), family)
    prompts = captioner.prompts(PORTUGUESE)
    rows = captions_of(captioner, pictures(), [Draw(prompt) for prompt in prompts])
    endings = [prompt for prompt in prompts if prompt.endswith(".") or family == "paligemma"]
    assert rows == [[plain(image, prompt) for prompt in endings] for image in pictures()]
    english = captions_of(captioner, pictures(), [Draw("caption en" if family == "paligemma" else REQUEST)])
    assert [row[0] for row in rows] != [row[0] for row in english]


@pytest.mark.parametrize("family", variants.some(["blip", "git", "vit-gpt2", "florence2", *CHAT], 2))
def test_prefixes_of_the_user_are_continued(family: str, folders: Folders) -> None:
    rows = captions_of(
        loaded(folders(family)), pictures(), [Draw("uma foto de"), Draw("A photo of", 1), Draw("a dog", 2)]
    )
    for text, prefix in zip(rows[0], ["uma foto de", "A photo of", "a dog"], strict=True):
        assert text.startswith(f"{prefix} ")
        assert len(text) > len(prefix) + 2


def test_a_florence_task_is_the_documented_one(folders: Folders) -> None:
    captioner = loaded(folders("florence2"))
    (asked,) = {captioner._task_ids(prompt) for prompt in ("<CAPTION>", "a photo of", "What does the image describe?")}
    assert captioner.tokenizer.decode(asked, skip_special_tokens=True) == "What does the image describe ?"
    with pytest.raises(CapivaraError, match="tiny-florence2: does not know the task 'what is <OCR>'"):
        captions_of(captioner, pictures()[:1], [Draw("what is <OCR>")])


@pytest.mark.parametrize(
    ("family", "calls"), [("llava", [6]), ("qwen2-vl", [6]), ("paligemma", [3, 3]), ("git", [3, 3])]
)
def test_what_is_padded(family: str, calls: list[int], folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chat models, for prompts of any length and images of any size; PaliGemma's rows begin with an image instead."""
    captioner = loaded(folders(family))
    generate, rows = captioner.generator.generate, []
    counting = lambda **given: rows.append(len(given["input_ids"])) or generate(**given)  # noqa: E731
    monkeypatch.setattr(captioner.generator, "generate", counting)
    captions_of(captioner, pictures(), [Draw("a photo of"), Draw("this is a scene depicting")])
    assert rows == calls


def test_blip2_goes_the_way_of_its_own_plugin(tmp_path: Path) -> None:
    captioner = hf.load(str(tiny_blip2(tmp_path / "tiny-blip2")), setup=Setup("cpu", Decoding()))
    assert isinstance(captioner, Blip2Captioner)
    assert captioner.by == "tiny-blip2"


def test_weights_of_another_form_are_refused(folders: Folders, tmp_path: Path) -> None:
    """transformers would start such a model with random weights and a report of what is missing."""
    import shutil

    from safetensors.torch import load_file, save_file

    folder = tmp_path / "other"
    shutil.copytree(folders("florence2"), folder)
    weights = load_file(folder / "model.safetensors")
    save_file(
        {f"other.{name}": value for name, value in weights.items()}, folder / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(CapivaraError, match="other: its weights do not fit Florence2For") as caught:
        hf.load(str(folder), setup=Setup("cpu", Decoding()))
    assert "florence-community" in caught.value.hint


def test_number_types(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    types = [transformers_models.dtype_on(device, half) for device, half in
             [("cpu", "bfloat16"), ("cuda:1", "float16"), ("cuda", "bfloat16")]]  # fmt: skip
    assert types == [torch.float32, torch.float16, torch.bfloat16]
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: False)
    assert transformers_models.dtype_on("cuda", "bfloat16") == torch.float16
    assert (hf.FAMILIES["blip"].half, hf.FAMILIES["paligemma"].half) == ("float16", "bfloat16")


def test_every_part_is_compiled(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    """The parts are called one by one, so that compiling the whole would do nothing."""
    import torch

    compiled: list[str] = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **_: compiled.append(type(self).__name__))
    hf.load(str(folders("blip")), setup=Setup("cpu", Decoding(), compile=True))
    assert compiled == ["BlipVisionModel", "BlipTextLMHeadModel"]


def test_what_cannot_caption_is_said(tmp_path: Path, folders: Folders) -> None:
    setup = Setup("cpu", Decoding())
    with pytest.raises(CapivaraError, match="captioner hf: no model is named"):
        hf.load("", setup=setup)
    with pytest.raises(CapivaraError, match="a model of type gpt2 without a chat template"):
        hf.load(str(tiny_gpt2(tmp_path / "gpt2")), setup=setup)
    with pytest.raises(CapivaraError, match="--bits 4: needs the package bitsandbytes and a CUDA device"):
        hf.load(str(folders("blip")), setup=Setup("cpu", Decoding(), bits=4))
    with pytest.raises(CapivaraError, match=r"has no config\.json"):
        hf.load(str(tmp_path), setup=setup)
    bare = MODELS["llava"](tmp_path / "bare")
    (bare / "chat_template.jinja").unlink()
    with pytest.raises(CapivaraError, match="a model of type llava without a chat template"):
        hf.load(str(bare), setup=setup)
    (bare / "config.json").write_text(json.dumps({"model_type": "never-heard-of"}))
    with pytest.raises(CapivaraError, match="cannot be loaded as an image-to-text model"):
        hf.load(str(bare), setup=setup)
