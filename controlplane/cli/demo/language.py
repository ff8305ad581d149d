"""A language model small enough to train at start: word trigrams, and word vectors, over Python's own help texts.

It is real, if modest: it was trained on `pydoc_data.topics` (which every Python has), its samples are drawn from
counts, and its vectors come from which words stand near each other. Everything is deterministic by seed.
"""

import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pydoc_data.topics import topics

import numpy as np
import numpy.typing as npt

WORD = re.compile(r"[A-Za-z]+|[.,;:]")
VOCABULARY = 600  # words that get a vector; the rest of a text is passed over
DIMENSIONS = 48
WINDOW = 4  # words to each side that count as near


def words(text: str) -> list[str]:
    return [word.lower() for word in WORD.findall(text)]


@dataclass(frozen=True, slots=True)
class Trigrams:
    """Which word follows which two."""

    follow: dict[tuple[str, str], Counter[str]]
    fallback: dict[str, Counter[str]]

    def sample(self, prompt: str, *, limit: int, seed: int) -> Iterator[str]:
        """Words that continue `prompt`, until a full stop past half of `limit`, or `limit`."""
        chance = random.Random(seed)
        before, last = (["", "", *words(prompt)])[-2:]
        for count in range(limit):
            options = self.follow.get((before, last)) or self.fallback.get(last) or self.fallback["the"]
            word = chance.choices(list(options), weights=list(options.values()))[0]
            yield word
            if word == "." and count > limit // 2:
                return
            before, last = last, word


@dataclass(frozen=True, slots=True)
class Vectors:
    """A vector per frequent word; a text is the mean of its words, of length one."""

    index: dict[str, int]
    table: npt.NDArray[np.float64]

    def embed(self, text: str) -> list[float]:
        rows = [self.index[word] for word in words(text) if word in self.index]
        if not rows:
            return [0.0] * DIMENSIONS
        mean = self.table[rows].mean(axis=0)
        return [float(x) for x in mean / (np.linalg.norm(mean) or 1.0)]


def train() -> tuple[Trigrams, Vectors]:
    """Read the corpus once. About a third of a second."""
    corpus = [words(text) for text in topics.values()]
    return _trigrams(corpus), _vectors(corpus)


def _trigrams(corpus: list[list[str]]) -> Trigrams:
    follow: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    fallback: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for text in corpus:
        for before, last, word in zip(text, text[1:], text[2:], strict=False):
            follow[before, last][word] += 1
            fallback[last][word] += 1
    return Trigrams(dict(follow), dict(fallback))


def _vectors(corpus: list[list[str]]) -> Vectors:
    """Positive pointwise mutual information of near words, its first singular vectors."""
    frequent = Counter(word for text in corpus for word in text).most_common(VOCABULARY)
    index = {word: i for i, (word, _) in enumerate(frequent)}
    near = np.zeros((VOCABULARY, VOCABULARY))
    for text in corpus:
        ids = np.array([index.get(word, -1) for word in text])
        for distance in range(1, WINDOW + 1):
            left, right = ids[:-distance], ids[distance:]
            known = (left >= 0) & (right >= 0)
            np.add.at(near, (left[known], right[known]), 1.0)
    near += near.T
    chance = near.sum(axis=1, keepdims=True) * near.sum(axis=0, keepdims=True) / near.sum()
    information = np.maximum(np.log((near + 1e-9) / (chance + 1e-9)), 0.0)
    left_vectors, values, _ = np.linalg.svd(information, hermitian=True)
    return Vectors(index, left_vectors[:, :DIMENSIONS] * np.sqrt(values[:DIMENSIONS]))
