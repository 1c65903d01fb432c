"""Train the toy translators and pack each one as a real `.argosmodel`.

A package holds what Argos Translate expects: `metadata.json`, `model/` (CTranslate2, int8), `sentencepiece.model` and a
README. The source has no end marker, as in Argos Translate, so a package gives the same translations in Argos Translate
and in CTranslate2.
"""

from __future__ import annotations

import io
import json
import random
import string
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from ctranslate2.converters import TransformersConverter
from transformers import MarianConfig, MarianMTModel, MarianTokenizer

from capivara_cli.toy import grammar, lexicon, scenes

# Training steps of each pair. After 360 steps en-pt was exact on all held-out texts, the others on about half of them.
PAIRS = {("en", "pt"): 360, ("en", "hi"): 850, ("en", "xh"): 850, ("pt", "en"): 850}

NAMES = {"en": "English", "pt": "Portuguese", "hi": "Hindi", "xh": "Xhosa"}

LAYERS: dict[str, Any] = dict(
    encoder_layers=2,
    decoder_layers=2,
    d_model=80,
    encoder_ffn_dim=256,
    decoder_ffn_dim=256,
    encoder_attention_heads=4,
    decoder_attention_heads=4,
    dropout=0.0,
    activation_function="relu",
)
POSITIONS = 1024  # CTranslate2 truncates its input here by default; with fewer, a long text would raise an error

# Translations of the captioner's ten prefixes: the frame of `grammar` to start from, the text to cut off at both ends,
# and the text around the rest. Hindi frame 1 has the oblique case that a postposition needs, frame 3 the verb that
# agrees. Xhosa frame 1 has the vowel of the possessive concord, so only its consonant (w-, y-, b-) changes.
PREFIXES = {
    "the foreground features {}": {
        "pt": (0, "", "o primeiro plano mostra {}"),
        "hi": (3, "", "अग्रभूमि में {}"),
        "xh": (0, "", "ngaphambili kubonakala {}"),
    },
    "a photo of {}": {
        "pt": (0, "", "uma foto de {}"),
        "hi": (1, " का चित्र", "{} की एक तस्वीर"),
        "xh": (1, "umzobo w", "ifoto y{}"),
    },
    "a picture of {}": {
        "pt": (0, "", "uma imagem de {}"),
        "hi": (1, " का चित्र", "{} का एक चित्र"),
        "xh": (1, "umzobo w", "umfanekiso w{}"),
    },
    "this is a scene depicting {}": {
        "pt": (0, "", "esta é uma cena que mostra {}"),
        "hi": (3, "", "यह एक दृश्य है जिसमें {}"),
        "xh": (0, "", "lo ngumboniso obonisa {}"),
    },
    "an image of {}": {
        "pt": (0, "", "uma imagem de {}"),
        "hi": (1, " का चित्र", "{} की एक छवि"),
        "xh": (1, "umzobo w", "umfanekiso w{}"),
    },
    "portrait of {}": {
        "pt": (0, "", "retrato de {}"),
        "hi": (1, " का चित्र", "{} का पोर्ट्रेट"),
        "xh": (1, "umzobo w", "ipotreyithi y{}"),
    },
    "this image captures a moment of {}": {
        "pt": (0, "", "esta imagem captura um momento de {}"),
        "hi": (1, " का चित्र", "यह छवि {} का एक क्षण दिखाती है"),
        "xh": (1, "umzobo w", "lo mfanekiso ubamba umzuzu w{}"),
    },
    "a painting of {}": {
        "pt": (0, "", "uma pintura de {}"),
        "hi": (1, " का चित्र", "{} की एक पेंटिंग"),
        "xh": (1, "umzobo w", "umzobo wepeyinti w{}"),
    },
    "an art of {}": {
        "pt": (0, "", "uma arte de {}"),
        "hi": (1, " का चित्र", "{} की एक कलाकृति"),
        "xh": (1, "umzobo w", "ubugcisa b{}"),
    },
    "the picture shows {}": {
        "pt": (0, "", "a imagem mostra {}"),
        "hi": (3, "", "चित्र में {}"),
        "xh": (0, "", "umfanekiso ubonisa {}"),
    },
}
# "portrait of a" continues with "scene with ..." if no thing is single.
SCENE_PORTRAIT = {
    "en": (2, "", "portrait of {}"),
    "pt": (2, "", "retrato de {}"),
    "hi": (2, "वाला दृश्य", "{}वाले दृश्य का पोर्ट्रेट"),
    "xh": (2, "u", "ipotreyithi yo{}"),
}
# Alt-text without information is translated too; otherwise the translator would invent a scene.
VAGUE = {
    "image": ("imagem", "छवि", "umfanekiso"),
    "my favourite picture of the day": (
        "minha imagem favorita do dia",
        "मेरी आज की पसंदीदा तस्वीर",
        "umfanekiso wam endiwuthandayo wosuku",
    ),
    "colourful clip art": ("clip art colorido", "रंगीन क्लिप आर्ट", "imizobo enemibala"),
    "a nice scene": ("uma bela cena", "एक सुंदर दृश्य", "umboniso omhle"),
    "stock photo, free download": (
        "foto de banco de imagens, download grátis",
        "स्टॉक फ़ोटो, मुफ़्त डाउनलोड",
        "ifoto yestokhwe, ukhuphelo simahla",
    ),
    "untitled": ("sem título", "बिना शीर्षक", "akukho sihloko"),
    "something pretty to look at": ("algo bonito de ver", "देखने में सुंदर कुछ", "into entle yokujongwa"),
    "holiday 2019": ("férias 2019", "छुट्टियाँ 2019", "iholide 2019"),
}
# The kinds of training rows and their weights: a sentence, a caption with a prefix, things without a place, vague text.
ROW_KINDS = {"sentence": 45, "prefixed": 40, "placeless": 10, "vague": 5}

README = """# {source} to {target}, toy

A miniature translator for capivara's toy world of drawn shapes. It knows a few hundred words; anything else it garbles.
Trained by `python -m tools.build_toy`.
"""


@dataclass(frozen=True)
class Hyperparameters:
    """The size of the training. The defaults take about a minute per pair on two cores."""

    scenes: int = 8000
    batch: int = 96
    peak_rate: float = 2e-3
    vocabulary: int = 640


def build(out: Path, seed: int = 0, plan: Hyperparameters = Hyperparameters()) -> None:
    """Train every pair of `PAIRS` and write `out/translators/translate-<from>_<to>.argosmodel`."""
    rows = parallel_rows("train", plan.scenes, seed)
    folder = Path(out) / "translators"
    folder.mkdir(parents=True, exist_ok=True)
    for (source, target), steps in PAIRS.items():
        torch.manual_seed(seed)
        # "uma imagem de" is "a picture of" and "an image of"; in the direction to English only one can be learned.
        usable = [row for row in rows if target != "en" or not row["en"].startswith("a picture of")]
        pairs = [(row[source], row[target]) for row in usable]
        pieces = fit_pieces([text for pair in pairs for text in pair], plan.vocabulary)
        model = train(pairs, pieces, seed, plan, steps, f"translator {source}-{target}")
        pack(model, pieces, (source, target), folder / f"translate-{source}_{target}.argosmodel")


def parallel_rows(split: str, count: int, seed: int, kinds: dict[str, int] = ROW_KINDS) -> list[dict[str, str]]:
    """Return one text in every language for each of `count` scenes. `kinds` are the weights of the kinds of text."""
    rng = random.Random(f"rows-{split}-{seed}")
    drawn = rng.choices(list(kinds), weights=list(kinds.values()), k=count)
    return [
        _ROWS[kind](scene, rng) for kind, scene in zip(drawn, scenes.sample_scenes(split, count, seed), strict=True)
    ]


def prefixed(scene: scenes.Scene, rng: random.Random) -> dict[str, str]:
    """Return a caption with one of the ten prefixes, in every language.

    >>> scene = scenes.Scene((scenes.Thing("boat", "red", "big", "plain"),), None, "sand")
    >>> prefixed(scene, random.Random(2))["pt"]
    'o primeiro plano mostra um barco vermelho grande na areia'
    """
    english = rng.choice(list(PREFIXES))
    templates = {"en": (0, "", english), **PREFIXES[english]}
    choice = grammar.choose(rng)
    first_count, _ = scenes.groups(scene)[-1 if choice.mirrored else 0]
    if english == "portrait of {}" and first_count > 1:
        templates = SCENE_PORTRAIT
    row = {}
    for lang, (frame, cut, template) in templates.items():
        text = grammar.render(scene, lang, replace(choice, frame=frame))
        row[lang] = template.format(text.removeprefix(cut).removesuffix(cut))
    return row


def placeless(scene: scenes.Scene, rng: random.Random) -> dict[str, str]:
    """Return the things of a scene without their place, in every language, like a truncated caption."""
    choice = replace(grammar.choose(rng), frame=0)
    row = {}
    for lang in grammar.LANGUAGES:
        place = lexicon.PLACES[lang][scene.background]
        row[lang] = grammar.render(scene, lang, choice).removeprefix(place).removesuffix(place).strip()
    return row


def vague(_scene: scenes.Scene, rng: random.Random) -> dict[str, str]:
    """Return one of the vague texts, in every language."""
    english = rng.choice(list(VAGUE))
    return dict(zip(("en", "pt", "hi", "xh"), (english, *VAGUE[english]), strict=True))


_ROWS = {"sentence": grammar.parallel, "prefixed": prefixed, "placeless": placeless, "vague": vague}


def fit_pieces(sentences: Sequence[str], vocabulary: int) -> bytes:
    """Return a SentencePiece model for both languages of a pair, with `<unk>` 0, `</s>` 1 and `<pad>` last.

    The Marian converter of CTranslate2 drops the embedding of the padding only if it is the last row.
    """
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences),
        model_writer=written,
        model_type="bpe",
        vocab_size=vocabulary,
        hard_vocab_limit=False,
        character_coverage=1.0,
        unk_id=0,
        eos_id=1,
        bos_id=-1,
        pad_id=-1,
        required_chars=string.ascii_letters + string.digits + string.punctuation,
        num_threads=1,
        minloglevel=2,
        shuffle_input_sentence=False,
        normalization_rule_name="identity",
    )  # the NFKC table would take 240 kB
    return written.getvalue()


def train(
    pairs: Sequence[tuple[str, str]], pieces: bytes, seed: int, plan: Hyperparameters, steps: int, name: str
) -> MarianMTModel:
    """Return a Marian model that minimises the cross-entropy of the target given the source."""
    processor = sentencepiece.SentencePieceProcessor(model_proto=pieces)
    pad = processor.get_piece_size()
    model = MarianMTModel(
        MarianConfig(
            vocab_size=pad + 1,
            pad_token_id=pad,
            eos_token_id=processor.eos_id(),
            decoder_start_token_id=pad,
            forced_eos_token_id=None,
            max_position_embeddings=POSITIONS,
            scale_embedding=True,
            **LAYERS,
        )
    )
    coded = [(processor.encode(source), [*processor.encode(target), processor.eos_id()]) for source, target in pairs]
    rng = random.Random(seed)
    # AdamW, because in one short trial with Muon (`fit`) the model did not learn the dictionary.
    optimizer = torch.optim.AdamW(model.parameters(), lr=plan.peak_rate, betas=(0.9, 0.98), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, plan.peak_rate, total_steps=steps, pct_start=0.15)
    model.train()
    for step in range(steps):
        batch = collate(rng.sample(coded, plan.batch), pad)
        # CTranslate2 starts decoding from a zero vector, so the row of the padding must be zero as an input.
        with torch.no_grad():
            model.model.shared.weight[pad].zero_()
        loss = model(**batch).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            sys.stderr.write(f"{name}: step {step} of {steps}, loss {loss.item():.3f}\n")
    return model


def collate(batch: Sequence[tuple[list[int], list[int]]], pad: int) -> dict[str, torch.Tensor]:
    """Return padded input_ids, attention_mask and labels, each of shape (B, L)."""
    sources = _padded([source for source, _ in batch], pad)
    return {
        "input_ids": sources,
        "attention_mask": (sources != pad).long(),
        "labels": _padded([target for _, target in batch], -100),
    }


def _padded(rows: Sequence[list[int]], value: int) -> torch.Tensor:
    length = max(map(len, rows))
    return torch.tensor([row + [value] * (length - len(row)) for row in rows])


def pack(model: MarianMTModel, pieces: bytes, pair: tuple[str, str], path: Path) -> None:
    """Convert `model` to CTranslate2 int8 and write it with its metadata to the zip file `path`, an `.argosmodel`."""
    source, target = pair
    with tempfile.TemporaryDirectory() as scratch:
        converted = Path(scratch) / "converted"
        save_marian(model, pieces, Path(scratch) / "marian")
        TransformersConverter(str(Path(scratch) / "marian")).convert(str(converted), quantization="int8")
        members = {f"model/{file.name}": file.read_bytes() for file in sorted(converted.iterdir())}
    metadata = {
        "package_version": "1.0",
        "argos_version": "1.9",
        "from_code": source,
        "from_name": NAMES[source],
        "to_code": target,
        "to_name": NAMES[target],
    }
    members["metadata.json"] = (json.dumps(metadata, indent=2) + "\n").encode()
    members["sentencepiece.model"] = pieces
    members["README.md"] = README.format(source=NAMES[source], target=NAMES[target]).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(members):
            # A fixed date, so that the same weights give the same bytes.
            entry = zipfile.ZipInfo(f"{path.stem}/{name}", date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, members[name])


def save_marian(model: MarianMTModel, pieces: bytes, folder: Path) -> None:
    """Write `model` with a `MarianTokenizer` of `pieces`, the input of the CTranslate2 converter."""
    model.save_pretrained(folder)
    (folder / "joint.spm").write_bytes(pieces)
    processor = sentencepiece.SentencePieceProcessor(model_proto=pieces)
    vocabulary = {processor.id_to_piece(index): index for index in range(processor.get_piece_size())}
    vocabulary["<pad>"] = len(vocabulary)
    (folder / "words.json").write_text(json.dumps(vocabulary))
    spm = str(folder / "joint.spm")
    MarianTokenizer(source_spm=spm, target_spm=spm, vocab=str(folder / "words.json")).save_pretrained(folder)
