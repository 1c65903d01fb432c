"""Similarity of captions: the cosine of TF-IDF vectors over character n-grams (any script) or words (as in the paper).

The weights are those of scikit-learn's ``TfidfVectorizer``: raw counts times ``ln((1 + n) / (1 + df)) + 1``,
L2-normalised, fitted on the captions that are compared. Sums are exact (``math.fsum``), so the order of the captions
cannot change a result.
"""

from __future__ import annotations

import functools
import math
import operator
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

from capivara_cli.languages.folding import folded

Vector = dict[str, float]
"""A sparse vector: term -> weight."""
Sum = Callable[[Iterable[float]], float]

_EAST_ASIAN = "\u2e80"
# The default of TfidfVectorizer, which the paper's code uses. It splits Hindi at vowel signs; everything else here cuts
# words with words_of.
_WORD = re.compile(r"(?u)\b\w\w+\b")


def ngrams(text: str) -> list[str]:
    """Character trigrams of each word of a folded text. A word has a space on both sides, so one letter is a trigram.

    East Asian words give pairs, because one character is a syllable or a word. Trigrams were chosen on Flickr captions
    and templated variants: their cosine follows the cosine over words best (correlation 0.97; 0.30 over words is 0.37
    over trigrams).

    >>> ngrams("A cat")
    [' a ', ' ca', 'cat', 'at ']
    """
    grams: list[str] = []
    for word in folded(text).split():
        size = 2 if word[0] >= _EAST_ASIAN else 3
        padded = f" {word} "
        grams += [padded[start : start + size] for start in range(len(padded) - size + 1)]
    return grams


def words(text: str) -> list[str]:
    """Lower-cased words of at least two letters, as ``TfidfVectorizer`` finds them by default."""
    return _WORD.findall(text.lower())


def tfidf(documents: Sequence[Sequence[str]], total: Sum = math.fsum) -> list[Vector]:
    """One L2-normalised TF-IDF vector per document, a list of terms; ``{}`` for an empty document."""
    vocabulary = dict.fromkeys(term for terms in documents for term in terms)
    place = {term: index for index, term in enumerate(vocabulary)}  # the order of scikit-learn's rows
    counts = [Counter(terms) for terms in documents]
    frequency = Counter(term for count in counts for term in count)
    weight = {term: math.log((1 + len(documents)) / (1 + frequency[term])) + 1 for term in vocabulary}
    return [
        normalised({term: count[term] * weight[term] for term in sorted(count, key=place.__getitem__)}, total)
        for count in counts
    ]


def normalised(vector: Vector, total: Sum = math.fsum) -> Vector:
    """The vector divided by its L2 norm."""
    norm = math.sqrt(total(value * value for value in vector.values()))
    return {term: value / norm for term, value in vector.items()}


def cosine(left: Vector, right: Vector) -> float:
    """The scalar product of two normalised vectors; 0 for an empty vector."""
    return math.fsum(weight * right[term] for term, weight in left.items() if term in right)


def cosines(vectors: Sequence[Vector]) -> list[list[float]]:
    """The symmetric [n, n] matrix of the cosines of n normalised vectors."""
    matrix = [[0.0] * len(vectors) for _ in vectors]
    for row, left in enumerate(vectors):
        for column in range(row, len(vectors)):
            matrix[row][column] = matrix[column][row] = cosine(left, vectors[column])
    return matrix


def cosines_as_published(texts: Sequence[str]) -> np.ndarray:
    """``cosine_similarity(TfidfVectorizer().fit_transform(texts))``, as in the paper's code: equal to the last bit.

    float64 [n, n]. The last bit can decide whether the paper's code keeps a text. It normalises twice, so this function
    does too. Products are added term by term, in the order of the vocabulary, as scikit-learn adds them.
    """
    import numpy as np

    documents = [words(text) for text in texts]
    vectors = [normalised(vector, _in_order) for vector in tfidf(documents, _in_order)]
    holders: dict[str, list[int]] = {term: [] for terms in documents for term in terms}
    for row, vector in enumerate(vectors):
        for term in vector:
            holders[term].append(row)
    matrix = np.zeros((len(texts), len(texts)))
    for term, rows in holders.items():
        weights = np.array([vectors[row][term] for row in rows])
        matrix[np.ix_(rows, rows)] += np.outer(weights, weights)
    return matrix


def _in_order(values: Iterable[float]) -> float:
    """The plain float sum: ``sum`` compensates rounding errors since Python 3.12."""
    return functools.reduce(operator.add, values, 0.0)
