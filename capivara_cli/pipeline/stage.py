"""A stage is a generator over samples; this is what it may rely on: options, an environment, batching.

A stage file is an options dataclass and one generator::

    @dataclass(frozen=True)
    class Options:
        n: int = opt(10, "captions per image", min=1)

    @stage("caption", Options)
    def caption(samples: Stream, options: Options, env: Env) -> Stream: ...
"""

from __future__ import annotations

import itertools
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, BinaryIO, TypeVar

from capivara_cli.errors import BadSample, CapivaraError, UsageError
from capivara_cli.models.generation import resolved
from capivara_cli.pipeline.journal import Journal
from capivara_cli.shards.archive import Stream
from capivara_cli.shards.sample import Sample
from capivara_cli.urls import public_url

Prepared = TypeVar("Prepared")
Result = TypeVar("Result")
Arrays = dict[str, Any]
"""Named numpy arrays."""

DECODE_THREADS = 4


def opt(
    default: Any,
    help: str,
    *,
    min: float | None = None,
    max: float | None = None,
    metavar: str = "",
    envvar: str = "",
    tuning: bool = False,
) -> Any:
    """A field of an options dataclass: the one place that knows its default, help and bounds; its name is the flag.

    ``tuning`` is for what changes how fast, not what is written: it may differ when a folder is gone on with.
    """
    metadata = {"help": help, "min": min, "max": max, "metavar": metavar, "envvar": envvar, "tuning": tuning}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Settings:
    """Options that every stage and command shares; none of them changes what a sample becomes but the seed."""

    out: str = opt("", "folder for the result [default: standard output, or <input>-<stage>/ on a terminal]")
    device: str = opt("auto", "auto, cpu, cuda, cuda:1, mps …")
    seed: int = opt(0, "seed of everything random", min=0)
    rejects: str = opt("", "folder that keeps every dropped sample, with the reason as dropped.json")
    workers: int = opt(1, "processes on this machine that share the shards", min=1)
    share: str = opt(
        "", "I/N: only every Nth shard, from the Ith [default: RANK of WORLD_SIZE, or what Slurm says, if they are set]"
    )
    engine: str = opt("local", "what starts the workers: local, ray")
    address: str = opt("", "the Ray cluster to join [default: one on this machine]")
    gpus_per_worker: float = opt(1.0, "share of a GPU that a worker gets from Ray, where there are GPUs", min=0)
    max_failures: int = opt(-1, "stop when more than this many samples cannot be used; -1: never", min=-1)
    energy: bool = opt(True, "measure the energy used")
    country: str = opt("", "ISO country code (BRA, IND, ZAF …) for the carbon intensity [default: world average]")
    region: str = opt("", "its state, province or zone, for USA, CAN, CHN, SWE, NOR and FIN")
    intensity: str = opt("", "carbon intensity of your electricity, instead of a country's", metavar="G_PER_KWH")
    ledger: str = opt("", "append what this command cost to this file", envvar="CAPIVARA_LEDGER")
    quiet: bool = opt(False, "say nothing but errors")
    dry_run: bool = opt(False, "do nothing but say what it would take: time, memory, disk, energy")
    summary: str = opt("", "write the summary as JSON to this file")


@dataclass
class Tally:
    """The books of one step: read = written + dropped, or the engine says that the program is wrong."""

    read: int = 0
    written: int = 0
    failed: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)

    def add(self, other: Tally) -> None:
        self.read += other.read
        self.written += other.written
        self.failed += other.failed
        self.dropped += other.dropped
        self.notes += other.notes


class Env:
    """What a running step may use: the shared settings, its books, and models that are loaded once per process.

    ``number`` is the place of the step in its plan; ``journal`` is there while a shard of a folder is being made.
    """

    def __init__(self, settings: Settings, step: str, models: dict[Any, Any] | None = None, number: int = 0) -> None:
        self.settings = settings
        self.step = step
        self.number = number
        self.journal: Journal | None = None
        self.tally = Tally()
        self.inputs: list[str] = []
        self.json = False
        self.data: BinaryIO | None = None
        self.reject: Callable[[Sample, str], None] | None = None
        self.models = {} if models is None else models
        self._failures_before = 0

    @property
    def seed(self) -> int:
        return self.settings.seed

    @property
    def device(self) -> str:
        """``auto`` resolved to cuda, mps or cpu; what models compute is counted from now on."""
        device = resolved(self.settings.device)
        _count_operations()
        return device

    def drop(self, sample: Sample, reason: str) -> None:
        """Leave a sample out on purpose: counted, and kept by ``--rejects``."""
        self.tally.dropped[reason] += 1
        if self.reject is not None:
            self.reject(sample, reason)

    def fail(self, sample: Sample, reason: str) -> None:
        """Drop a sample that cannot be used. Raises ``CapivaraError`` past ``--max-failures``."""
        self.drop(sample, reason)
        self.tally.failed += 1
        limit = self.settings.max_failures
        if 0 <= limit < self.tally.failed + self._failures_before:
            raise CapivaraError(
                f"{self.step}: more than {limit} samples cannot be used; the last is {sample.key!r}: {reason}",
                "raise --max-failures, or mend the input",
            )

    def note(self, what: str, count: int = 1) -> None:
        """Count something the user should know that loses nothing."""
        self.tally.notes[what] += count

    def next_shard(self) -> Tally:
        """Close the books of one shard and open new ones; models stay loaded."""
        closed, self.tally = self.tally, Tally()
        self._failures_before += closed.failed
        return closed

    def once(self, key: Any, load: Callable[[], Result]) -> Result:
        """``load()`` the first time ``key`` is asked for in this process, the same object ever after."""
        if key not in self.models:
            self.models[key] = load()
            _count_operations()
        return self.models[key]


def _count_operations() -> None:
    from capivara_cli.costs import flops  # 15 ms that --help does without

    flops.watch()


@dataclass(frozen=True)
class Corpus:
    """A stage that has to see all samples before it can decide about one: two passes over the shards and a reduce.

    ``wanted(options)``: whether these options ask for it; if not, the stage is an ordinary generator.
    ``survey(samples, options, env)`` looks at one shard and returns named arrays, which are kept beside the output; it
    counts nothing. ``decide(surveys, options, env)`` is given a function per shard that loads its arrays, in the order
    of the shards, and yields named arrays for each shard, in that order: its memory has to be bounded and said.
    ``apply(samples, survey, decision, options, env)`` is the generator of the second pass over one shard, with the
    arrays of both.
    """

    wanted: Callable[[Any], bool]
    survey: Callable[[Stream, Any, Env], Arrays]
    decide: Callable[[Sequence[Callable[[], Arrays]], Any, Env], Iterator[Arrays]]
    apply: Callable[[Stream, Arrays, Arrays, Any, Env], Stream]


@dataclass(frozen=True)
class Stage:
    """One subcommand that reads and writes samples. One that ``begins`` a stream reads ``env.inputs``, no shards."""

    name: str
    options: type
    run: Callable[[Stream, Any, Env], Stream]
    begins: bool = False
    corpus: Corpus | None = None

    def check(self, options: Any) -> None:
        """Raise at once what can be known to be wrong before any sample is read."""
        check = getattr(options, "check", None)
        if check is not None:
            check()


def stage(
    name: str, options: type, *, begins: bool = False, corpus: Corpus | None = None
) -> Callable[[Callable[[Stream, Any, Env], Stream]], Stage]:
    """Make a generator function the stage ``name``."""
    return lambda run: Stage(name, options, run, begins, corpus)


@dataclass(frozen=True)
class Step:
    """A stage with its options: one part of a plan."""

    stage: Stage
    options: Any

    @property
    def name(self) -> str:
        return self.stage.name

    def describe(self, seed: int) -> dict[str, Any]:
        """What provenance and resume compare: the stage and all that decides what it writes."""
        decisive = [each.name for each in fields(self.options) if not each.metadata.get("tuning")]
        options = {name: getattr(self.options, name) for name in decisive}
        shown = {name: public_url(value) if isinstance(value, str) else value for name, value in options.items()}
        return {"step": self.name, "options": shown, "seed": seed}


def map_batched(
    samples: Iterable[Sample],
    prepare: Callable[[Sample], Prepared],
    process: Callable[[list[Prepared]], Sequence[Result]],
    *,
    size: int,
    env: Env,
    keep: bool = False,
) -> Iterator[tuple[Sample, Result]]:
    """Yield ``(sample, result)`` in order, preparing ahead in threads and processing ``size`` samples at a time.

    ``prepare`` runs in threads (decoding releases the GIL) while ``process`` runs here. A sample whose preparation
    raises ``BadSample`` fails alone: it is dropped with that reason. ``process`` returns one result per prepared item.
    With ``keep`` the results go through the shard's journal, see ``_processed``.
    """
    for sample, _, result in _processed(_prepared(samples, prepare, 2 * size, env), process, size, env, keep):
        yield sample, result


def map_texts(
    samples: Iterable[Sample],
    prepare: Callable[[Sample], Prepared],
    process: Callable[[list[Prepared]], Sequence[Result]],
    *,
    size: int,
    env: Env,
) -> Iterator[tuple[Sample, Prepared, Result]]:
    """``(sample, prepared, result)``, without threads: where the json alone is read, they cost more than they save.

    Results go through the shard's journal, see ``_processed``.
    """
    return _processed(map_each(samples, prepare, env), process, size, env, keep=True)


def _processed(
    prepared: Iterable[tuple[Sample, Prepared]],
    process: Callable[[list[Prepared]], Sequence[Result]],
    size: int,
    env: Env,
    keep: bool,
) -> Iterator[tuple[Sample, Prepared, Result]]:
    """Batch after batch; with ``keep`` through the journal, if there is one.

    A kept batch is not processed again after a kill, so ``process`` must not count anything in ``env`` and its results
    have to be JSON. The batches are the same ones before and after, so the results cannot depend on where it was.
    """
    journal = env.journal if keep else None
    for batch in _batches(prepared, size):
        keys = [sample.key for sample, _ in batch] if journal else []
        results = journal.recall(env.number, keys) if journal else None
        if results is None:
            results = list(process([item for _, item in batch]))
            if len(results) != len(batch):
                raise RuntimeError(f"{env.step}: {len(results)} results for {len(batch)} samples")
            if journal:
                journal.keep(env.number, keys, results)
        for (sample, item), result in zip(batch, results, strict=True):
            yield sample, item, result


def map_each(
    samples: Iterable[Sample], prepare: Callable[[Sample], Prepared], env: Env
) -> Iterator[tuple[Sample, Prepared]]:
    """Yield ``(sample, prepare(sample))``; a sample that raises ``BadSample`` fails alone. For work without a model."""
    for sample in samples:
        try:
            prepared = prepare(sample)
        except BadSample as error:
            env.fail(sample, error.reason)
        else:
            yield sample, prepared


def _prepared(
    samples: Iterable[Sample], prepare: Callable[[Sample], Prepared], ahead: int, env: Env
) -> Iterator[tuple[Sample, Prepared]]:
    """``map_each`` with up to ``ahead`` samples being prepared in threads."""
    from concurrent.futures import ThreadPoolExecutor  # 10 ms, and only this needs it

    with ThreadPoolExecutor(DECODE_THREADS, thread_name_prefix=f"capivara-{env.step}") as pool:
        waiting: deque[tuple[Sample, Any]] = deque()
        source = iter(samples)
        try:
            while True:
                for sample in itertools.islice(source, ahead - len(waiting)):
                    waiting.append((sample, pool.submit(prepare, sample)))
                if not waiting:
                    return
                sample, future = waiting.popleft()
                try:
                    prepared = future.result()
                except BadSample as error:
                    env.fail(sample, error.reason)
                else:
                    yield sample, prepared
        finally:
            for _, future in waiting:
                future.cancel()


def _batches(items: Iterable[Prepared], size: int) -> Iterator[list[Prepared]]:
    source = iter(items)
    while batch := list(itertools.islice(source, size)):
        yield batch


def check_bounds(options: Any) -> None:
    """Raise ``UsageError`` for a value outside the bounds its field declares."""
    for each in fields(options):
        value, low, high = getattr(options, each.name), each.metadata.get("min"), each.metadata.get("max")
        flag = flag_of(each.name)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            continue
        if value != value or (low is not None and value < low) or (high is not None and value > high):
            bounds = " and ".join(
                text for text in (f"at least {low}" * (low is not None), f"at most {high}" * (high is not None)) if text
            )
            raise UsageError(f"{flag} {value}: must be {bounds or 'a number'}")


def flag_of(name: str) -> str:
    """``batch_size`` -> "--batch-size"; ``from_`` (a Python keyword otherwise) -> "--from"."""
    return "--" + name.rstrip("_").replace("_", "-")


def default_of(each: Any) -> Any:
    """The default of a dataclass field, ``...`` when it has none."""
    return ... if each.default is MISSING else each.default
