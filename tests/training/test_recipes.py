"""Objectives, selection, starting points and several runs, each through the command on a tiny model."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import variants
from support.made import shard_bytes
from support.tiny import WORDS, pairs, tiny_clip
from support.warm import CAPIVARA

from capivara_cli import registry
from capivara_cli.commands.eval import Options as EvalOptions
from capivara_cli.commands.eval import eval as evaluate
from capivara_cli.commands.train import Options, train
from capivara_cli.costs import ledger
from capivara_cli.errors import CapivaraError, UsageError
from capivara_cli.evaluation.retrieval import retrieval
from capivara_cli.models.clip import load_clip
from capivara_cli.models.generation import Decoding, Setup
from capivara_cli.models.run_folder import RunDir
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings, build, changed, check_options
from capivara_cli.reports import card as cards
from capivara_cli.shards.archive import open_shard
from capivara_cli.shards.images import decode_image
from capivara_cli.shards.sample import Caption, Sample


@pytest.fixture
def options(tiny: Path, tmp_path: Path) -> Options:
    return build(
        Options,
        lang="pt",
        model=f"local-dir:{tiny}",
        runs=str(tmp_path / "runs"),
        steps=6,
        batch_size=16,
        lr=1e-2,
        min_lr=1e-3,
        warmup=1,
        checkpoint_every=2,
    )


@pytest.fixture
def data(shards: Callable[..., Path]) -> Path:
    return shards(four_texts(40))


def four_texts(count: int) -> list[Sample]:
    """In each of English and Portuguese a caption of a person's, and one translated from the other language."""
    generator = np.random.default_rng(7)

    def text() -> str:
        return " ".join(generator.choice(WORDS, generator.integers(2, 9)))

    samples = []
    for sample in pairs(count):
        english, portuguese = text(), text()
        samples.append(
            sample.with_captions(
                [
                    Caption(english, "en", "human"),
                    Caption(portuguese, "pt", "human"),
                    Caption(text(), "pt", "argos:en-pt", of=english),
                    Caption(text(), "en", "argos:pt-en", of=portuguese),
                ]
            )
        )
    return samples


def read(folder: Path) -> Iterator[Sample]:
    with open_shard(str(folder / "00000.tar")) as reader:
        yield from reader


def run(options: Options, folder: Path, **changes: Any) -> dict[str, Any]:
    return train.run([str(folder)], changed(options, **changes), Env(Settings(), "train"))


def lines(summary: dict[str, Any]) -> list[dict[str, Any]]:
    return RunDir(Path(summary["run"])).read_metrics()


@pytest.mark.parametrize(
    ("changes", "terms"),
    variants.some(
        [
            ({}, {"clip", "drift"}),
            ({"objective": "siglip"}, {"siglip", "drift"}),
            ({"objective": "clip:0.5+distill:2"}, {"clip", "distill", "drift"}),
            ({"objective": "distill", "distill_loss": "cosine"}, {"distill", "drift"}),
            ({"align": "native"}, {"clip", "align", "drift"}),
            ({"align": "mt-source", "align_loss": "cosine"}, {"clip", "align", "drift"}),
            ({"align": "mt-pivot", "align_loss": "contrastive", "align_anchor": "live"}, {"clip", "align", "drift"}),
            ({"text_sampling": "all", "align": "native", "align_anchor": "live"}, {"clip", "align", "drift"}),
            ({"text_sampling": "weighted", "text_weights": "human=3,argos=1"}, {"clip", "drift"}),
            ({"views": 2, "ema": 0.9}, {"clip", "drift"}),
            ({"peft": "full", "val": "0.2", "val_every": 3}, {"clip", "drift"}),
        ],
        4,
    ),
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else "",
)
def test_every_objective_trains_loads_and_resumes(
    options: Options, data: Path, changes: dict[str, Any], terms: set[str]
) -> None:
    summary = run(options, data, **changes)
    metrics = lines(summary)
    assert set(metrics[0]["terms"]) == terms
    assert all(np.isfinite(line["loss"]) for line in metrics)
    clip = load_clip(summary["run"])
    assert np.isfinite(clip.embed_texts(["um gato"])).all()
    folder = Path(summary["run"])
    adapter = (folder / "adapter" / "adapter_model.safetensors").read_bytes()
    (folder / "checkpoints" / "step-000006.pt").unlink()  # as if it had been killed after step 5
    RunDir(folder).save(finished=False)
    run(options, data, **changes)
    assert (folder / "adapter" / "adapter_model.safetensors").read_bytes() == adapter


def test_a_teacher_pulls_translations_to_what_they_come_from(options: Options, data: Path, tiny: Path) -> None:
    """Text alone: no image is needed, and the captions move to where the teacher has their source."""
    samples = list(read(data))
    (data / "00000.tar").write_bytes(
        shard_bytes([Sample(each.key, {"json": each.members["json"]}) for each in samples])
    )
    summary = run(options, data, objective="distill", steps=60, keep_share=0.0)
    pairs_of = [(each.captions[2].text, each.captions[2].of) for each in samples if each.captions[2].of is not None]
    base, tuned = load_clip(str(tiny)), load_clip(summary["run"])
    sources = base.embed_texts([str(of) for _, of in pairs_of])

    def similarity(clip: Any) -> float:
        return float((clip.embed_texts([text for text, _ in pairs_of]) * sources).sum(1).mean())

    assert similarity(tuned) > similarity(base) + 0.02
    with pytest.raises(CapivaraError, match="none of the samples with a caption in pt can be used"):
        run(options, data, objective="clip", name="images")


def test_a_teacher_of_other_images_is_refused(options: Options, data: Path, tmp_path: Path) -> None:
    other = tiny_clip(tmp_path / "other", seed=5)
    with pytest.raises(CapivaraError, match="its image tower is not that of this model"):
        run(options, data, objective="distill", teacher=f"local-dir:{other}")


def test_queries_of_a_pivot_run_are_translated(options: Options, data: Path) -> None:
    summary = run(options, data, align="mt-pivot")
    assert RunDir(Path(summary["run"])).document["translate_queries"] == "en"
    assert load_clip(summary["run"]).translate_queries == "en"
    assert "Translate queries into en first" in cards.of_folder(Path(summary["run"]))
    evaluated = evaluate.run(
        [summary["run"], str(data)], EvalOptions(lang="pt,en", translator="toy"), Env(Settings(), "eval")
    )
    portuguese, english = evaluated["retrieval"]
    assert (portuguese["queries_by"], english["queries_by"]) == ("toy:pt-en", "")
    clip, samples = load_clip(summary["run"]), list(read(data))
    said = [
        (caption.text, owner) for owner, each in enumerate(samples) for caption in each.captions if caption.lang == "pt"
    ]
    translator = registry.load("translators", "toy", source="pt", target="en", setup=Setup("cpu", Decoding(beams=0)))
    texts = clip.embed_texts(translator([text for text, _ in said]))
    images = clip.embed_images([clip.preprocess(decode_image(each)) for each in samples])
    expected = retrieval(images, texts, [owner for _, owner in said]).mean_recall
    assert portuguese["mean_recall"] == pytest.approx(100 * expected)
    with pytest.raises(CapivaraError, match="argos"):
        evaluate.run([summary["run"], str(data)], EvalOptions(lang="pt"), Env(Settings(), "eval"))


def test_validation_on_shards_of_its_own(options: Options, data: Path, shards: Callable[..., Path]) -> None:
    other = shards(pairs(12, "pt", seed=9), name="validation")
    summary = run(options, data, val=str(other), val_every=3)
    assert [line["step"] for line in lines(summary) if "val" in line] == [3, 6]
    assert set(summary["val"]) == {"pt", "mean"}
    assert summary["val"]["mean"] == max(line["val"]["mean"] for line in lines(summary) if "val" in line)
    with pytest.raises(CapivaraError, match="no captions in en; there are pt"):
        run(options, data, lang="en", val=str(other))


def test_shots_are_named_and_reported(options: Options, data: Path) -> None:
    summary = run(options, data, shots=12, val="12", val_every=3)
    described = RunDir(Path(summary["run"])).document["data"]
    assert len(described["shots"]) == summary["samples"] == 12
    assert described["heldout"] == 12
    assert summary["batch_size"] == 12


def test_a_run_starts_from_another(options: Options, data: Path) -> None:
    first = run(options, data, name="one", lora_r=4)
    second = run(options, data, name="two", continue_from=first["run"], lr=0.0, min_lr=0.0, temperature=0.0)
    one, two = (load_clip(each["run"]) for each in (first, second))
    np.testing.assert_array_equal(one.embed_texts(["um gato"]), two.embed_texts(["um gato"]))  # nothing was learned
    assert first["trainable"] == second["trainable"]  # rank 4, as it was
    third = run(options, data, name="three", continue_from=str(Path(first["run"]) / "adapter"))
    assert lines(third)[0]["loss"] != lines(first)[0]["loss"]
    with pytest.raises(CapivaraError, match="was trained on local-dir"):
        run(options, data, name="four", continue_from=first["run"], model="toy")


def test_starting_from_a_run_of_both_towers_trains_both(options: Options, data: Path) -> None:
    first = run(options, data, name="one", peft="full")
    second = run(options, data, name="two", continue_from=first["run"])
    assert second["trainable"] == first["trainable"]
    chance = torch.Generator().manual_seed(0)
    pixels = [torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8, generator=chance)]
    one, two = (load_clip(each["run"]).embed_images(pixels) for each in (first, second))
    assert np.abs(one - two).max() > 1e-4
    with pytest.raises(UsageError, match="excludes --views"):
        run(options, data, name="three", continue_from=first["run"], views=2)


def test_an_adapter_is_a_model_and_fits_its_base_only(options: Options, data: Path, tmp_path: Path, tiny: Path) -> None:
    import shutil

    first = run(options, data)
    adapter = shutil.copytree(Path(first["run"]) / "adapter", tmp_path / "adapter")
    np.testing.assert_array_equal(
        load_clip(str(adapter)).embed_texts(["um gato"]), load_clip(first["run"]).embed_texts(["um gato"])
    )
    other = tiny_clip(tmp_path / "other", seed=5)
    base = json.loads((adapter / "base.json").read_text())
    base["source"]["model"] = f"local-dir:{other}"
    (adapter / "base.json").write_text(json.dumps(base))
    with pytest.raises(CapivaraError, match=r"base\.json: damaged: its 'checksum' is not that") as caught:
        load_clip(str(adapter))
    assert "remove 'checksum' from it" in caught.value.hint
    del base["checksum"]
    (adapter / "base.json").write_text(json.dumps(base))
    with pytest.raises(CapivaraError, match="whose image tower has changed"):
        load_clip(str(adapter))
    with pytest.raises(CapivaraError, match="not an adapter"):
        run(options, data, name="two", continue_from=str(tiny))


def test_seeds_and_languages_apart(options: Options, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary = run(options, data, lang="pt,en", separately=True, seeds=2, val="8", val_every=6, keep_share=0.0)
    names = [Path(each["run"]).name for each in summary["runs"]]
    assert names == ["pt-seed0", "pt-seed1", "en-seed0", "en-seed1"]
    assert len({each["loss_last"] for each in summary["runs"]}) == 4
    said = capsys.readouterr().err
    assert "pt: 2 runs, loss" in said and "±" in said
    assert summary["read"] == 40
    assert len(list((Path(options.runs) / ".features").iterdir())) == 1


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"objective": "clap"}, "--objective clap"),
        ({"objective": "clip+siglip"}, "share the temperature"),
        ({"objective": "clip:-1"}, "--objective clip:-1"),
        ({"text_sampling": "weighted"}, "need each other"),
        ({"text_weights": "human=2"}, "need each other"),
        ({"text_sampling": "weighted", "text_weights": "human"}, "not AUTHOR=WEIGHT"),
        ({"patience": 3}, "needs --val"),
        ({"teacher": "toy"}, "--teacher needs --objective distill"),
        ({"log": "tensorbored"}, "--log: there is no tracker 'tensorbored'; .* did you mean tensorboard"),
        ({"peft": "full", "views": 2}, "--peft full"),
        ({"objective": "distill", "align": "native"}, "needs a term with images"),
    ],
)
def test_what_does_not_go_together_is_said_at_once(options: Options, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        check_options(changed(options, **changes))
        changed(options, **changes).check()


def two_processes(*words: str) -> list[bytes]:
    """Standard output of both processes of one command, started as ``torchrun --nproc-per-node 2`` starts them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [
        subprocess.Popen(
            [*CAPIVARA, *words, "--device", "cpu"],
            env={**os.environ, "OMP_NUM_THREADS": "1", "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2",
                 "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)},
            stdout=subprocess.PIPE,
        )
        for rank in (0, 1)
    ]  # fmt: skip
    outputs = [process.communicate(timeout=240)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    return outputs


def test_two_processes_train_several_runs(data: Path, tiny: Path, tmp_path: Path) -> None:
    """Every process stays for all runs; run again, they find all of them finished, and only the first one speaks."""
    words = [
        "train", str(data), "--lang", "pt,en", "--separately", "--model", f"local-dir:{tiny}", "--keep-share", "0",
        "--runs", str(tmp_path / "runs"), "--steps", "2", "--batch-size", "8", "--no-energy", "--json",
    ]  # fmt: skip
    for _ in range(2):
        outputs = two_processes(*words)
        assert [(each["lang"], each["steps"]) for each in json.loads(outputs[0])["runs"]] == [("pt", 2), ("en", 2)]
        assert outputs[1] == b""
    for lang in ("pt", "en"):
        assert RunDir(tmp_path / "runs" / lang).finished
        assert "2 steps of 8 pairs" in (tmp_path / "runs" / lang / "MODEL_CARD.md").read_text()


def test_two_processes_learn_what_one_does(options: Options, data: Path, tmp_path: Path) -> None:
    """gloo, torchrun's environment: same batches, summed gradients, one run folder written.

    Without dropout: the work is cut into other chunks, and each chunk draws its own.
    """
    options = changed(options, model=f"local-dir:{tiny_clip(tmp_path / 'sure', dropout=0.0)}")
    words = [
        "--lang", "pt", "--model", options.model, "--runs", str(tmp_path / "runs"), "--steps", "6",
        "--lr", "1e-2", "--min-lr", "1e-3", "--warmup", "1", "--checkpoint-every", "2",
        "--val", "8", "--val-every", "3",
    ]  # fmt: skip
    outputs = two_processes("train", str(data), *words, "--batch-size", "16", "--name", "two", "--json")
    assert json.loads(outputs[0])["steps"] == 6 and outputs[1] == b""
    alone = run(options, data, name="one", val="8", val_every=3)
    from capivara_cli.models.adapters.methods import read_state

    one, two = (read_state(tmp_path / "runs" / name / "adapter") for name in ("one", "two"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-6)
    both = RunDir(tmp_path / "runs" / "two")
    assert [line["loss"] for line in both.read_metrics()] == pytest.approx(
        [line["loss"] for line in lines(alone)], rel=1e-5
    )
    assert [line["tokens"] for line in both.read_metrics()] == [line["tokens"] for line in lines(alone)]
    records = ledger.read(tmp_path / "runs" / "two")
    assert [(each["stage"], bool(each["flops"]), "unfinished" in each) for each in records] == [
        ("train", True, False)
    ] * 2  # what the second process took is not lost


def test_metrics_go_to_tensorboard(options: Options, data: Path) -> None:
    pytest.importorskip("tensorboard")
    summary = run(options, data, log="tensorboard", steps=2)
    assert list((Path(summary["run"]) / "tensorboard").glob("events.out.*"))


def test_a_full_disk_keeps_the_last_good_checkpoint(
    options: Options, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = RunDir.save_checkpoint

    def full(self: RunDir, step: int, content: bytes) -> None:
        if step == 4:
            (self.checkpoints / ".step-000004.pt.partial-1-x").write_bytes(content[:100])
            raise OSError(28, "No space left on device")
        saved(self, step, content)

    monkeypatch.setattr(RunDir, "save_checkpoint", full)
    with pytest.raises(OSError, match="No space left"):
        run(options, data)
    folder = Path(options.runs) / "pt"
    assert RunDir(folder).checkpoint_steps() == [2]
    monkeypatch.undo()
    assert run(options, data)["steps"] == 6
    clean = run(options, data, name="clean")
    assert [line["loss"] for line in lines(clean)] == [line["loss"] for line in RunDir(folder).read_metrics()]
