"""The passes of a plan over a folder of shards: one, and up to three more before each stage that sees all samples.

A plan is cut before a stage that has to see all samples. The steps before the cut write to ``OUT/.corpus-K/``; there
each shard is surveyed, one process decides about all of them, and the rest of the plan runs with the decisions. Every
pass fills a folder that processes share, so a killed run resumes from the files that are there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from capivara_cli.pipeline.books import Books, counts_of, tally_of
from capivara_cli.pipeline.chain import Chain
from capivara_cli.pipeline.corpus_stages import corpus_of, one_per_shard, parts_of, survey_env
from capivara_cli.pipeline.fingerprint import input_identities
from capivara_cli.pipeline.journal import Journal
from capivara_cli.pipeline.one_shard import Known, one_shard
from capivara_cli.pipeline.output_folder import Contents, Done, Make, OutputFolder, Store
from capivara_cli.pipeline.stage import Arrays
from capivara_cli.shards.archive import ShardReader, open_shard
from capivara_cli.shards.manifest import MANIFEST, Identity, ShardEntry
from capivara_cli.shards.sample import Sample
from capivara_cli.storage.claims import Claim
from capivara_cli.storage.files import replacing


@dataclass
class Pass:
    """One pass: the files that it makes, and how it makes one. The ``last`` one makes the result."""

    files: OutputFolder
    make: Make
    last: bool = False

    def attempt(self, index: int) -> bool:
        return self.files.attempt(self.make, index)


class Passes:
    """All passes of a plan over the shards, in order; ``out`` is the folder that the last one fills, in ``store``."""

    def __init__(
        self, chain: Chain, shards: Sequence[str], names: Sequence[str], store: Store, books: Books, fingerprint: str
    ) -> None:
        self.chain, self.shards, self.names, self.fingerprint = chain, shards, names, fingerprint
        self._store, self._books = store, books
        self._plan = chain.described
        self._own = input_identities(shards)
        digest = hashlib.sha256(json.dumps(self._own, sort_keys=True).encode()).hexdigest()
        self._all: list[Identity] = [{**identity, "corpus": digest} for identity in self._own]
        self._corpora: list[str] = []
        self.list = list(self._passes())
        self.out = self.list[-1].files

    def _passes(self) -> Iterator[Pass]:
        first, *cut = parts_of(self.chain)
        inputs, shards, before = self._own, list(self.shards), None
        for number, part in enumerate(cut, start=1):
            folder = f".corpus-{number}"
            if first.steps or number > 1:
                store = self._store.child(folder)
                made = self._map(first, shards, store, inputs, before, last=False)
                yield made
                shards, before = [store.place(name) for name in self.names], made.files
            yield self._survey(part, shards, self._store.child(folder, "surveys.jsonl"), inputs)
            yield self._decision(part, self._store.child(folder, "decisions.jsonl"))
            self._corpora.append(folder)
            inputs, first = self._all, part
        yield self._map(first, shards, self._store, inputs, before, last=True)

    def _files(self, store: Store, names: Sequence[str], inputs: Sequence[Identity], file: str) -> OutputFolder:
        return OutputFolder(store, Contents(self._plan, self.fingerprint, names, inputs, file))

    def _journal(self, path: Path, identity: Identity) -> Journal:
        return Journal(path, {"fingerprint": self.fingerprint, "input": identity})

    def _known(self) -> Callable[[str], Known] | None:
        """What loads the survey of a shard and the decision about it, for the steps after the latest cut."""
        if not self._corpora:
            return None
        store = self._store.child(self._corpora[-1])
        return lambda name: (_load(store, f"{name}.survey.npz"), _load(store, f"{name}.decision.npz"))

    def _map(
        self, part: Chain, shards: Sequence[str], store: Store, inputs: Sequence[Identity],
        before: OutputFolder | None, last: bool,
    ) -> Pass:  # fmt: skip
        """Every shard through some steps. Its entry in the manifest counts the steps ``before``, too."""
        known = self._known()

        def make(index: int, claim: Claim) -> Done:
            name, identity, target = self.names[index], inputs[index], store.workshop / self.names[index]
            self._books.started(name)
            earlier = [tally_of(each) for each in before.entry(name).steps or ()] if before else []
            with part.journaled(self._journal(target, identity)):
                written = one_shard(part, shards[index], target, claim, self._books, known and known(name))
            tallies = earlier + written.tallies
            steps = tuple(counts_of(tally, with_failed=not last) for tally in tallies)
            entry = ShardEntry(name, identity, tallies[0].read, tallies[-1].written, written.size, steps)
            return Done(entry, partial(self._books.finished, name, tallies) if last else None)

        return Pass(self._files(store, self.names, inputs, MANIFEST), make, last)

    def _survey(self, part: Chain, shards: Sequence[str], store: Store, inputs: Sequence[Identity]) -> Pass:
        corpus, step = corpus_of(part), part.steps[0]
        names = [f"{name}.survey.npz" for name in self.names]

        def make(index: int, claim: Claim) -> Done:
            self._books.started(self.names[index])
            env = survey_env(part)
            env.journal = self._journal(store.workshop / names[index], inputs[index])
            with open_shard(shards[index]) as reader, env.costs.steps.at(env.number):
                arrays = corpus.survey(_advancing(reader, self._books), step.options, env)
            env.journal.close()
            _save(store.workshop / names[index], arrays, claim)
            return Done(ShardEntry(names[index], inputs[index]))

        return Pass(self._files(store, names, inputs, "surveys.jsonl"), make)

    def _decision(self, part: Chain, store: Store) -> Pass:
        corpus, step = corpus_of(part), part.steps[0]

        def make(index: int, claim: Claim) -> Done:
            surveys = [partial(_load, store, f"{name}.survey.npz") for name in self.names]
            env = survey_env(part)
            with env.costs.steps.at(env.number):
                decisions = corpus.decide(surveys, step.options, env)
                for name, arrays in one_per_shard(decisions, self.names, step):
                    _save(store.workshop / f"{name}.decision.npz", arrays, claim)
                    store.put(f"{name}.decision.npz")
            with replacing(store.workshop / "decided") as out:
                out.write(b"\n")
            return Done(ShardEntry("decided", self._all[0]))

        return Pass(self._files(store, ["decided"], self._all[:1], "decisions.jsonl"), make)

    def open(self) -> int:
        """Begin the folder, or resume it; returns how many shards are done already."""
        self.out.open()
        return self.out.done

    def run(self, share: range) -> None:
        """Do the passes. The last one makes only the shards of ``share``; the others make all, which it depends on."""
        for each in self.list:
            if self.out.complete:
                return
            if each.last:
                each.files.fill(each.make, share)
                continue
            each.files.open()
            numbers = range(len(each.files.contents.names))
            own = [index for index in share if index in numbers]
            each.files.fill(each.make, [*own, *(index for index in numbers if index not in share)], self._over)
            each.files.settle()

    def _over(self) -> bool:
        """Whether other processes have finished the result, so that this pass is of no use any more."""
        if len(self.list) > 1:
            self.out.refresh()
        return self.out.complete

    def settle(self, patience: float = float("inf")) -> bool:
        """Enter the finished shards in the manifest; when all are, remove everything but the result."""
        complete = self.out.settle(patience)
        for folder in self._corpora if complete else ():
            self._store.remove_folder(folder)
        if self.chain.settings.rejects:
            folders = list(Path(self.chain.settings.rejects).glob("*-*"))
            self.out.tidy(complete, folders)
        self._store.close(complete)
        return complete

    def close(self) -> None:
        """Release the claims that an interrupted pass still holds."""
        for each in self.list:
            each.files.store.claims.close()


def _advancing(reader: ShardReader, books: Books) -> Iterator[Sample]:
    for sample in reader:
        yield sample
        books.advance()


def _save(path: Path, arrays: Arrays, claim: Claim) -> None:
    """Write named arrays, all or nothing. Raises ``RuntimeError`` for objects, which only pickle can store."""
    import numpy as np

    stored: dict[str, Any] = {name: np.asarray(array) for name, array in arrays.items()}
    for name, array in stored.items():
        if array.dtype.hasobject:
            raise RuntimeError(f"{name}: arrays of Python objects cannot be kept")
    with replacing(path) as out:
        np.savez(out, **stored)
        claim.confirm()


def _load(store: Store, name: str) -> Arrays:
    import numpy as np

    with store.opened(name) as file, np.load(file, allow_pickle=False) as arrays:
        return dict(arrays)
