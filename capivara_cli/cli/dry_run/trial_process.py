"""The program of a trial: it runs a plan, or some steps of training, on a few samples.

The request comes on standard input. Answers go to standard output, one line of JSON per measurement. A separate process
can be killed when it takes too long, and its memory is that of the work alone. It writes only to a temporary folder,
downloads nothing, and calls no service.
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
from capivara_cli.cli.dry_run.census import EvalSetSource, SampleSums
from capivara_cli.cli.dry_run.offline import is_missing_download, refuse_network
from capivara_cli.cli.dry_run.trial_client import TrainingTrial
from capivara_cli.costs.costs import Costs
from capivara_cli.costs.footprint import JOULES_PER_KWH
from capivara_cli.costs.meter import Meter
from capivara_cli.errors import CapivaraError
from capivara_cli.evaluation import catalogue
from capivara_cli.pipeline.chain import Chain
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings, build, changed
from capivara_cli.pipeline.stage import Step
from capivara_cli.pipeline.stream import streamed
from capivara_cli.registry import load_command
from capivara_cli.shards.archive import ShardWriter, open_shard
from capivara_cli.shards.sample import Sample

Say = Callable[[dict[str, Any]], None]
_WARM = 4
"""Samples that are timed first, to choose the number of the others."""
TRAINING_STEPS = 4


def main() -> None:
    """Answer the request on standard input."""
    request = json.load(sys.stdin)
    console.be_quiet(True)
    before, steps = _steps(request["before"]), _steps(request["steps"])
    begins = any(step.stage.begins for step in (*before, *steps)) or request["evalset"]
    samples = [] if begins else list(_read(request["sources"], request["count"]))  # before the network is refused
    refused = refuse_network()
    with open(console.claim_stdout(), "w", encoding="utf-8", buffering=1, closefd=False) as out:

        def say(answer: dict[str, Any]) -> None:
            out.write(json.dumps(answer) + "\n")

        with Costs().meter("trial", now=True, modelled=True) as meter:
            try:
                _Trial(request, say, meter).run(before, steps, samples)
            except CapivaraError as error:
                missing = is_missing_download(error, refused)
                say({"error": error.message, "hint": error.hint, "code": error.exit_code, "missing": missing})


def _steps(described: Sequence[dict[str, Any]]) -> list[Step]:
    return [Step(stage := load_command(each["step"]), build(stage.options, **each["options"])) for each in described]  # type: ignore[arg-type]


def _read(sources: Sequence[str], count: int) -> Iterator[Sample]:
    left = count
    for shard in sources:
        with open_shard(shard) as reader:
            for sample in itertools.islice(reader, left):
                yield sample
                left -= 1
        if not left:
            return


class Speed(NamedTuple):
    """The number of samples, the seconds before the first and per sample, and the mean power in watts."""

    samples: int
    start: float
    each: float
    watts: float


class _Trial:
    """The request, and the models that its steps share."""

    def __init__(self, request: dict[str, Any], say: Say, meter: Meter) -> None:
        self.request, self.say, self.meter = request, say, meter
        self.settings = Settings(device=request["device"], seed=request["seed"], energy=False, quiet=True)
        self.models: dict[Any, Any] = {}

    def run(self, before: list[Step], steps: list[Step], samples: list[Sample]) -> None:
        """Measure each of the ``steps``, then training. The samples go through the steps ``before`` first."""
        if self.request["evalset"] is not None:
            samples = self._read_set(EvalSetSource(**self.request["evalset"]))
        deadline = time.monotonic() + self.request["seconds"]
        for step in before:
            samples = self._through(step, samples)
        for number, step in enumerate(steps):
            share = max(0.0, deadline - time.monotonic()) / (len(steps) - number + bool(self.request["train"]))
            samples = self._packed(number, step) if step.stage.begins else self._timed(number, step, samples, share)
        if self.request["train"]:
            self.say({"train": _trained(self.request["train"], samples, self.settings, self.meter)})

    def _read_set(self, source: EvalSetSource) -> list[Sample]:
        """The first samples of an eval set; its number of samples is an answer."""
        env = Env(self.settings, "eval")
        found = catalogue.load(source.spec, lang=source.lang, data=source.data, split=source.split, env=env)
        every, seen = iter(found.samples), SampleSums()
        samples = list(itertools.islice(every, self.request["count"]))
        seen.add_all(samples)
        self.say({"counted": len(samples) + sum(1 for _ in every), "means": _means(seen)})
        return samples

    def _joules(self) -> float:
        return self.meter.so_far().kwh * JOULES_PER_KWH

    def _chain(self, step: Step) -> Chain:
        chain = Chain([step], self.settings)
        chain.envs[0].models = self.models
        chain.envs[0].inputs = self.request["sources"]
        return chain

    def _through(self, step: Step, samples: list[Sample]) -> list[Sample]:
        """The samples after a step that is not measured. ``split`` is skipped: it would leave too few of them."""
        if step.stage.keeps:
            return samples
        return list(itertools.islice(streamed(self._chain(step), iter(samples)), self.request["count"]))

    def _timed(self, number: int, step: Step, samples: list[Sample], seconds: float) -> list[Sample]:
        """Measure a step; return the samples after it. Each part gives an answer, because the trial may be killed.

        The first sample waits for the model. The size of the last part depends on the speed of the one before.
        """
        chain = self._chain(step)
        before, after, results = SampleSums(), SampleSums(), list[Sample]()
        busy, done, first, joules = 0.0, 0, 0.0, 0.0
        for start, stop in ((0, 1), (1, 1 + _WARM), (1 + _WARM, len(samples))):
            if done > 1:
                stop = min(stop, start + int(seconds / max(busy / (done - 1), 1e-9)))
            part = samples[start:stop]
            if not part:
                break
            energy, began = self._joules(), time.monotonic()
            out = list(streamed(chain, iter(part)))
            took, energy = time.monotonic() - began, self._joules() - energy
            done += len(part)
            if start == 0:
                first = took
            else:
                busy, joules = busy + took, joules + energy
            results += out
            before.add_all(part)
            after.add_all(out)
            if start:
                each = busy / (done - 1)
                self.say(_measured(number, Speed(done, max(0.0, first - each), each, joules / busy), before, after))
        return samples if step.stage.keeps else results

    def _packed(self, number: int, step: Step) -> list[Sample]:
        energy, began, after = self._joules(), time.monotonic(), SampleSums()
        samples = list(itertools.islice(streamed(self._chain(step), iter(())), self.request["count"]))
        took, energy = time.monotonic() - began, self._joules() - energy
        after.add_all(samples)
        if samples:
            speed = Speed(len(samples), 0.0, took / len(samples), energy / took)
            self.say(_measured(number, speed, SampleSums(), after))
        return samples


def _measured(number: int, speed: Speed, before: SampleSums, after: SampleSums) -> dict[str, Any]:
    means = {"before": _means(before), "after": _means(after)}
    return {"step": number, **speed._asdict(), "peak": _peak(), **means}


def _means(tallied: SampleSums) -> dict[str, Any]:
    captions = [[*kind, count] for kind, count in tallied.captions.items()]
    return {"samples": tallied.samples, "bytes": tallied.bytes, "captions": captions}


def _peak() -> int:
    """Peak memory of this process in bytes. On Linux ``ru_maxrss`` would include the process that started it."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return int(torch.cuda.max_memory_allocated())
    status = Path("/proc/self/status")
    if status.is_file():
        found = re.search(r"^VmHWM:\s*(\d+) kB", status.read_text("utf-8"), re.MULTILINE)
        return int(found[1]) * 1024 if found else 0
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _trained(values: dict[str, Any], samples: list[Sample], settings: Settings, meter: Meter) -> TrainingTrial:
    """Measure some steps of training in a temporary folder; ``values`` are the options."""
    from capivara_cli.models.run_folder import RunDir
    from capivara_cli.pipeline.source import Source
    from capivara_cli.training.options import Options
    from capivara_cli.training.session import Session
    from capivara_cli.training.store import FOLDER

    seconds, joules = dict[str, float](), dict[str, float]()

    @contextlib.contextmanager
    def timed(part: str) -> Iterator[None]:
        energy, began = meter.so_far().kwh, time.monotonic()
        yield
        seconds[part] = time.monotonic() - began
        joules[part] = (meter.so_far().kwh - energy) * JOULES_PER_KWH

    with tempfile.TemporaryDirectory() as folder:
        shard = Path(folder) / "trial.tar"
        _write(shard, samples)
        options = build(Options, **values)
        size = min(options.schedule.batch_size, max(2, len(samples)))
        checkpoint = TRAINING_STEPS - 1 if options.resources.checkpoint_every else 0
        small = changed(
            options, steps=TRAINING_STEPS, batch_size=size, val="", patience=0, log="", checkpoint_every=checkpoint,
            shots=0, separately=False, lang=options.languages[0],
        )  # fmt: skip
        env = Env(settings, "train")
        run = RunDir(Path(folder) / "run")
        Session(small, run, Source([str(shard)], env), env, {}, timed).run()
        checkpoints = _size(run.checkpoints)
        return {
            "samples": len(samples),
            "loading": seconds["load"],
            "features": seconds["features"],
            "steps": [line["timing"]["seconds"] for line in run.read_metrics()[1:]],
            "pairs": run.document["batch"]["size"],
            "watts": joules["train"] / seconds["train"],
            "store_bytes": _size(Path(folder) / FOLDER),
            "run_bytes": _size(run.path) - checkpoints,
            "checkpoint_bytes": checkpoints,
            "peak": _peak(),
        }


def _write(shard: Path, samples: Sequence[Sample]) -> None:
    with open(shard, "wb") as out:
        writer = ShardWriter(out, [])
        for sample in samples:
            writer.write(sample)
        writer.finish()


def _size(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
