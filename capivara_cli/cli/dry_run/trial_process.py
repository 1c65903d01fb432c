"""A plan, or some steps of training, on a few samples in a process of its own: asked on standard input, answers on
standard output, a line of JSON for each thing that was measured.

A process of its own can be ended when it takes too long, and its memory is that of the work alone. It writes to a
temporary folder only, downloads nothing, and asks no service.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from capivara_cli import console
from capivara_cli.cli.dry_run.census import Tallied
from capivara_cli.cli.dry_run.offline import is_absent, refuse_network
from capivara_cli.errors import CapivaraError
from capivara_cli.pipeline.chain import Chain
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings, build, changed
from capivara_cli.pipeline.stage import Step
from capivara_cli.pipeline.stream import streamed
from capivara_cli.registry import load_command
from capivara_cli.shards.archive import ShardWriter, reading
from capivara_cli.shards.sample import Sample

Say = Callable[[dict[str, Any]], None]
_WARM = 4
"""Samples, after the first, which waits for the model, and before the rest, whose number depends on their speed."""
TRAINING_STEPS = 4


def main() -> None:
    """Answer the request on standard input."""
    request = json.load(sys.stdin)
    console.be_quiet(True)
    with open(console.claim_stdout(), "w", encoding="utf-8", buffering=1, closefd=False) as out:

        def say(answer: dict[str, Any]) -> None:
            out.write(json.dumps(answer) + "\n")

        before, steps = _steps(request["before"]), _steps(request["steps"])
        begins = any(step.stage.begins for step in (*before, *steps))
        samples = [] if begins else list(_read(request["sources"], request["count"]))
        refused = refuse_network()
        try:
            _Trial(request, say).run(before, steps, samples)
        except CapivaraError as error:
            missing = is_absent(error, refused)
            say({"error": error.message, "hint": error.hint, "code": error.exit_code, "missing": missing})


def _steps(described: Sequence[dict[str, Any]]) -> list[Step]:
    return [Step(stage := load_command(each["step"]), build(stage.options, **each["options"])) for each in described]  # type: ignore[arg-type]


def _read(sources: Sequence[str], count: int) -> Iterator[Sample]:
    left = count
    for shard in sources:
        with reading(shard) as reader:
            for sample in itertools.islice(reader, left):
                yield sample
                left -= 1
        if not left:
            return


class _Trial:
    """What is asked, and the models that steps share."""

    def __init__(self, request: dict[str, Any], say: Say) -> None:
        self.request, self.say = request, say
        self.settings = Settings(device=request["device"], seed=request["seed"], energy=False, quiet=True)
        self.models: dict[Any, Any] = {}

    def run(self, before: list[Step], steps: list[Step], samples: list[Sample]) -> None:
        ahead = time.monotonic() + self.request["seconds"]
        for step in before:
            samples = self._through(step, samples)
        for number, step in enumerate(steps):
            share = max(0.0, ahead - time.monotonic()) / (len(steps) - number + bool(self.request["train"]))
            samples = self._packed(number, step) if step.stage.begins else self._timed(number, step, samples, share)
        if self.request["train"]:
            self.say(_trained(self.request["train"], samples, self.settings))

    def _chain(self, step: Step) -> Chain:
        chain = Chain([step], self.settings)
        chain.envs[0].models = self.models
        chain.envs[0].inputs = self.request["sources"]
        return chain

    def _through(self, step: Step, samples: list[Sample]) -> list[Sample]:
        """The samples after a step that is not measured; a split, which would leave few of few, lets all pass."""
        if step.name == "split":
            return samples
        return list(itertools.islice(streamed(self._chain(step), iter(samples)), self.request["count"]))

    def _timed(self, number: int, step: Step, samples: list[Sample], seconds: float) -> list[Sample]:
        """The samples after a step; what was measured is said after each part of them, as it is known."""
        chain = self._chain(step)
        before, after, made = Tallied(), Tallied(), list[Sample]()
        busy, done, first, spent = 0.0, 0, 0.0, 0.0
        for start, stop in ((0, 1), (1, 1 + _WARM), (1 + _WARM, len(samples))):
            if done > 1:
                stop = min(stop, start + int(seconds / max(busy / (done - 1), 1e-9)))
            part = samples[start:stop]
            if not part:
                break
            began, worked = time.monotonic(), time.process_time()
            out = list(streamed(chain, iter(part)))
            took = time.monotonic() - began
            done += len(part)
            if start == 0:
                first = took
            else:
                busy, spent = busy + took, spent + time.process_time() - worked
            made += out
            before.add_all(part)
            after.add_all(out)
            if start:
                each = busy / (done - 1)
                self.say(_measured(number, Speed(done, max(0.0, first - each), each, spent / busy), before, after))
        return samples if step.name == "split" else made

    def _packed(self, number: int, step: Step) -> list[Sample]:
        began, worked, after = time.monotonic(), time.process_time(), Tallied()
        made = list(itertools.islice(streamed(self._chain(step), iter(())), self.request["count"]))
        took, spent = time.monotonic() - began, time.process_time() - worked
        after.add_all(made)
        if made:
            self.say(_measured(number, Speed(len(made), 0.0, took / len(made), spent / took), Tallied(), after))
        return made


class Speed(NamedTuple):
    """Samples, seconds before the first of them and for each, and how many threads were busy."""

    samples: int
    start: float
    each: float
    threads: float


def _measured(number: int, speed: Speed, before: Tallied, after: Tallied) -> dict[str, Any]:
    means = {"before": _means(before), "after": _means(after)}
    return {"step": number, **speed._asdict(), "peak": _peak(), **means}


def _means(tallied: Tallied) -> dict[str, Any]:
    captions = [[*kind, count] for kind, count in tallied.captions.items()]
    return {"samples": tallied.samples, "bytes": tallied.bytes, "captions": captions}


def _peak() -> int:
    """Most bytes this process has had. Linux's ``ru_maxrss`` is also that of the process which started it."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return int(torch.cuda.max_memory_allocated())
    status = Path("/proc/self/status")
    if status.is_file():
        found = re.search(r"^VmHWM:\s*(\d+) kB", status.read_text("utf-8"), re.MULTILINE)
        return int(found[1]) * 1024 if found else 0
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _trained(asked: dict[str, Any], samples: list[Sample], settings: Settings) -> dict[str, Any]:
    """Some steps of training in a temporary folder: seconds of loading, of the features, and of a step."""
    from capivara_cli.models.run_folder import RunDir
    from capivara_cli.pipeline.source import Source
    from capivara_cli.training.options import Options
    from capivara_cli.training.session import Session

    parts = dict[str, tuple[float, float]]()

    @contextlib.contextmanager
    def timed(part: str) -> Iterator[None]:
        began, worked = time.monotonic(), time.process_time()
        yield
        parts[part] = time.monotonic() - began, time.process_time() - worked

    with tempfile.TemporaryDirectory() as folder:
        shard = Path(folder) / "trial.tar"
        with open(shard, "wb") as out:
            writer = ShardWriter(out, [])
            for sample in samples:
                writer.write(sample)
            writer.finish()
        options = build(Options, **asked)
        size = min(options.schedule.batch_size, max(2, len(samples)))
        small = changed(
            options, steps=TRAINING_STEPS, batch_size=size, val="",
            patience=0, log="", checkpoint_every=0, shots=0, separately=False, lang=options.languages[0],
        )  # fmt: skip
        env = Env(settings, "train")
        run = RunDir(Path(folder) / "run")
        Session(small, run, Source([str(shard)], env), env, {}, timed).run()
        lines = run.read_metrics()
        return {
            "train": True,
            "loading": parts["load"][0],
            "reading": parts["features"][0],
            "samples": len(samples),
            "embedded": env.tally.notes["images embedded here"],
            "pairs": run.document["batch"]["size"],
            "seconds": [line["timing"]["seconds"] for line in lines[1:]],
            "parameters": {key: run.document["parameters"][key] for key in ("trainable", "total")},
            "threads": parts["train"][1] / parts["train"][0],
            "peak": _peak(),
        }


if __name__ == "__main__":
    main()
