"""The passes of a plan over a folder of shards: one, and up to three more before each stage that sees all samples.

A plan is cut before a stage that has to see all samples. What comes before the cut is written to ``OUT/.corpus-K/``;
there each shard is surveyed, one process decides about all of them, and the rest of the plan runs with what was
decided. Every pass is a folder of files that processes share, so a killed run goes on from what is there.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from capivara_cli.pipeline.books import Watch, counts, tally_of
from capivara_cli.pipeline.chain import Chain
from capivara_cli.pipeline.corpus_stages import corpus_of, one_per_shard, parts_of, survey_env
from capivara_cli.pipeline.fingerprint import input_identities
from capivara_cli.pipeline.journal import Journal
from capivara_cli.pipeline.one_shard import Known, one_shard
from capivara_cli.pipeline.output_folder import Contents, Done, Entry, Make, SharedFolder
from capivara_cli.pipeline.stage import Arrays
from capivara_cli.shards.archive import ShardReader, reading
from capivara_cli.shards.sample import Sample
from capivara_cli.storage.claims import Claim
from capivara_cli.storage.files import replacing


@dataclass
class Pass:
    """One pass: the files that it makes, and how it makes one. ``last`` makes the result."""

    files: SharedFolder
    make: Make
    last: bool = False

    def attempt(self, index: int) -> bool:
        return self.files.attempt(self.make, index)


class Passes:
    """All passes of a plan over the shards, in order; ``out`` is the folder that the last one fills."""

    def __init__(
        self, chain: Chain, shards: Sequence[str], names: Sequence[str], folder: Path, watch: Watch,
        mark: str, dead: frozenset[str] = frozenset(),
    ) -> None:  # fmt: skip
        self.chain, self.shards, self.names, self.folder, self.mark = chain, shards, names, folder, mark
        self._watch, self._dead = watch, dead
        self._plan = chain.described
        self._own = input_identities(shards)
        digest = hashlib.sha256(json.dumps(self._own, sort_keys=True).encode()).hexdigest()
        self._all: list[Entry] = [{**identity, "corpus": digest} for identity in self._own]
        self.list = list(self._passes())
        self.out = self.list[-1].files

    def _passes(self) -> Iterator[Pass]:
        first, *cut = parts_of(self.chain)
        inputs, shards, before = self._own, list(self.shards), None
        if not cut:
            yield self._map(first, shards, self.folder, inputs, None, None, last=True)
            return
        for number, part in enumerate(cut, start=1):
            folder = self.folder / f".corpus-{number}"
            if first.steps or number > 1:
                made = self._map(first, shards, folder, inputs, before, self._known(number - 1), last=False)
                yield made
                shards, before = [str(folder / name) for name in self.names], made.files
            yield self._survey(part, shards, folder, inputs)
            yield self._decision(part, folder)
            inputs, first = self._all, part
        yield self._map(first, shards, self.folder, inputs, before, self._known(len(cut)), last=True)

    def _files(self, folder: Path, names: Sequence[str], inputs: Sequence[Entry], file: str = "") -> SharedFolder:
        contents = Contents(self._plan, self.mark, names, inputs)
        return SharedFolder(folder, replace(contents, file=file) if file else contents, self._dead)

    def _known(self, number: int) -> Callable[[str], Known] | None:
        if number == 0:
            return None
        folder = self.folder / f".corpus-{number}"
        return lambda name: (_load(folder / f"{name}.survey.npz"), _load(folder / f"{name}.decision.npz"))

    def _map(
        self, part: Chain, shards: Sequence[str], folder: Path, inputs: Sequence[Entry], before: SharedFolder | None,
        known: Callable[[str], Known] | None, last: bool,
    ) -> Pass:  # fmt: skip
        """Every shard through some steps; its line of the manifest counts those before, too."""

        def make(index: int, claim: Claim) -> Done:
            name, identity = self.names[index], inputs[index]
            self._watch.started(name)
            earlier = [tally_of(each) for each in before.entry(name)["steps"]] if before else []
            with part.journaled(Journal(folder / name, {"fingerprint": self.mark, "input": identity})):
                made = one_shard(part, shards[index], folder / name, claim, self._watch, known and known(name))
            tallies = earlier + made.tallies
            entry = {
                "shard": name,
                "input": identity,
                "read": tallies[0].read,
                "written": tallies[-1].written,
                "bytes": made.size,
                "steps": [counts(tally) | ({} if last else {"failed": tally.failed}) for tally in tallies],
            }
            return Done(entry, partial(self._watch.finished, name, tallies) if last else None)

        return Pass(self._files(folder, self.names, inputs), make, last)

    def _survey(self, part: Chain, shards: Sequence[str], folder: Path, inputs: Sequence[Entry]) -> Pass:
        corpus, step = corpus_of(part), part.steps[0]
        names = [f"{name}.survey.npz" for name in self.names]

        def make(index: int, claim: Claim) -> Done:
            self._watch.started(self.names[index])
            env = survey_env(part)
            journal = Journal(folder / names[index], {"fingerprint": self.mark, "input": inputs[index]})
            env.journal = journal
            with reading(shards[index]) as reader, env.costs.steps.at(env.number):
                arrays = corpus.survey(_advancing(reader, self._watch), step.options, env)
            journal.close()
            _save(folder / names[index], arrays, claim)
            return Done({"shard": names[index], "input": inputs[index]})

        return Pass(self._files(folder, names, inputs, "surveys.jsonl"), make)

    def _decision(self, part: Chain, folder: Path) -> Pass:
        corpus, step = corpus_of(part), part.steps[0]

        def make(index: int, claim: Claim) -> Done:
            surveys = [partial(_load, folder / f"{name}.survey.npz") for name in self.names]
            env = survey_env(part)
            with env.costs.steps.at(env.number):
                decisions = corpus.decide(surveys, step.options, env)
                for name, arrays in one_per_shard(decisions, self.names, step):
                    _save(folder / f"{name}.decision.npz", arrays, claim)
            with replacing(folder / "decided") as out:
                out.write(b"\n")
            return Done({"shard": "decided", "input": self._all[0]})

        return Pass(self._files(folder, ["decided"], self._all[:1], "decisions.jsonl"), make)

    def open(self) -> int:
        """Begin the folder, or go on with it; returns how many shards are done already."""
        self.out.open()
        return self.out.done

    def run(self, share: range) -> None:
        """Make what is to be made. Of the last pass only ``share``; of the others all, since all of it is needed."""
        for each in self.list:
            if self.out.complete:
                return
            if not each.last:
                each.files.open()
                rest = [index for index in range(len(each.files.contents.names)) if index not in share]
                each.files.fill(
                    each.make, [*(i for i in share if i < len(each.files.contents.names)), *rest], self._over
                )
                each.files.settle()
            else:
                each.files.fill(each.make, share)

    def _over(self) -> bool:
        """Whether others have finished everything, so that this pass is of no use any more."""
        if len(self.list) > 1:
            self.out.refresh()
        return self.out.complete

    def settle(self, patience: float = float("inf")) -> bool:
        """Put down what was done; when it is everything, leave the result and nothing else."""
        complete = self.out.settle(patience)
        if complete:
            for left in self.folder.glob(".corpus-*"):
                shutil.rmtree(left, ignore_errors=True)
        if self.chain.settings.rejects:
            folders = list(Path(self.chain.settings.rejects).glob("*-*"))
            self.out.tidy(complete, folders)
        return complete


def _advancing(reader: ShardReader, watch: Watch) -> Iterator[Sample]:
    for sample in reader:
        yield sample
        watch.advance()


def _save(path: Path, arrays: Arrays, claim: Claim) -> None:
    """Named arrays, all or nothing; raises ``RuntimeError`` for objects, which only pickle could store."""
    import numpy as np

    stored: dict[str, Any] = {name: np.asarray(array) for name, array in arrays.items()}
    for name, array in stored.items():
        if array.dtype.hasobject:
            raise RuntimeError(f"{name}: arrays of Python objects cannot be kept")
    with replacing(path) as out:
        np.savez(out, **stored)
        claim.confirm()


def _load(path: Path) -> Arrays:
    import numpy as np

    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)
