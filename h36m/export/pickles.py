"""Write pickles that old versions of numpy and Python can read, since the programs that read them are old.

numpy 2 pickles an array by a function of its module `numpy._core`, which no numpy before 1.26 has, and newer Pythons
choose a protocol that Python 3.7 cannot read. Here an array is pickled by its public names, `numpy.ndarray` and
`numpy.dtype`, in protocol 4 or 3.
"""

import io
import pickle
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np

PROTOCOL = 4  # Python 3.4 and newer
# Python 3.0 and newer; objects that are written again are referred to by number, whatever was written in between.
PROTOCOL_OF_LISTS = 3
LIST_BEGINS, LIST_IS_FIRST, PICKLE_ENDS = b"\x80\x03]", b"q\x00", b"."


class Pickler(pickle.Pickler):
    """Pickles arrays by names that all versions of numpy have; loaded arrays are writable."""

    def __init__(self, file: IO[bytes], protocol: int = PROTOCOL) -> None:
        super().__init__(file, protocol)
        # Without a memo, which would keep a copy of every array until the end.
        self.fast = protocol == PROTOCOL

    def reducer_override(self, value: Any) -> Any:
        """Return how to rebuild an array; everything else is left to pickle."""
        if not isinstance(value, np.ndarray):
            return NotImplemented
        if value.dtype.hasobject:  # only the array without dimensions that a npy file holds an object in
            return np.array, (value.item(),)
        return np.ndarray, (value.shape, value.dtype, bytearray(value.tobytes()))


def write_pickle(file: Path, value: Any) -> None:
    """Write an object as `pickle.load` reads it."""
    with file.open("wb") as opened:
        Pickler(opened).dump(value)


def write_list(file: Path, parts: Iterable[list]) -> int:
    """Write the items of some lists as one list, which `pickle.load` reads; memory holds one of the lists only.

    What the items of a part have in common (names, cameras, types) is written once, and is one object when loaded.

    Returns:
        how many items the list has.
    """
    count = 0
    with file.open("wb") as opened:
        opened.write(LIST_BEGINS)
        for part in parts:
            pickled = io.BytesIO()
            Pickler(pickled, PROTOCOL_OF_LISTS).dump(part)
            # All between the beginning and the end of a pickled list appends to the list on top of the stack.
            opened.write(pickled.getbuffer()[len(LIST_BEGINS + LIST_IS_FIRST) : -len(PICKLE_ENDS)])
            count += len(part)
        opened.write(PICKLE_ENDS)
    return count


def write_npy(file: Path, value: dict) -> None:
    """Write a dictionary as `np.load(file, allow_pickle=True).item()` reads it."""
    with file.open("wb") as opened:
        _write_object(opened, value)


def write_npz(file: Path, values: dict[str, dict]) -> None:
    """Write dictionaries as `np.load(file, allow_pickle=True)[name].item()` reads them."""
    # Not compressed, which would take ten times as long as all else, and longer to read each time.
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as npz:
        for name, value in values.items():
            with npz.open(f"{name}.npy", "w", force_zip64=True) as member:
                _write_object(member, value)


def _write_object(file: IO[bytes], value: dict) -> None:
    array = np.array(value, dtype=object)
    np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
    Pickler(file).dump(array)
