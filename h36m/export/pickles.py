"""Write pickles that old versions of numpy and Python can read, since the programs that read them are old.

numpy 2 pickles an array by a function of its module `numpy._core`, which no numpy before 1.26 has, and newer Pythons
choose a protocol that Python 3.7 cannot read. Here an array is pickled by its public names, `numpy.ndarray` and
`numpy.dtype`, in protocol 4.
"""

import pickle
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np

PROTOCOL = 4  # Python 3.4 and newer


class Pickler(pickle.Pickler):
    """Pickles arrays by names that all versions of numpy have; loaded arrays are writable."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file, PROTOCOL)
        # Without a memo, which would keep a copy of every array until the end.
        self.fast = True

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
