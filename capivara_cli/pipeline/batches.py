"""Map samples one by one, in batches, or with decoding threads; a sample that cannot be used is dropped alone."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from capivara_cli.errors import BadSample
from capivara_cli.pipeline.env import Env, Result
from capivara_cli.shards.sample import Sample

Prepared = TypeVar("Prepared")


DECODE_THREADS = 4


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
