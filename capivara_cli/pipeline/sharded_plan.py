"""A plan over the shards of a folder: one pass, and up to three more before each corpus stage.

A plan is split before each corpus stage. The steps before the split write shards to ``OUT/.corpus-K/``. There each
shard is surveyed, one process decides about all of them, and the rest of the plan runs with the decisions. Each pass
fills a folder that several processes share, so a killed run resumes from the files that exist.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from capivara_cli import console
from capivara_cli.pipeline.books import Books, counts_of, reject_folders, tally_of
from capivara_cli.pipeline.chain import Chain
from capivara_cli.pipeline.corpus_stages import corpus_of, one_per_shard, parts_of, survey_env
from capivara_cli.pipeline.fingerprint import input_identities
from capivara_cli.pipeline.journal import Journal
from capivara_cli.pipeline.one_shard import one_shard
from capivara_cli.pipeline.output_folder import Contents, FinishedFile, FolderStore, OutputFolder, WriteFile
from capivara_cli.pipeline.stage import Arrays, SurveyedShard
from capivara_cli.shards.archive import ShardReader, open_shard
from capivara_cli.shards.manifest import MANIFEST, InputIdentity, ShardEntry
from capivara_cli.shards.sample import Sample
from capivara_cli.shards.unpacked import packed_only
from capivara_cli.storage.claims import Claim
from capivara_cli.storage.files import replacing
from capivara_cli.urls import is_url


@dataclass
class Pass:
    """One pass of a plan: the folder that it fills, and the function that writes a file of it.

    The ``last`` pass of a plan writes the result.
    """

    folder: OutputFolder
    write: WriteFile
    last: bool = False

    def attempt(self, index: int) -> bool:
        """Write one file unless it is done or another process has claimed it; return whether it was written."""
        return self.folder.attempt(self.write, index)


class ShardedPlan:
    """A plan over shards as ``passes``, in order; ``out`` is the folder that the last one fills, in ``store``.

    ``names`` are the names of the output shards, in the order of ``shards``.
    """

    def __init__(
        self,
        chain: Chain,
        shards: Sequence[str],
        names: Sequence[str],
        store: FolderStore,
        books: Books,
        fingerprint: str,
    ) -> None:
        self.chain, self.shards, self.names, self.fingerprint = chain, shards, names, fingerprint
        self._store, self._books = store, books
        self._plan = chain.described
        self._identities = input_identities(shards)
        self._input_folders = {Path(shard).parent for shard in shards if not is_url(shard)}
        digest = hashlib.sha256(json.dumps(self._identities, sort_keys=True).encode()).hexdigest()
        self._corpus_identities: list[InputIdentity] = [{**identity, "corpus": digest} for identity in self._identities]
        self._corpus_folders: list[str] = []
        self.passes = list(self._passes())
        self.out = self.passes[-1].folder

    def _passes(self) -> Iterator[Pass]:
        first, *cut = parts_of(self.chain)
        inputs, shards, before = self._identities, list(self.shards), None
        for number, part in enumerate(cut, start=1):
            folder = f".corpus-{number}"
            if first.steps or number > 1:
                store = self._store.child(folder)
                mapped = self._map(first, shards, store, inputs, before, last=False)
                yield mapped
                shards, before = [store.location(name) for name in self.names], mapped.folder
            yield self._survey(part, shards, self._store.child(folder, "surveys.jsonl"), inputs)
            yield self._decision(part, self._store.child(folder, "decisions.jsonl"))
            self._corpus_folders.append(folder)
            inputs, first = self._corpus_identities, part
        yield self._map(first, shards, self._store, inputs, before, last=True)

    def _folder(
        self, store: FolderStore, names: Sequence[str], inputs: Sequence[InputIdentity], file: str,
        beside: Sequence[Path] = (),
    ) -> OutputFolder:  # fmt: skip
        contents = Contents(self._plan, self.fingerprint, names, inputs, file, beside, self._input_exists)
        return OutputFolder(store, contents)

    def _input_exists(self, name: str) -> bool:
        """Whether a shard of this name is beside one of the inputs; False for URLs, where that would be a request."""
        return any((folder / name).exists() for folder in self._input_folders)

    def _journal(self, path: Path, identity: InputIdentity) -> Journal:
        return Journal(path, {"fingerprint": self.fingerprint, "input": identity})

    def _surveyed(self) -> Callable[[str], SurveyedShard] | None:
        """A function that loads the survey and decision of a shard, by its name, for the steps after the last split.

        None before the first split.
        """
        if not self._corpus_folders:
            return None
        store = self._store.child(self._corpus_folders[-1])
        return lambda name: SurveyedShard(_load(store, f"{name}.survey.npz"), _load(store, f"{name}.decision.npz"))

    def _map(
        self, part: Chain, shards: Sequence[str], store: FolderStore, inputs: Sequence[InputIdentity],
        before: OutputFolder | None, last: bool,
    ) -> Pass:  # fmt: skip
        """The pass that runs the steps of ``part`` over every shard.

        ``before`` is the folder of the earlier steps: the entry of a shard has their counts, too.
        """
        surveyed = self._surveyed()

        def write(index: int, claim: Claim) -> FinishedFile:
            name, identity, target = self.names[index], inputs[index], store.work_folder / self.names[index]
            self._books.started(name)
            earlier = [tally_of(each) for each in before.entry(name).steps or ()] if before else []
            with part.journaled(self._journal(target, identity)):
                written = one_shard(part, shards[index], target, claim, self._books, surveyed and surveyed(name))
            tallies = earlier + written.tallies
            steps = tuple(counts_of(tally, with_failed=not last) for tally in tallies)
            entry = ShardEntry(name, identity, tallies[0].read, tallies[-1].written, written.size, steps)
            return FinishedFile(entry, partial(self._books.finished, name, tallies) if last else None)

        beside = reject_folders(self.chain if last else part)
        return Pass(self._folder(store, self.names, inputs, MANIFEST, beside), write, last)

    def _survey(self, part: Chain, shards: Sequence[str], store: FolderStore, inputs: Sequence[InputIdentity]) -> Pass:
        """The pass that writes the survey of every shard."""
        corpus, step = corpus_of(part), part.steps[0]
        names = [f"{name}.survey.npz" for name in self.names]

        def write(index: int, claim: Claim) -> FinishedFile:
            self._books.started(self.names[index])
            env = survey_env(part)
            env.journal = self._journal(store.work_folder / names[index], inputs[index])
            with open_shard(shards[index]) as reader, env.costs.steps.at(env.number):
                arrays = corpus.survey(_advancing(reader, self._books, part.reads_captions), step.options, env)
            env.journal.close()
            _save(store.work_folder / names[index], arrays, claim)
            return FinishedFile(ShardEntry(names[index], inputs[index]))

        return Pass(self._folder(store, names, inputs, "surveys.jsonl"), write)

    def _decision(self, part: Chain, store: FolderStore) -> Pass:
        """The pass of one file, ``decided``: it appears when the decisions about all shards are written."""
        corpus, step = corpus_of(part), part.steps[0]

        def write(index: int, claim: Claim) -> FinishedFile:
            surveys = [partial(_load, store, f"{name}.survey.npz") for name in self.names]
            env = survey_env(part)
            with env.costs.steps.at(env.number):
                decisions = corpus.decide(surveys, step.options, env)
                for name, arrays in one_per_shard(decisions, self.names, step):
                    _save(store.work_folder / f"{name}.decision.npz", arrays, claim)
                    store.put(f"{name}.decision.npz")
            with replacing(store.work_folder / "decided") as out:
                out.write(b"\n")
            return FinishedFile(ShardEntry("decided", self._corpus_identities[0]))

        return Pass(self._folder(store, ["decided"], self._corpus_identities[:1], "decisions.jsonl"), write)

    def open(self) -> int:
        """Start or resume the folder; return the number of shards that are done already.

        Shards and rejects of inputs that are gone are removed.
        """
        gone = self.out.open()
        if gone:
            shown = ", ".join(gone[:3]) + (f" and {len(gone) - 3:,} more" if len(gone) > 3 else "")
            console.say(f"{self.out.store.display_name}: {shown} removed: no input leads to it any more")
        rejects = self.chain.settings.rejects
        for folder in Path(rejects).glob("*-*") if rejects and gone else ():
            for name in gone:
                (folder / name).unlink(missing_ok=True)
        return self.out.done

    def run(self, share: range) -> None:
        """Run the passes. The last one writes the shards of ``share``; the others write all, because it needs all."""
        for each in self.passes:
            if self.out.complete:
                return
            if each.last:
                each.folder.fill(each.write, share)
                continue
            each.folder.open()
            indices = range(len(each.folder.contents.names))
            own = [index for index in share if index in indices]
            others = [index for index in indices if index not in share]
            each.folder.fill(each.write, [*own, *others], self._finished_by_others)
            each.folder.settle()

    def _finished_by_others(self) -> bool:
        """Whether other processes have finished the result, so that no other pass is needed."""
        if len(self.passes) > 1:
            self.out.refresh()
        return self.out.complete

    def settle(self, patience: float = float("inf")) -> bool:
        """Write the finished shards into the manifest; if all are done, remove all other files.

        Returns whether all are done; ``patience`` as for ``OutputFolder.settle``.
        """
        complete = self.out.settle(patience)
        for folder in self._corpus_folders if complete else ():
            self._store.remove_folder(folder)
        if self.chain.settings.rejects:
            folders = list(Path(self.chain.settings.rejects).glob("*-*"))
            self.out.tidy(complete, folders)
        self._store.close(complete)
        return complete

    def close(self) -> None:
        """Release the claims that an interrupted pass still holds."""
        for each in self.passes:
            each.folder.store.claims.close()


def _advancing(reader: ShardReader, books: Books, captions: bool) -> Iterator[Sample]:
    for sample in packed_only(reader, reader.name) if captions else reader:
        yield sample
        books.advance()


def _save(path: Path, arrays: Arrays, claim: Claim) -> None:
    """Write named arrays, all or nothing. Raises ``RuntimeError`` for arrays of objects, which would need pickle."""
    import numpy as np

    stored: dict[str, Any] = {name: np.asarray(array) for name, array in arrays.items()}
    for name, array in stored.items():
        if array.dtype.hasobject:
            raise RuntimeError(f"{name}: arrays of Python objects cannot be stored")
    with replacing(path) as out:
        np.savez(out, **stored)
        claim.confirm()


def _load(store: FolderStore, name: str) -> Arrays:
    import numpy as np

    with store.opened(name) as file, np.load(file, allow_pickle=False) as arrays:
        return dict(arrays)
