"""Whole runs of a tiny model: what they leave, resuming bit for bit, and refusing what would mislead."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.tiny import pairs
from support.warm import CAPIVARA

from capivara_cli.commands.train import Options, train
from capivara_cli.errors import CapivaraError, Terminated, UsageError, stored_before
from capivara_cli.models.adapters.peft_backed import checkpoint_gradients
from capivara_cli.models.clip import load_clip
from capivara_cli.models.run_folder import RunDir, open_run
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings, build, changed
from capivara_cli.reports import card as cards
from capivara_cli.training.memory import saved_bytes

STEPS, LAST_REACHED = 20, 16
KILLABLE = f"""
import time
from capivara_cli.__main__ import main
from capivara_cli.training.loop import Trainer
step = Trainer._step
def before_its_end(self, number):
    if number == {LAST_REACHED}:
        time.sleep(600)
    return step(self, number)
Trainer._step = before_its_end
main()
"""
"""``capivara``, which waits long before its end to be killed, however late the test comes to do so."""


@pytest.fixture
def options(tiny: Path, tmp_path: Path) -> Options:
    return build(
        Options,
        lang="pt",
        model=f"local-dir:{tiny}",
        runs=str(tmp_path / "runs"),
        steps=12,
        batch_size=16,
        lr=1e-2,
        min_lr=1e-3,
        warmup=2,
        checkpoint_every=5,
    )


def run(options: Options, folder: Path, **changes: Any) -> dict[str, Any]:
    return train.run([str(folder)], changed(options, **changes), Env(Settings(), "train"))


def losses(folder: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl without the clock."""
    return [{key: value for key, value in line.items() if key != "timing"} for line in RunDir(folder).read_metrics()]


def adapter(folder: Path) -> str:
    return hashlib.sha256((folder / "adapter" / "adapter_model.safetensors").read_bytes()).hexdigest()


@pytest.mark.usefixtures("curves_are_drawn")
def test_a_run_leaves_what_it_promises(
    options: Options, shards: Callable[..., Path], tiny: Path, tmp_path: Path
) -> None:
    summary = run(options, shards(pairs(20), pairs(20, seed=1)), steps=60, keep_weight=1.0, keep_share=0.2)
    folder = tmp_path / "runs" / "pt"
    assert summary["run"] == str(folder)
    assert (summary["steps"], summary["batch_size"], summary["samples"], summary["read"]) == (60, 16, 40, 40)
    assert summary["captions"] == {"en": 60, "pt": 60}
    assert summary["notes"] == {"images embedded here": 40}
    lora, projection = 2 * 2 * 2 * 8 * 32, 32 * 24 + 24 * 16
    assert summary["trainable"] == lora + projection + 1
    assert summary["total"] == sum(each.numel() for each in load_clip(str(tiny)).model.parameters())
    assert summary["loss_last"] < 0.8 * summary["loss_first"]
    lines = losses(folder)
    assert [line["step"] for line in lines] == list(range(1, 61))
    assert (lines[0]["loss"], lines[-1]["loss"]) == (summary["loss_first"], summary["loss_last"])
    assert [line["lr"] for line in lines[:3]] == pytest.approx([1e-3, 5.5e-3, 1e-2])
    assert all(line["tokens"] <= line["padded"] for line in lines)
    assert [path.name for path in sorted((folder / "checkpoints").iterdir())] == ["step-000055.pt", "step-000060.pt"]
    assert (folder / "curve.png").stat().st_size > 10_000
    document = json.loads((folder / "run.json").read_text())
    assert document["finished"] is True and document["step"] == 60
    assert document["adapter_sha256"] == adapter(folder)
    card = cards.of_folder(folder)
    assert "language: [pt]" in card and "60 captions in pt" in card and "60 steps of 16 pairs, 3 of them in en" in card


def test_what_was_learned_is_what_loads(
    options: Options, shards: Callable[..., Path], tiny: Path, tmp_path: Path
) -> None:
    """The adapted model ranks its own training pairs better than its base, and images stay where they were."""
    import numpy as np

    samples = pairs(16)
    run(options, shards(samples), steps=80, keep_share=0.0)
    base, adapted = load_clip(str(tiny)), load_clip(str(tmp_path / "runs" / "pt"))
    from capivara_cli.shards.images import decode_image

    images = base.embed_images([base.preprocess(decode_image(sample)) for sample in samples])
    np.testing.assert_array_equal(
        images, adapted.embed_images([adapted.preprocess(decode_image(sample)) for sample in samples])
    )
    texts = [next(caption.text for caption in sample.captions if caption.lang == "pt") for sample in samples]

    def matched(clip: Any) -> float:
        similarities = clip.embed_texts(texts) @ images.T
        return float(np.mean(similarities.diagonal() - similarities.mean(axis=1)))

    assert matched(adapted) > matched(base) + 0.05
    assert adapted.identity == base.identity
    assert adapted.text_digest != base.text_digest


def test_the_same_command_twice_is_the_same_run(options: Options, shards: Callable[..., Path], tmp_path: Path) -> None:
    data = shards(pairs(20))
    first, second = run(options, data, name="one"), run(options, data, name="two")
    assert losses(tmp_path / "runs" / "one") == losses(tmp_path / "runs" / "two")
    assert adapter(tmp_path / "runs" / "one") == adapter(tmp_path / "runs" / "two")
    again = run(options, data, name="one")
    assert again.pop("up_to_date") is True and "up_to_date" not in second
    assert {**again, "notes": first["notes"]} == first
    assert again["loss_last"] == second["loss_last"]


def test_killed_and_resumed_is_the_uninterrupted_run_bit_for_bit(
    options: Options, shards: Callable[..., Path], tmp_path: Path
) -> None:
    data = shards(pairs(24))
    asked = changed(options, steps=STEPS)
    run(asked, data, name="clean")
    clean, killed = tmp_path / "runs" / "clean", tmp_path / "runs" / "killed"
    words = [
        "train", str(data), "--lang", "pt", "--model", options.model, "--runs", options.runs, "--name", "killed",
        "--steps", str(STEPS), "--batch-size", "16", "--lr", "1e-2", "--min-lr", "1e-3", "--warmup", "2",
        "--checkpoint-every", "5", "--device", "cpu", "--no-energy",
    ]  # fmt: skip
    process = subprocess.Popen([*CAPIVARA, "-c", KILLABLE, *words], stdout=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while len(RunDir(killed).read_metrics()) < 7 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()  # until the end of standard output: the process of the warm server is gone too
    assert process.returncode == -signal.SIGKILL
    done = len(losses(killed))
    assert 7 <= done <= LAST_REACHED
    with pytest.raises(CapivaraError, match=f"unfinished: step \\d+ of {STEPS}"):
        load_clip(str(killed))

    run(asked, data, name="killed")
    assert losses(killed) == losses(clean)
    assert adapter(killed) == adapter(clean)
    assert RunDir(killed).document["logit_scale"] == RunDir(clean).document["logit_scale"]


def test_ctrl_c_saves_a_checkpoint_and_is_raised(
    options: Options, shards: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from capivara_cli.training.loop import Trainer

    data, folder = shards(pairs(20)), tmp_path / "runs" / "pt"
    run(options, data, name="clean")
    step = Trainer._step

    def interrupted(self: Trainer, number: int) -> dict[str, Any]:
        if number == 7:
            signal.raise_signal(signal.SIGINT)
        return step(self, number)

    monkeypatch.setattr(Trainer, "_step", interrupted)
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt) as stop:
        run(options, data)
    assert stored_before(stop.value) == f"{folder} is saved at step 8; run the same command again to resume"
    assert signal.getsignal(signal.SIGINT) is handler
    assert RunDir(folder).checkpoint_steps() == [5, 8]  # step 8 was finished first
    monkeypatch.setattr(Trainer, "_step", step)
    run(options, data)
    assert losses(folder) == losses(tmp_path / "runs" / "clean")
    assert adapter(folder) == adapter(tmp_path / "runs" / "clean")


@pytest.mark.parametrize(("at", "said"), [(3, ""), (7, "is saved at step 5; run the same command again to resume")])
def test_a_terminated_run_says_which_checkpoint_it_has(
    at: int, said: str, options: Options, shards: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from capivara_cli.training.loop import Trainer

    step = Trainer._step

    def terminated(self: Trainer, number: int) -> dict[str, Any]:
        if number == at:
            raise Terminated
        return step(self, number)

    monkeypatch.setattr(Trainer, "_step", terminated)
    with pytest.raises(Terminated) as stop:
        run(options, shards(pairs(20)))
    folder = tmp_path / "runs" / "pt"
    assert stored_before(stop.value) == (f"{folder} {said}" if said else "")
    with pytest.raises(CapivaraError, match="unfinished: step") as unfinished:
        open_run(folder)
    assert unfinished.value.hint.endswith("again to resume it") == bool(said)


def test_outside_the_main_thread_training_works_too(options: Options, shards: Callable[..., Path]) -> None:
    data, results = shards(pairs(20)), []
    thread = threading.Thread(target=lambda: results.append(run(options, data, steps=2)))
    thread.start()
    thread.join()
    assert results[0]["steps"] == 2


def test_another_request_or_other_data_in_the_same_folder_is_refused(
    options: Options, shards: Callable[..., Path]
) -> None:
    data = shards(pairs(20))
    run(options, data, steps=2)
    with pytest.raises(CapivaraError, match=r"holds a run with --lr 0.01, now it is --lr 0.02") as caught:
        run(options, data, steps=2, lr=0.02)
    assert "--name" in caught.value.hint
    with pytest.raises(CapivaraError, match="was trained on other data"):
        run(options, shards(pairs(20, seed=5), name="others"), steps=2)
    run(options, data, steps=2, checkpoint_every=1)  # decides nothing about the result


def test_an_unfinished_run_refuses_other_data(options: Options, shards: Callable[..., Path], tmp_path: Path) -> None:
    data, folder = shards(pairs(20)), tmp_path / "runs" / "pt"
    run(options, data)
    RunDir(folder).save(finished=False)
    with pytest.raises(CapivaraError, match="was trained on other data"):
        run(options, shards(pairs(20, seed=5), name="others"))


def test_a_run_without_a_saved_step_is_started_anew(
    options: Options, shards: Callable[..., Path], tmp_path: Path
) -> None:
    data = shards(pairs(20))
    with pytest.raises(CapivaraError, match="is not enough"):
        run(options, data, memory="1MB")
    assert RunDir(tmp_path / "runs" / "pt").document["request"]["lr"] == options.schedule.lr
    assert run(options, shards(pairs(24), name="other"), lr=3e-3)["samples"] == 24


def test_a_folder_that_is_no_run_is_left_alone(options: Options, shards: Callable[..., Path], tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "pt"
    folder.mkdir(parents=True)
    (folder / "thesis.tex").write_text("precious")
    with pytest.raises(CapivaraError, match="not empty, and not a run"):
        run(options, shards(pairs(4)))
    assert [path.name for path in folder.iterdir()] == ["thesis.tex"]


def test_a_changed_base_is_refused(options: Options, shards: Callable[..., Path], tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    base = shutil.copytree(options.model.removeprefix("local-dir:"), tmp_path / "base")
    run(options, shards(pairs(20)), steps=2, model=f"local-dir:{base}")
    load_clip(str(tmp_path / "runs" / "pt"))
    weights = load_file(base / "open_clip_model.safetensors")
    weights["text.proj.0.weight"] += 1
    save_file(weights, base / "open_clip_model.safetensors")
    with pytest.raises(CapivaraError, match="whose text tower has changed"):
        load_clip(str(tmp_path / "runs" / "pt"))


def test_a_run_can_be_the_base_of_another(options: Options, shards: Callable[..., Path], tmp_path: Path) -> None:
    data = shards(pairs(20))
    run(options, data, name="one")
    run(options, data, name="two", lang="en", keep_lang="pt", model=str(tmp_path / "runs" / "one"))
    one, two = (load_clip(str(tmp_path / "runs" / name)) for name in ("one", "two"))
    assert one.identity == two.identity
    assert abs(one.embed_texts(["um gato"]) - two.embed_texts(["um gato"])).max() > 1e-3


def test_small_data_is_used_and_said(
    options: Options, shards: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    summary = run(options, shards(pairs(5, "pt")), batch_size=1000, steps=3, warmup=250)
    said = capsys.readouterr()
    assert summary["batch_size"] == 5
    assert "batches have 5 pairs instead of 1,000: there are too few images" in said.err
    assert "warm-up of 0 steps, not 250: there are 3 steps in all" in said.err
    assert "no captions in en, so the model may forget these languages" in said.err
    assert "trained 3,201 of" in said.err
    assert said.out == ""
    with pytest.raises(CapivaraError, match="at least two images"):
        run(options, shards(pairs(1), name="one"), name="one")


def test_the_language_must_be_named_and_known(options: Options, shards: Callable[..., Path], tmp_path: Path) -> None:
    data = shards(pairs(4))
    with pytest.raises(UsageError, match="which language"):
        run(options, data, lang="")
    with pytest.raises(CapivaraError, match="no captions in xh; there are en"):
        run(options, data, lang="xh")
    assert not (tmp_path / "runs" / "xh").exists()
    assert Options(lang="Hindi,xho,kgp").languages == ["hi", "xh", "kgp"]
    assert Options(lang="en,hi").kept == []


def test_gradient_checkpointing_changes_nothing_but_memory(
    options: Options, shards: Callable[..., Path], tmp_path: Path
) -> None:
    data = shards(pairs(20))
    run(options, data, name="plain", steps=4)
    run(options, data, name="checkpointed", steps=4, grad_checkpointing=True)
    plain, checkpointed = (losses(tmp_path / "runs" / name) for name in ("plain", "checkpointed"))
    assert [line["loss"] for line in checkpointed] == pytest.approx([line["loss"] for line in plain], rel=1e-5)


def test_gradient_checkpointing_keeps_less(tiny: Path) -> None:
    clip = load_clip(f"local-dir:{tiny}")
    text = clip.model.text.requires_grad_(True).train()
    tokens = clip.pad(clip.tokenize(["a red dog on the house"] * 8))
    plain = saved_bytes(lambda: text(tokens), text)
    checkpoint_gradients(text)
    assert saved_bytes(lambda: text(tokens), text) < plain / 4


def test_temperature_can_be_set_and_frozen(options: Options, shards: Callable[..., Path], tmp_path: Path) -> None:
    summary = run(options, shards(pairs(20)), temperature=0.05, learn_temperature=False)
    assert RunDir(tmp_path / "runs" / "pt").document["logit_scale"] == pytest.approx(2.9957, abs=1e-4)
    assert summary["trainable"] == 3200
