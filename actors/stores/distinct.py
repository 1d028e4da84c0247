"""How many different ids there were, in 256 bytes: HyperLogLog registers and their estimate.

Registers are taken together by their maxima, so neither order nor repetition shows (Flajolet,
Fusy, Gandouet and Meunier, 2007). The estimate is the improved one of Ertl (2017), without the
bias and the tables of the first; its standard error is 1.04/√256 = 6.5 % of many ids, and
less of few: of 5 it is right 96 times in 100, of 20 one off at most 97 times (measured).
"""

import math

import numpy as np
import numpy.typing as npt

from cluster.ids import Ids, mix64

Registers = npt.NDArray[np.uint8]

N_REGISTERS = 256
RELATIVE_ERROR = 1.04 / math.sqrt(N_REGISTERS)
_RANK_BITS = 32
"""Bits of the hash in which leading zeros are counted."""
_SALT = np.uint64(0x5851F42D4C957F2D)
"""So that what an id says here is independent of the partition it lives in."""


def registers_of(ids: Ids) -> tuple[npt.NDArray[np.int64], Registers]:
    """Which register each id (n,) is for, and the rank to raise it to."""
    mixed = mix64(ids.astype(np.uint64) ^ _SALT)
    registers = (mixed >> np.uint64(56)).astype(np.int64)
    rest = (mixed >> np.uint64(24)) & np.uint64(2**_RANK_BITS - 1)
    # 32 bits are exact in a float64, whose exponent then counts the zeros before them.
    _, exponents = np.frexp(rest.astype(np.float64))
    return registers, (_RANK_BITS + 1 - exponents).astype(np.uint8)


def estimates(registers: Registers) -> npt.NDArray[np.float64]:
    """How many different ids raised each row of `registers`, uint8 (n, N_REGISTERS)."""
    return np.array([_estimate(row) for row in registers])


def _estimate(row: Registers) -> float:
    counts = np.bincount(row, minlength=_RANK_BITS + 2).tolist()
    total = N_REGISTERS * _of_full(1 - counts[_RANK_BITS + 1] / N_REGISTERS)
    for rank in range(_RANK_BITS, 0, -1):
        total = (total + counts[rank]) / 2
    total += N_REGISTERS * _of_empty(counts[0] / N_REGISTERS)
    return N_REGISTERS**2 / (2 * math.log(2) * total) if total else math.inf


def _of_empty(share: float) -> float:
    """Ertl's σ: x + Σ x^{2^k} 2^{k−1}, what the registers still empty stand for."""
    if share == 1:
        return math.inf
    total, power = share, 1.0
    while True:
        share *= share
        before, total = total, total + share * power
        if total == before:
            return total
        power *= 2


def _of_full(share: float) -> float:
    """Ertl's τ: (1 − x − Σ (1 − x^{2^−k})² 2^−k) / 3, what those beyond the last rank do."""
    if share in (0, 1):
        return 0.0
    total, power = 1 - share, 1.0
    while True:
        share = math.sqrt(share)
        power /= 2
        before, total = total, total - (1 - share) ** 2 * power
        if total == before:
            return total / 3
