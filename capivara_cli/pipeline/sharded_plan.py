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

from capivara_cli import console
from capivara_cli.pipeline import rejects
from capivara_cli.pipeline.books import Books, counts_of, tally_of
from capivara_cli.pipeline.chain import Chain
from capivara_cli.pipeline.corpus_files import (
    DECIDED,
    DamagedWork,
    Surveyed,
    decision_name,
    discarding,
    load_survey,
    save_arrays,
    save_decided,
    survey_name,
)
from capivara_cli.pipeline.corpus_stages import corpus_of, one_per_shard, parts_of, survey_env
from capivara_cli.pipeline.fingerprint import PlanIdentity, input_identities
from capivara_cli.pipeline.folder_store import Contents, FinishedFile, FolderStore, WriteFile
from capivara_cli.pipeline.journal import Journal
from capivara_cli.pipeline.one_shard import ShardContent, one_shard
from capivara_cli.pipeline.output_folder import OutputFolder
from capivara_cli.pipeline.rejects import reject_folders
from capivara_cli.shards.archive import ShardReader, open_shard
from capivara_cli.shards.manifest import MANIFEST, InputIdentity, ShardEntry
from capivara_cli.shards.recorded import Recorded
from capivara_cli.shards.sample import Sample
from capivara_cli.shards.unpacked import packed_only
from capivara_cli.storage.claims import Claim
from capivara_cli.urls import is_url

_ATTEMPTS = 3  # to run the passes although files of earlier ones are damaged
Content = Callable[[], ShardContent]
"""Returns a shard to read; called when the passes before have finished."""


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
        identity: PlanIdentity,
    ) -> None:
        self.chain, self.shards, self.names, self.fingerprint = chain, shards, names, identity.fingerprint
        self._store, self._books, self._files = store, books, identity.files
        self._plan = chain.described
        self._identities = input_identities(shards)
        self._input_folders = {Path(shard).parent for shard in shards if not is_url(shard)}
        digest = hashlib.sha256(json.dumps(self._identities, sort_keys=True).encode()).hexdigest()
        self._corpus_identities: list[InputIdentity] = [{**identity, "corpus": digest} for identity in self._identities]
        self._corpus_folders: list[str] = []
        self.readings = 0  # how often the passes read each sample
        self.passes = list(self._passes())
        self.out = self.passes[-1].folder

    def _passes(self) -> Iterator[Pass]:
        first, *cut = parts_of(self.chain)
        inputs = self._identities
        before: OutputFolder | None = None
        contents: list[Content] = [partial(ShardContent, shard) for shard in self.shards]
        surveyed: Surveyed | None = None
        for number, part in enumerate(cut, start=1):
            folder = f".corpus-{number}"
            if first.steps or number > 1:
                mapped = self._map(first, contents, self._store.child(folder), inputs, before, surveyed)
                yield mapped
                made = zip(self.names, self.shards, strict=True)
                contents, before = [partial(self._made, mapped.folder, *each) for each in made], mapped.folder
            surveys = self._survey(part, contents, self._store.child(folder, "surveys.jsonl"), inputs, before)
            yield surveys
            decision = self._decision(part, self._store.child(folder, "decisions.jsonl"), surveys.folder)
            yield decision
            surveyed = Surveyed(surveys.folder, decision.folder)
            self._corpus_folders.append(folder)
            inputs, first = self._corpus_identities, part
        yield self._map(first, contents, self._store, inputs, before, surveyed, last=True)

    @staticmethod
    def _made(folder: OutputFolder, name: str, shard: str) -> ShardContent:
        """A shard that an earlier pass made of an input, to be read."""
        digest = folder.entry(name).digest
        return ShardContent(folder.store.location(name), Recorded(digest) if digest else None, shard)

    def _folder(
        self, store: FolderStore, names: Sequence[str], inputs: Sequence[InputIdentity], file: str,
        beside: Sequence[Path] = (), last: bool = False,
    ) -> OutputFolder:  # fmt: skip
        overwrite = last and self.chain.settings.overwrite
        contents = Contents(
            self._plan, self.fingerprint, names, inputs, file, beside, self._input_exists, self._files, not last,
            overwrite,
        )  # fmt: skip
        return OutputFolder(store, contents)

    def _input_exists(self, name: str) -> bool:
        """Whether a shard of this name is beside one of the inputs; False for URLs, where that would be a request."""
        return any((folder / name).exists() for folder in self._input_folders)

    def _journal(self, path: Path, identity: InputIdentity) -> Journal:
        return Journal(path, {"fingerprint": self.fingerprint, "input": identity})

    def _map(
        self, part: Chain, contents: Sequence[Content], store: FolderStore, inputs: Sequence[InputIdentity],
        before: OutputFolder | None, surveyed: Surveyed | None, last: bool = False,
    ) -> Pass:  # fmt: skip
        """The pass that runs the steps of ``part`` over every shard.

        ``before`` is the folder of the earlier steps: the entry of a shard has their counts, too.
        """

        self.readings += 1

        def write(index: int, claim: Claim) -> FinishedFile:
            name, identity, target = self.names[index], inputs[index], store.work_folder / self.names[index]
            self._books.started(name)
            earlier = [tally_of(each) for each in before.entry(name).steps or ()] if before else []
            with part.journaled(self._journal(target, identity)), discarding(before, name):
                surveyed_shard = None if surveyed is None else surveyed.of(name)
                written = one_shard(part, contents[index](), target, claim, self._books, surveyed_shard)
            tallies = earlier + written.tallies
            steps = tuple(counts_of(tally, with_failed=not last) for tally in tallies)
            read, kept = tallies[0].read, tallies[-1].written
            entry = ShardEntry(name, identity, read, kept, written.size, written.digest, steps)
            return FinishedFile(entry, partial(self._books.finished, name, tallies) if last else None)

        beside = reject_folders(self.chain if last else part)
        return Pass(self._folder(store, self.names, inputs, MANIFEST, beside, last), write, last)

    def _survey(
        self, part: Chain, contents: Sequence[Content], store: FolderStore, inputs: Sequence[InputIdentity],
        before: OutputFolder | None,
    ) -> Pass:  # fmt: skip
        """The pass that writes the survey of every shard. ``before`` is the folder of the shards, if a pass made it."""
        corpus, step = corpus_of(part), part.steps[0]
        names = [survey_name(name) for name in self.names]
        self.readings += 1

        def write(index: int, claim: Claim) -> FinishedFile:
            self._books.started(self.names[index])
            env = survey_env(part)
            env.journal = self._journal(store.work_folder / names[index], inputs[index])
            shard = contents[index]()
            with (
                discarding(before, self.names[index]),
                open_shard(shard.source, expected=shard.expected) as reader,
                env.costs.steps.at(env.number),
            ):
                arrays = corpus.survey(_advancing(reader, self._books, part.reads_captions), step.options, env)
            env.journal.close()
            saved = save_arrays(store.work_folder / names[index], arrays, claim)
            return FinishedFile(ShardEntry(names[index], inputs[index], size=saved.size, digest=saved.digest))

        return Pass(self._folder(store, names, inputs, "surveys.jsonl"), write)

    def _decision(self, part: Chain, store: FolderStore, surveyed: OutputFolder) -> Pass:
        """The pass of one file, ``decided``: it appears when the decisions about all shards are written."""
        corpus, step = corpus_of(part), part.steps[0]

        def write(index: int, claim: Claim) -> FinishedFile:
            surveys = [partial(load_survey, surveyed, name) for name in self.names]
            env = survey_env(part)
            digests = {}
            with env.costs.steps.at(env.number):
                decisions = corpus.decide(surveys, step.options, env)
                for name, arrays in one_per_shard(decisions, self.names, step):
                    file = decision_name(name)
                    digests[name] = save_arrays(store.work_folder / file, arrays, claim).digest
                    store.put(file)
            saved = save_decided(store.work_folder / DECIDED, digests)
            entry = ShardEntry(DECIDED, self._corpus_identities[0], size=saved.size, digest=saved.digest)
            return FinishedFile(entry)

        return Pass(self._folder(store, [DECIDED], self._corpus_identities[:1], "decisions.jsonl"), write)

    def open(self) -> int:
        """Start or resume the folder; return the number of shards that are done already.

        Shards and rejects of inputs that are gone are removed, and those of another plan that is replaced.
        """
        gone = self.out.open()
        place, replaced = self.out.store.display_name, self.out.replaced
        if replaced is not None:
            console.say(f"{place}: the result of {replaced.steps} is replaced")
        if gone:
            console.say(f"{place}: {_listed(gone)} removed: no input leads to it any more")
        if damaged := self.out.damaged:
            console.say(f"{place}: {_listed(damaged)} missing, or damaged since it was finished: made again")
        if self.chain.settings.rejects:
            folder = Path(self.chain.settings.rejects)
            rejects.remove(folder, [*gone, *(replaced.done if replaced is not None else ())])
            rejects.remove_gone(folder, self._input_folders)
        return self.out.done

    def run(self, share: range) -> None:
        """Run the passes. The last one writes the shards of ``share``; the others write all, because it needs all.

        A damaged file of an earlier pass is made again, a few times. Raises ``DamagedWork`` then.
        """
        for attempt in range(_ATTEMPTS):
            try:
                self._run_passes(share)
            except DamagedWork as error:
                if attempt == _ATTEMPTS - 1:
                    raise
                self.chain.forget_shard()
                console.say(error.message)
            else:
                return

    def _run_passes(self, share: range) -> None:
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

    def stored(self) -> str:
        """What a stopped run has stored for the next one, in words; "" for nothing."""
        place, done = self.out.store.display_name, self.out.done
        if done:
            return f"{place}: {done:,} of {len(self.names):,} shards are finished"
        folders = {each.folder.store.work_folder for each in self.passes}
        part = any(each.folder.done for each in self.passes) or any(
            path for folder in folders for path in folder.glob(".*.journal")
        )
        return f"{place}: finished batches are stored" if part else ""

    def close(self) -> None:
        """Release the claims that an interrupted pass still holds."""
        for each in self.passes:
            each.folder.store.claims.close()


def _advancing(reader: ShardReader, books: Books, captions: bool) -> Iterator[Sample]:
    for sample in packed_only(reader, reader.name) if captions else reader:
        yield sample
        books.advance()


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")
