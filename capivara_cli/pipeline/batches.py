"""Apply functions to samples: one by one, in batches, or prepared by threads. A bad sample is dropped alone."""

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
    """Yield ``(sample, result)`` in order. Threads prepare samples ahead; ``process`` gets ``size`` of them at a time.

    ``prepare`` runs in threads, because decoding releases the GIL; ``process`` runs in this thread and returns one
    result per prepared item. If ``prepare`` raises ``BadSample``, only that sample is dropped, with that reason.
    ``keep`` stores the results in the shard's journal; see ``_processed`` for what this requires.
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
    """Yield ``(sample, prepared, result)`` in order, without threads: for stages that read only the ``json`` member.

    The results are stored in the shard's journal; see ``_processed`` for what this requires.
    """
    return _processed(map_each(samples, prepare, env), process, size, env, keep=True)


def _processed(
    prepared: Iterable[tuple[Sample, Prepared]],
    process: Callable[[list[Prepared]], Sequence[Result]],
    size: int,
    env: Env,
    keep: bool,
) -> Iterator[tuple[Sample, Prepared, Result]]:
    """Yield ``(sample, prepared, result)`` batch by batch; with ``keep`` results come from the journal if it has them.

    A batch in the journal is not processed again after a kill. So ``process`` must not count anything in ``env``, and
    its results must be JSON. Every run cuts the same batches, so no result depends on where the kill was.
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
    """Yield ``(sample, prepare(sample))``; if ``prepare`` raises ``BadSample``, only that sample is dropped."""
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
    """``map_each``, with threads that prepare up to ``ahead`` samples in advance."""
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
