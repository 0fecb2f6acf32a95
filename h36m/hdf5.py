"""HDF5 files that are written: a full disk is an OSError, as it is everywhere else."""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import h5py


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
