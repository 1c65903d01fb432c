"""The shortest chain of language pairs from one language to another: direct, or through as few pivots as possible."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from capivara_cli.languages import Language

Pair = tuple[str, str]


def route(pairs: Iterable[Pair], sources: Iterable[str], targets: Iterable[str], max_hops: int = 3) -> list[Pair]:
    """The shortest chain of ``pairs`` from a code in ``sources`` to one in ``targets``; ``[]`` when there is none.

    Among chains of equal length, English as pivot comes first (most training data is English), then the order of
    ``sources`` and ``targets``, then the alphabet. ``max_hops`` limits the length, because every hop loses meaning.

    >>> route([("en", "es"), ("es", "pt"), ("en", "gl")], ["en"], ["pt"])
    [('en', 'es'), ('es', 'pt')]
    """
    onward: dict[str, list[str]] = {}
    for start, end in sorted(set(pairs), key=lambda pair: (pair[1] not in ("en", "eng"), pair)):
        onward.setdefault(start, []).append(end)
    goals = list(targets)
    found: list[tuple[int, int, list[Pair]]] = []
    for start in sources:
        chain = _shortest(onward, start, goals, max_hops)
        if chain:
            found.append((len(chain), goals.index(chain[-1][1]), chain))
    return min(found, key=lambda each: each[:2])[2] if found else []


def _shortest(onward: dict[str, list[str]], start: str, goals: list[str], max_hops: int) -> list[Pair]:
    waiting: deque[tuple[str, list[Pair]]] = deque([(start, [])])
    seen = {start}
    while waiting:
        here, chain = waiting.popleft()
        reached = [code for code in goals if code in onward.get(here, ())]
        if reached and len(chain) < max_hops:
            return [*chain, (here, reached[0])]
        for there in onward.get(here, ()):
            if there not in seen and len(chain) + 1 < max_hops:
                seen.add(there)
                waiting.append((there, [*chain, (here, there)]))
    return []


def by_chain(translator: str, chain: list[Pair]) -> str:
    """The ``by`` of a caption: ``argos:en-pt``, or ``apertium:eng-spa-pt`` with a pivot language."""
    return f"{translator}:{'-'.join([chain[0][0], *[end for _, end in chain]])}"


def languages_reached(pairs: Iterable[Pair], language: Language, codes: Iterable[str]) -> str:
    """For an error message: the pairs that start at this language, or all pairs if none does."""
    known = sorted(set(pairs))
    own = [pair for pair in known if pair[0] in set(codes)]
    text = ", ".join(f"{start}-{end}" for start, end in (own or known))
    return f"from {language.name} there are {text}" if own else f"there are {text or 'none'}"
