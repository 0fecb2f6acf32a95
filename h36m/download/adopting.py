"""Adopt downloads that axel, run by older tools, left unfinished under an archive's own name.

Videos_S1.tgz       with holes
Videos_S1.tgz.st    axel's state file
"""

from pathlib import Path

from h36m.archives.content import BEGINNING_BYTES, fault_in_beginning
from h36m.dataset import STATE_EXTENSION, Archive
from h36m.download.partial import STATE_CONNECTION, STATE_HEADER, PartialDownload, Version, unpack_state
from h36m.storage import rename_durably, write_atomically


def adopt(unfinished: Path, path: Path, archive: Archive) -> bool:
    """Make a download that axel left unfinished under the archive's own name the partial download.

    A run that is killed between two steps leaves what a later call adopts, or what `finish_adopting` puts in order.

    Args:
        unfinished: `NAME.tgz`, with axel's state file `NAME.tgz.st` beside it.
        path: where the partial download is to be, `NAME.tgz.part`.

    Returns:
        whether that was done; if not (another partial download exists, there is no state, or it cannot be trusted),
        nothing was changed.
    """
    state_path = unfinished.with_name(unfinished.name + STATE_EXTENSION)
    if path.exists() or not state_path.is_file():
        return False
    state = state_path.read_bytes()
    size = _size_in_state(state)
    noted = None if size is None else unpack_state(state, size)
    if size is None or not noted or unfinished.stat().st_size > size:
        return False
    with unfinished.open("rb") as file:  # the bytes before the first missing one show whether this is the archive
        beginning = file.read(min(BEGINNING_BYTES, noted[0][0]))
    if fault_in_beginning(beginning, archive):
        return False
    # In this order, and on the disk: a file with holes is never under `path` without its state.
    own_state_path = path.with_name(path.name + STATE_EXTENSION)
    write_atomically(own_state_path, state)
    PartialDownload(path).set_version(Version(size))
    rename_durably(unfinished, path)
    state_path.unlink()
    return True


def finish_adopting(unfinished: Path, path: Path) -> None:
    """Remove the state file that `adopt` left behind when it was killed before its last step."""
    if not unfinished.exists() and path.exists():
        unfinished.with_name(unfinished.name + STATE_EXTENSION).unlink(missing_ok=True)


def _size_in_state(state: bytes) -> int | None:
    """Return the size of the file that a state file belongs to; None if it is cut off."""
    if len(state) < STATE_HEADER.size or (len(state) - STATE_HEADER.size) % STATE_CONNECTION.size:
        return None
    _, done = STATE_HEADER.unpack_from(state)
    ranges = STATE_CONNECTION.iter_unpack(state[STATE_HEADER.size :])
    size = done + sum(end - start for start, end in ranges if start < end)
    return size if done >= 0 else None
