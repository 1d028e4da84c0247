"""The languages of posts as keys that mean the same in every shard."""

import numpy as np
import numpy.typing as npt

from actors.stores.words import Words
from cluster.ids import Ids


def language_key(code: str) -> int:
    """A language by the bytes of its primary tag: `en-GB` and `EN` are `en`; 0 for none.

    Keys and not the codes of `Words`, which every shard gives out in an order of its own.
    """
    return int.from_bytes(code.partition("-")[0].lower().encode()[:7], "big")


class LanguageKeys:
    """Keys of the words of one shard, each made once."""

    def __init__(self, words: Words) -> None:
        self._words = words
        self._keys = np.zeros(1, np.int64)

    def of(self, codes: npt.NDArray[np.int16]) -> Ids:
        """Keys of codes (n,); 0 where a language was not given."""
        keys = self._keys
        if len(keys) < len(self._words):
            # Readers beside each other may both do this, and come to the same.
            new = (self._words.word(code) or "" for code in range(len(keys), len(self._words)))
            keys = self._keys = np.append(keys, [language_key(word) for word in new])
        found: Ids = keys[codes]
        return found
