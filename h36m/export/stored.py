"""Arrays of all sequences, kept in a temporary file: an export's memory must not grow with the dataset."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np


@dataclass(frozen=True)
class StoredArray:
    """An array in a temporary file."""

    file: IO[bytes]
    offset: int  # of its first byte
    shape: tuple[int, ...]
    dtype: np.dtype

    def read(self) -> np.ndarray:
        """Return the array, read-only."""
        self.file.seek(self.offset)
        count = int(np.prod(self.shape))
        return np.frombuffer(self.file.read(count * self.dtype.itemsize), self.dtype).reshape(self.shape)


Store = Callable[[np.ndarray], StoredArray]


@contextmanager
def array_store(folder: Path) -> Iterator[Store]:
    """Yield a function that stores an array; the arrays are gone after the `with` block.

    Args:
        folder: on a disk with enough space; the temporary file is made there, without a name where possible.

    Raises:
        OSError: the disk is full.
    """
    with tempfile.TemporaryFile(dir=folder) as file:

        def store(array: np.ndarray) -> StoredArray:
            offset = file.seek(0, os.SEEK_END)
            file.write(array.tobytes())
            return StoredArray(file, offset, array.shape, array.dtype)

        yield store
