"""Locks between runs that share a folder, on whatever file system it is.

These are the system's locks (`flock`), freed however a process ends: a lock file that was left behind never blocks.
Windows has none, nor do some file systems, such as Lustre without `-o flock`. There a run continues without locks and
says so; a lock by a file's existence would outlive a killed run.

HDF5 locks its files too, and fails where it cannot, so that is turned off (`locking=False`): an annot.h5 is written
under a sequence's lock and moved into place, and nobody writes to the .mat files.
"""

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from h36m.errors import TaskError
from h36m.storage import FOR_EVERYBODY

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

RUN_LOCK = ".lock"  # in archives/ and extracted/: one run at a time
TRIAL_LOCK = "trial.lock"  # next to the locks of sequences, to find out whether locks are supported

# The errors of a file system without locks. ENOLCK: NFS whose lock daemon does not run.
NO_LOCKS_ERRNOS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL)


def say_if_without_locks(folder: Path, say: Callable[[str], None]) -> None:
    """Print a warning where a folder's file system does not support locks. Other failures to lock are reported later.

    Args:
        folder: is made if there is none.
        say: called with a line for the user.
    """
    with contextlib.suppress(OSError, TaskError):
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / TRIAL_LOCK) as is_held:
            if not is_held:
                say(_without_locks(folder))


@contextlib.contextmanager
def only_run_in(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Make runs on the same folder take turns. The system frees the lock of a killed run.

    Args:
        folder: must exist.
        say: called with a line for the user when there is something to wait for, or where there are no locks.

    Raises:
        TaskError: the lock file cannot be opened.
    """

    def say_waiting() -> None:
        say(f"{folder}: in use by another run; waiting for it to finish")

    with locked(folder / RUN_LOCK, say_waiting) as is_held:
        if not is_held:
            say(_without_locks(folder))
        yield


@contextlib.contextmanager
def locked(path: Path, before_waiting: Callable[[], None] = lambda: None) -> Iterator[bool]:
    """Hold the lock of a file while the `with` block runs; wait for its present holder. Yield whether it is held.

    It is not held, without waiting, only where the file system does not support locks.

    Args:
        path: the lock file, created if absent; it is never deleted, since another process may hold it.
        before_waiting: called when another process or thread holds the lock.

    Raises:
        TaskError: the lock file cannot be opened or locked; it names the file and the cause.
    """
    handle = None
    try:
        try:
            handle = _open(path)
            is_held = _lock(handle, before_waiting)
        except OSError as error:
            remedy = f"check that you can write to {path.parent} and to this file"
            raise TaskError(f"cannot lock {path}: {error.strerror}; {remedy}") from error
        yield is_held
    finally:
        if handle is not None:
            os.close(handle)  # frees the lock


def _open(path: Path) -> int:
    """Open a lock file, created if absent, with the permissions there are: reading suffices to lock it."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, FOR_EVERYBODY)
    except OSError:
        # Another user's file, or a read-only file system.
        if not path.is_file():
            raise
        return os.open(path, os.O_RDONLY)
    # Whoever may write to a shared folder may lock it, whatever the umask of the user who was first.
    with contextlib.suppress(OSError, AttributeError):  # Windows has no such function
        os.fchmod(handle, path.parent.stat().st_mode & FOR_EVERYBODY)
    return handle


def _lock(handle: int, before_waiting: Callable[[], None]) -> bool:
    """Lock an open file; return whether its file system has locks."""
    if not fcntl:
        return False
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            before_waiting()
            fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno in NO_LOCKS_ERRNOS:
            return False
        raise
    return True


def _without_locks(folder: Path) -> str:
    return f"{folder}: this file system does not support file locks; do not start a second run on it"
