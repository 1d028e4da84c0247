"""Texts as hashed n-grams of words and characters, and weighted sums over them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from actors.features.safety_text import SEPARATOR, normal_forms
from actors.stores.kernels import kernel, writable

Floats = npt.NDArray[np.float32]
Int64s = npt.NDArray[np.int64]
Int32s = npt.NDArray[np.int32]

BLOCKS = 2
"""Words (single ones and pairs of neighbours), and characters (3 to 5 within a word and its
two borders), each scaled by itself."""
SHORTEST, LONGEST = 3, 5
CHUNK_TEXTS = 2_048
_SEPARATOR = ord(SEPARATOR)
_SPACE = ord(" ")


@dataclass(frozen=True)
class Ngrams:
    """The distinct n-grams of n texts as numbers of buckets (the hashing trick)."""

    offsets: Int64s
    """Shape (2n + 1): the words of text i lie from `offsets[2i]`, its characters from
    `offsets[2i + 1]`."""
    buckets: Int32s
    """Ascending within a text's block."""

    def __len__(self) -> int:
        return len(self.offsets) // BLOCKS

    def take(self, rows: Int64s) -> "Ngrams":
        """The texts of some rows."""
        offsets, at = self.places(rows)
        return Ngrams(offsets, self.buckets[at])

    def places(self, rows: Int64s) -> tuple[Int64s, Int64s]:
        """Offsets as of `take`, and where in `buckets` the n-grams of these rows lie."""
        blocks = (BLOCKS * rows[:, None] + np.arange(BLOCKS)).ravel()
        lengths = np.diff(self.offsets)[blocks]
        offsets = np.zeros(len(blocks) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        at = np.arange(offsets[-1]) + np.repeat(self.offsets[blocks] - offsets[:-1], lengths)
        return offsets, at

    def weights(self, rarities: Floats) -> Floats:
        """By n-gram, its rarity over the Euclidean length of its block (0 for rarity 0)."""
        values = rarities[self.buckets]
        lengths = np.diff(self.offsets)
        block = np.repeat(np.arange(len(lengths)), lengths)
        norms = np.sqrt(np.bincount(block, values.astype(np.float64) ** 2, len(lengths)))
        weights: Floats = (values / np.maximum(norms, 1e-12)[block]).astype(np.float32)
        return weights


def ngrams(texts: Sequence[str], n_buckets: int) -> Ngrams:
    """The n-grams of each text, in buckets 0 … `n_buckets` − 1 (a power of two)."""
    if n_buckets < 2 or n_buckets & (n_buckets - 1):
        raise ValueError(f"the number of buckets must be a power of two, got {n_buckets}")
    parts = [
        _hashed(_codes(texts[first : first + CHUNK_TEXTS]), n, n_buckets - 1)
        for first, n in _chunks(len(texts))
    ]
    if not parts:
        return Ngrams(np.zeros(1, np.int64), np.empty(0, np.int32))
    starts = np.cumsum([0] + [len(buckets) for _, buckets in parts])
    offsets = [part[0][1:] + start for part, start in zip(parts, starts, strict=False)]
    return Ngrams(
        np.concatenate([np.zeros(1, np.int64), *offsets]),
        np.concatenate([buckets for _, buckets in parts]),
    )


def pooled(texts: Ngrams, rarities: Floats, rows: Floats) -> Floats:
    """Sums over each text's n-grams of weight × row, (n, k); `rows` is (buckets, k).

    The weights are those of `Ngrams.weights`.
    """
    return _pooled(
        writable(texts.offsets, np.int64),
        writable(texts.buckets, np.int32),
        writable(rarities, np.float32),
        writable(rows, np.float32),
    )


def _chunks(n_texts: int) -> Iterator[tuple[int, int]]:
    for first in range(0, n_texts, CHUNK_TEXTS):
        yield first, min(CHUNK_TEXTS, n_texts - first)


def _codes(texts: Sequence[str]) -> npt.NDArray[np.uint32]:
    forms = normal_forms(texts)
    return np.frombuffer(bytearray(forms.encode("utf-32-le", "replace")), np.uint32)


@kernel
def _hashed(codes: npt.NDArray[np.uint32], n_texts: int, mask: int) -> tuple[Int64s, Int32s]:
    per_sign = LONGEST - SHORTEST + 1
    offsets = np.zeros(BLOCKS * n_texts + 1, np.int64)
    # A word of w signs has at most 2 word n-grams and per_sign·(w + 2) of characters.
    found = np.empty(len(codes) * (2 + 3 * per_sign) + 2, np.int32)
    n_found = 0
    word = np.empty(len(codes) + 2, np.uint64)
    characters = np.empty(len(codes) * 3 * per_sign + 2, np.int32)
    at = 0
    for text in range(n_texts):
        n_characters = 0
        begin = n_found
        previous = np.uint64(0)
        length = 0
        while True:
            ends_text = at >= len(codes) or codes[at] == _SEPARATOR
            if ends_text or codes[at] == _SPACE:
                if length:
                    word[0] = word[length + 1] = np.uint64(_SPACE)
                    n_characters = _of_word(word, length + 2, characters, n_characters, mask)
                    whole = _START
                    for i in range(1, length + 1):
                        whole = _step(whole, word[i])
                    found[n_found] = _bucket(_step(whole, np.uint64(1)), mask)
                    n_found += 1
                    if previous:
                        found[n_found] = _bucket(_step(_step(previous, np.uint64(2)), whole), mask)
                        n_found += 1
                    previous = whole
                length = 0
            else:
                length += 1
                word[length] = np.uint64(codes[at])
            at += 1
            if ends_text:
                break
        n_found = begin + _distinct(found[begin:n_found])
        offsets[BLOCKS * text + 1] = n_found
        n_characters = _distinct(characters[:n_characters])
        found[n_found : n_found + n_characters] = characters[:n_characters]
        n_found += n_characters
        offsets[BLOCKS * text + 2] = n_found
    return offsets, found[:n_found].copy()


@kernel
def _of_word(word: npt.NDArray[np.uint64], length: int, buckets: Int32s, n: int, mask: int) -> int:
    """Append the character n-grams of one word; returns how many there are now."""
    for first in range(length - SHORTEST + 1):
        mixed = _START
        for i in range(first, min(first + LONGEST, length)):
            mixed = _step(mixed, word[i])
            if i - first + 1 >= SHORTEST:
                buckets[n] = _bucket(mixed, mask)
                n += 1
    return n


@kernel
def _distinct(buckets: Int32s) -> int:
    """Sort, and move the distinct values to the front; returns how many they are."""
    buckets.sort()
    n = 0
    for i in range(len(buckets)):
        if i == 0 or buckets[i] != buckets[i - 1]:
            buckets[n] = buckets[i]
            n += 1
    return n


_START = np.uint64(0xCBF29CE484222325)


@kernel
def _step(mixed: np.uint64, sign: np.uint64) -> np.uint64:
    """One step of FNV-1a over whole code points."""
    return (mixed ^ sign) * np.uint64(0x100000001B3)


@kernel
def _bucket(mixed: np.uint64, mask: int) -> np.int32:
    """The lowest bits after a last mixing (SplitMix64's)."""
    x = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.int32((x ^ (x >> np.uint64(31))) & np.uint64(mask))


@kernel
def _pooled(offsets: Int64s, buckets: Int32s, rarities: Floats, rows: Floats) -> Floats:
    width = rows.shape[1]
    sums = np.zeros((len(offsets) // BLOCKS, width), np.float32)
    block = np.empty(width, np.float64)
    for i in range(len(offsets) - 1):
        squared = 0.0
        block[:] = 0.0
        for j in range(offsets[i], offsets[i + 1]):
            weight = rarities[buckets[j]]
            squared += weight * weight
            for k in range(width):
                block[k] += weight * rows[buckets[j], k]
        if squared > 0.0:
            for k in range(width):
                sums[i // BLOCKS, k] += np.float32(block[k] / np.sqrt(squared))
    return sums
