import numpy as np

from actors.stores.kernels import kernel
from actors.stores.raw_memory import carve, int64_rows, int64s, lowest_bit, uint16s, uint32s


def test_carved_arrays_are_aligned_and_apart() -> None:
    arrays = carve((3, np.uint8), ((2, 5), np.int64), (0, np.uint16), (7, np.uint32))
    assert [array.shape for array in arrays] == [(3,), (2, 5), (0,), (7,)]
    for number, array in enumerate(arrays):
        array[...] = number + 1
    for number, array in enumerate(arrays):
        assert array.size == 0 or array.ctypes.data % 64 == 0
        assert np.all(array == number + 1)


def test_arrays_at_an_address_share_its_memory() -> None:
    numbers = np.arange(12, dtype=np.int64)
    at = numbers.ctypes.data
    assert int64s(at, 12).tolist() == list(range(12))
    assert int64_rows(at, 3, 4).tolist() == numbers.reshape(3, 4).tolist()
    assert uint32s(at, 4).tolist() == [0, 0, 1, 0]
    assert uint16s(at + 8, 2).tolist() == [1, 0]
    int64s(at, 12)[3] = 99
    assert numbers[3] == 99


@kernel
def _lowest(bits: np.uint64) -> np.int64:
    found: np.int64 = lowest_bit(bits)
    return found


def test_the_lowest_bit_that_is_set() -> None:
    for bits, place in ((1, 0), (0b1011000, 3), (2**63, 63), (2**63 | 2**40, 40), (0, 64)):
        assert _lowest(np.uint64(bits)) == place
