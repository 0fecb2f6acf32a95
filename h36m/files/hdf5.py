"""Open HDF5 files without HDF5's own locks (see h36m.locks); a full disk is an OSError, as everywhere else."""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import h5py


def reading(file: Path) -> h5py.File:
    """Open an HDF5 file to read, for a `with` block.

    Raises:
        OSError: the file is missing, or is not HDF5.
    """
    return h5py.File(file, "r", locking=False)


@contextlib.contextmanager
def writing(file: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file to write; one that is there is replaced.

    Raises:
        OSError: it cannot be written.
    """
    try:
        with h5py.File(file, "w", locking=False) as hdf5:
            yield hdf5
    except RuntimeError as error:  # so h5py calls it when the disk is found full only as the file is closed
        number = re.search(r"errno = (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(file)) from error
