"""One unfinished download: its bytes, which of them are missing, and the size of the archive.

    NAME.tgz.part          the bytes
    NAME.tgz.part.st       axel's state file: the byte ranges that are missing. Without one, all bytes up to the
                           file's length are present: only ranges that are downloaded side by side leave holes.
    NAME.tgz.part.about    the archive's size, as the server sent it

A run may be killed between any two steps, and the next run trusts these files. So this always holds:
the files claim no byte that is not in `NAME.tgz.part`. After a power cut too: the bytes are on the disk before a state
claims them. (axel keeps its own state, and syncs nothing: see h36m.download.axel.)
"""

import contextlib
import io
import json
import struct
import threading
from pathlib import Path

from h36m.dataset import ARCHIVE_EXTENSION, PARTIAL_EXTENSION, STATE_EXTENSION, VERIFIED_RECORD, VERSION_EXTENSION
from h36m.storage import rename_durably, sync, write_atomically

# axel 2.17's state file: number of connections, bytes done, then for each connection the next byte to download and the
# end of its range. (Found by experiment; little endian on every machine that axel is packaged for.)
STATE_HEADER = struct.Struct("<Hq")
STATE_CONNECTION = struct.Struct("<qq")

# Byte ranges as (first byte, end), in order. An end of None is the archive's end, while its size is unknown.
Ranges = list[tuple[int, int | None]]


class PartialDownload:
    """An unfinished download. Threads may share it and write different ranges.

    Attributes:
        path: the file with the bytes; it may not exist yet.
        size: of the whole archive, as recorded next to the file; None while it is unknown.
        missing: the byte ranges that are missing, [] for a complete file; None where the files cannot be trusted (too
            long, or a state file that is truncated or belongs to another file). Then only `discard` helps.
        has_state: whether axel's state file exists; without one, the file's length says what is missing.
    """

    def __init__(self, path: Path):
        self.path = path
        self._state_path = path.with_name(path.name + STATE_EXTENSION)
        self._size_path = path.with_name(path.name + VERSION_EXTENSION)
        self._lock = threading.RLock()
        self._noting = threading.RLock()  # one state at a time; taken before `_lock`
        self._file: io.FileIO | None = None
        self.missing: Ranges | None
        self.reload()

    @property
    def length(self) -> int:
        """The file's length in bytes, holes included; 0 for no file."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    @property
    def bytes_done(self) -> int:
        """How many bytes are present."""
        missing, size = self.missing, self.size
        if missing is None or size is None:
            return self.length
        return size - _bytes_in(missing, size)

    @property
    def is_complete(self) -> bool:
        """Whether no byte is missing. The content is not verified yet."""
        return self.missing == []

    def reload(self) -> None:
        """Read from the files what is missing, as after a run of axel."""
        with self._lock:
            self.close()
            self.size = _read_size(self._size_path)
            self._read_missing()

    def set_size(self, size: int | None) -> None:
        """Record the archive's size; if it was another one, read again what is missing."""
        with self._lock:
            if size == self.size and self._size_path.exists():
                return
            write_atomically(self._size_path, json.dumps({"size": size}))
            if size != self.size:
                self.size = size
                self._read_missing()

    def write(self, position: int, data: bytes | memoryview) -> None:
        """Write bytes within one missing range; they are no longer missing.

        Args:
            position: offset in the archive of the first byte.

        Raises:
            ValueError: not all of these bytes are in one missing range.
            OSError: such as a full disk. What was written until then is no longer missing.
        """
        rest = memoryview(data)
        missing, _ = self._range_with(position, len(rest))
        # This write leaves a hole, which the file's length would claim: from now on a state file is needed.
        if position > missing[0][0] and not self._is_noted:
            self.note()
        with self._lock:
            if self._file is None:
                self._file = self.path.open("r+b" if self.path.exists() else "xb", buffering=0)
            self._file.seek(position)
            while rest:  # a disk that fills up accepts only a part
                written = self._file.write(rest)
                self._mark_present(position, position + written)
                position, rest = position + written, rest[written:]

    def note(self) -> None:
        """Record in axel's state file what is missing, so that axel, or a later run without it, resumes from there.

        Waits for the disk, as long as writing the bytes since the last call takes; other threads can continue
        writing meanwhile.

        Raises:
            ValueError: the size is unknown, or the files cannot be trusted.
        """
        with self._noting:
            with self._lock:
                missing, size = self.missing, self.size
            if missing is None or size is None:
                raise ValueError(f"{self.path}: a state needs the size of the archive and files that can be trusted")
            # Without a lock: what other threads write from here on is missing in this state.
            if self.path.exists():
                sync(self.path)
            write_atomically(self._state_path, _pack_state(missing, size))
            self.has_state = self._is_noted = True

    def split(self, count: int, smallest: int = 1) -> None:
        """Join adjacent missing ranges, and halve the largest ones until there are `count`; not on disk yet.

        Args:
            smallest: bytes that a part has at least; there may be fewer parts for that.
        """
        with self._lock:
            size = self.size
            if not self.missing or size is None:
                return
            ranges: list[tuple[int, int]] = []
            for start, end in self.missing:
                is_adjacent = ranges and ranges[-1][1] == start
                ranges.append((ranges.pop()[0] if is_adjacent else start, size if end is None else end))
            while len(ranges) < count:
                start, end = max(ranges, key=lambda each: each[1] - each[0])
                middle = (start + end) // 2
                if middle - start < smallest:
                    break
                ranges.remove((start, end))
                ranges += [(start, middle), (middle, end)]
            self.missing = [*sorted(ranges)]

    def mark_missing(self, ranges: Ranges) -> None:
        """Take bytes for missing again, since another version or a page may have been written there.

        Args:
            ranges: all that are missing now.

        Raises: as `note`.
        """
        with self._noting, self._lock:
            if self.length:  # else nothing is marked
                self.missing = [*ranges]
                self.note()

    def discard(self) -> None:
        """Remove the file and what is recorded about it."""
        with self._noting, self._lock:
            self.close()
            # In this order: without its state, a file with holes would claim them.
            for path in (self.path, self._state_path, self._size_path):
                path.unlink(missing_ok=True)
            self.reload()

    def move_to(self, path: Path) -> None:
        """Give the complete file its final name, once its bytes are on the disk; remove what was recorded about it."""
        with self._noting, self._lock:
            self.close()
            rename_durably(self.path, path)
            self.discard()

    def close(self) -> None:
        """Close the file; a later write opens it again."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    def _read_missing(self) -> None:
        """Set what is missing by the files. `_is_noted`: the state file claims no byte that is missing."""
        length, size = self.length, self.size
        try:
            state = self._state_path.read_bytes()
        except FileNotFoundError:
            state = None
        self.has_state, self._is_noted = state is not None, False
        self.missing = None
        if size is not None and length > size:
            return
        if state is None:
            self.missing = [(length, size)] if length != size else []
        elif (unpacked := unpack_state(state)) and unpacked[0] == size:
            _, noted = unpacked
            self.missing = _with_all_from(length, noted, size)
            self._is_noted = self.missing == noted

    def _range_with(self, position: int, length: int) -> tuple[Ranges, int]:
        """Return the missing ranges and the index of the one that contains these bytes."""
        missing = self.missing or []
        for index, (start, end) in enumerate(missing):
            if start <= position and (end is None or position + length <= end):
                return missing, index
        raise ValueError(f"{self.path}: bytes {position} to {position + length} are not in one missing range")

    def _mark_present(self, position: int, end: int) -> None:
        missing, index = self._range_with(position, end - position)
        range_start, range_end = missing[index]
        before: Ranges = [(range_start, position)] if range_start < position else []
        after: Ranges = [(end, range_end)] if range_end is None or end < range_end else []
        # A new list: other threads may be reading the old one.
        self.missing = [*missing[:index], *before, *after, *missing[index + 1 :]]


def remove_temporary_files(folder: Path) -> None:
    """Remove the temporary files that killed runs left in `archives/`."""
    for name in (VERIFIED_RECORD, f"*{ARCHIVE_EXTENSION}{PARTIAL_EXTENSION}"):
        for path in folder.glob(f"{name}.*.tmp"):
            with contextlib.suppress(OSError):  # it may be another user's, and harms nothing
                path.unlink()


def _bytes_in(ranges: Ranges, size: int) -> int:
    return sum((size if end is None else end) - start for start, end in ranges)


def _with_all_from(length: int, noted: list[tuple[int, int]], size: int) -> Ranges:
    """Return the missing ranges of a file that may be shorter than its state claims, as after a power cut."""
    claimed_end = size
    for start, end in reversed(noted):
        if end != claimed_end:
            break
        claimed_end = start
    if claimed_end <= length:
        return [*noted]
    return [*((start, min(end, length)) for start, end in noted if start < length), (length, size)]


def unpack_state(state: bytes) -> tuple[int, list[tuple[int, int]]] | None:
    """Return the size of the file that a state file belongs to, and its missing ranges; None if it is damaged."""
    if len(state) < STATE_HEADER.size:
        return None
    connections, done = STATE_HEADER.unpack_from(state)
    if len(state) != STATE_HEADER.size + connections * STATE_CONNECTION.size:
        return None
    ranges = sorted(STATE_CONNECTION.iter_unpack(state[STATE_HEADER.size :]))
    ranges = [(start, end) for start, end in ranges if start < end]  # the others are done
    size = done + sum(end - start for start, end in ranges)
    ends = [0, *(end for _, end in ranges)]
    is_in_order = all(previous_end <= start for previous_end, (start, _) in zip(ends, ranges, strict=False))
    return (size, ranges) if is_in_order and done >= 0 and ends[-1] <= size else None


def _pack_state(missing: Ranges, size: int) -> bytes:
    done = size - _bytes_in(missing, size)
    return STATE_HEADER.pack(len(missing), done) + b"".join(STATE_CONNECTION.pack(*each) for each in missing)


def _read_size(path: Path) -> int | None:
    """Return the recorded size; None if there is no record, or an unreadable one."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        size = json.loads(path.read_text(encoding="utf-8"))["size"]
        return size if isinstance(size, int) else None
    return None
