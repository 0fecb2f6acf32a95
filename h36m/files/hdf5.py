"""Open HDF5 files without HDF5's own locks (see h36m.locks); a full disk is an OSError, as everywhere else."""

import contextlib
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
    """Make an HDF5 file in memory, and write it after the `with` block; one that is there is replaced.

    HDF5 itself cannot end a file on a full disk: h5py then prints errors, and the process may crash.

    Raises:
        OSError: it cannot be written.
    """
    with h5py.File(file, "w", driver="core", backing_store=False) as hdf5:
        yield hdf5
        hdf5.flush()
        content = hdf5.id.get_file_image()
    file.write_bytes(content)
