"""Short repeated strings (languages, countries, labels) as small integers."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

MAX_WORDS = 2**15 - 1


class Words:
    """A dictionary that grows: word ↔ code 1, 2, …; code 0 is *not given*.

    It holds `MAX_WORDS` words; those that come after are not kept and get code 0.
    """

    def __init__(self) -> None:
        self._words: list[str | None] = [None]
        self._codes: dict[str, int] = {}

    def __len__(self) -> int:
        """One more than the highest code."""
        return len(self._words)

    def code(self, word: str) -> int:
        """The code of a word, new if need be."""
        code = self._codes.get(word)
        if code is None:
            if len(self._words) > MAX_WORDS:
                return 0
            code = self._codes[word] = len(self._words)
            self._words.append(word)
        return code

    def find(self, word: str) -> int:
        """The code of a word, −1 where it never came; safe beside other readers."""
        return self._codes.get(word, -1)

    def codes(self, column: pa.Array) -> npt.NDArray[np.int16]:
        """Codes of an Arrow string column, 0 for null."""
        encoded = column.dictionary_encode()
        table = np.array([self.code(w) for w in encoded.dictionary.to_pylist()] + [0], np.int16)
        codes: npt.NDArray[np.int16] = table[encoded.indices.fill_null(len(table) - 1).to_numpy()]
        return codes

    def word(self, code: int) -> str | None:
        """The word of a code; None for 0."""
        return self._words[code]

    def words(self, codes: npt.NDArray[np.int16]) -> pa.Array:
        """The words of codes, as an Arrow array; null for 0."""
        return pa.array(self._words, pa.string()).take(pa.array(codes))
