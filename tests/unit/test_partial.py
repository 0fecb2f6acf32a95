"""The unfinished download: whatever happens to it, and whenever a run is killed, it claims only correct bytes."""

import os
import random
import struct
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from h36m.download.partial import PartialDownload

SIZE = 200
CONTENT = bytes(number % 255 + 1 for number in range(SIZE))  # without a zero, which is what holes are read as


def partial_at(folder: Path, size: int | None = SIZE) -> PartialDownload:
    partial = PartialDownload(folder / "Videos_S1.tgz.part")
    partial.set_size(size)
    return partial


@pytest.fixture
def partial(tmp_path):
    """A partial download of which nothing is there."""
    return partial_at(tmp_path)


def reloaded(partial: PartialDownload) -> PartialDownload:
    """Return what a run finds after this one was killed."""
    partial.close()
    return PartialDownload(partial.path)


def state_of(partial: PartialDownload) -> Path:
    return partial.path.with_name(partial.path.name + ".st")


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write(partial: PartialDownload, start: int, end: int) -> None:
    partial.write(start, CONTENT[start:end])


def state(ranges: list[tuple[int, int]], done: int) -> bytes:
    """Return the bytes of a state file, as axel 2.17 writes it."""
    return struct.pack("<Hq", len(ranges), done) + b"".join(struct.pack("<qq", *each) for each in ranges)


# -- what is missing ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "length, size, missing",
    [
        (0, SIZE, [(0, SIZE)]),
        (50, SIZE, [(50, SIZE)]),
        (SIZE, SIZE, []),
        (SIZE + 1, SIZE, None),
        (0, None, [(0, None)]),
        (50, None, [(50, None)]),
    ],
)
def test_without_a_state_the_length_says_what_is_missing(tmp_path, length, size, missing):
    (tmp_path / "Videos_S1.tgz.part").write_bytes(bytes(length))
    partial = partial_at(tmp_path, size)
    assert partial.missing == missing and not partial.has_state
    assert partial.is_complete == (missing == [])
    assert partial.bytes_done == length


@pytest.mark.parametrize(
    "written, missing",
    [
        (state([(10, 20)], SIZE - 10), [(10, 20)]),
        (state([(150, 200), (10, 20)], SIZE - 60), [(10, 20), (150, 200)]),
        (state([(20, 20), (60, 50), (100, 200)], SIZE - 100), [(100, 200)]),
        (state([], SIZE), []),
        (state([(10, 20)], SIZE - 11), None),
        (state([(10, 20), (15, 30)], SIZE - 25), None),
        (state([(190, 210)], SIZE - 20), None),
        (state([(-10, 20)], SIZE - 30), None),
        (state([(10, 20)], SIZE - 10)[:-1], None),
        (state([(10, 20)], SIZE - 10) + b"\0", None),
        (b"\x01", None),
        (b"", None),
    ],
    ids=[
        "one range",
        "two",
        "connections that are done",
        "complete",
        "wrong sum",
        "overlap",
        "past the end",
        "before the start",
        "cut off",
        "too long",
        "shorter than its header",
        "empty",
    ],
)
def test_a_state_says_what_is_missing(tmp_path, written, missing):
    partial = partial_at(tmp_path)
    partial.path.write_bytes(CONTENT)
    state_of(partial).write_bytes(written)
    assert reloaded(partial).missing == missing


@pytest.mark.parametrize(
    "length, missing",
    [
        (200, [(10, 20), (150, 160)]),
        (160, [(10, 20), (150, 160), (160, 200)]),
        (150, [(10, 20), (150, 200)]),
        (50, [(10, 20), (50, 200)]),
        (15, [(10, 15), (15, 200)]),
        (5, [(5, 200)]),
        (None, [(0, 200)]),
    ],
)
def test_a_file_cut_off_under_its_state_lacks_its_end(tmp_path, length, missing):
    partial = partial_at(tmp_path)
    state_of(partial).write_bytes(state([(10, 20), (150, 160)], SIZE - 20))
    if length is not None:
        partial.path.write_bytes(bytes(length))
    assert reloaded(partial).missing == missing


def test_axels_own_ranges_stay_as_they_are_in_a_short_file(tmp_path):
    """axel cannot resume with fewer connections than ranges, so that none is cut in two needlessly."""
    ranges = [(10, 50), (60, 100), (120, 200)]
    partial = partial_at(tmp_path)
    partial.path.write_bytes(bytes(120))
    state_of(partial).write_bytes(state(ranges, 80 - 40))
    assert reloaded(partial).missing == ranges


def test_a_state_of_another_size_is_not_trusted(tmp_path, partial):
    write(partial, 100, 120)
    partial.note()
    partial.set_size(SIZE + 1)
    assert partial.missing is None
    partial.set_size(None)
    assert partial.missing is None
    partial.set_size(SIZE)
    assert partial.missing == [(0, 100), (120, SIZE)]


# -- writing, noting, splitting ----------------------------------------------------------------------------------------


def test_bytes_in_order_need_no_state(tmp_path, partial):
    write(partial, 0, 50)
    write(partial, 50, 80)
    assert reloaded(partial).missing == [(80, SIZE)] == partial.missing
    write(partial, 80, SIZE)
    assert partial.is_complete and partial.path.read_bytes() == CONTENT
    assert names_in(tmp_path) == ["Videos_S1.tgz.part", "Videos_S1.tgz.part.about"]


def test_a_hole_is_noted_before_it_is_there(tmp_path, partial):
    write(partial, 0, 50)
    (tmp_path / f"Videos_S1.tgz.part.st.{os.getpid()}.tmp").mkdir()  # so that nothing can be noted
    with pytest.raises(IsADirectoryError):
        write(partial, 100, 120)
    assert partial.path.stat().st_size == 50 and reloaded(partial).missing == [(50, SIZE)]


def test_a_state_that_claims_too_much_is_noted_before_a_hole(tmp_path):
    partial = partial_at(tmp_path)
    state_of(partial).write_bytes(state([(10, 20)], SIZE - 10))
    partial.path.write_bytes(CONTENT[:50])
    partial = reloaded(partial)
    write(partial, 100, 120)
    assert (20, 50) not in partial.missing
    assert [(start, end) for start, end in reloaded(partial).missing if start >= 50] == [(50, SIZE)]
    partial.note()
    assert reloaded(partial).missing == [(10, 20), (50, 100), (120, SIZE)]


def test_bytes_are_synced_before_a_state_claims_them(partial, monkeypatch):
    """Another thread goes on writing meanwhile; of what it writes the state says nothing."""
    synced = []

    def sync_while_another_writes(path):
        assert not state_of(partial).exists()
        synced.append(path)
        thread = threading.Thread(target=write, args=(partial, 50, 80))
        thread.start()
        thread.join()

    write(partial, 0, 50)
    monkeypatch.setattr("h36m.download.partial.sync", sync_while_another_writes)
    partial.note()
    assert synced == [partial.path] and partial.missing == [(80, SIZE)]
    monkeypatch.undo()
    os.truncate(partial.path, SIZE)
    assert reloaded(partial).missing == [(50, SIZE)]


def test_what_is_noted_is_not_missing_in_a_later_run(partial):
    partial.split(4)
    assert partial.missing == [(0, 50), (50, 100), (100, 150), (150, 200)]
    write(partial, 50, 60)
    write(partial, 110, 120)
    partial.note()
    expected = [(0, 50), (60, 100), (100, 110), (120, 150), (150, 200)]
    assert partial.missing == expected == reloaded(partial).missing
    assert state_of(partial).read_bytes() == state(expected, 20)


@pytest.mark.parametrize("start, end", [(40, 60), (0, 10), (190, 210), (60, 110)])
def test_bytes_that_are_not_missing_are_not_written(partial, start, end):
    partial.split(2)
    write(partial, 0, 50)
    with pytest.raises(ValueError, match="not in one missing range"):
        partial.write(start, bytes(end - start))
    assert partial.path.read_bytes() == CONTENT[:50] and partial.missing == [(50, 100), (100, 200)]


@pytest.mark.parametrize(
    "holes, count, smallest, lengths",
    [
        ([(0, 200)], 24, 50, [50] * 4),
        ([(0, 200)], 24, 200, [200]),
        ([(0, 10), (20, 200)], 4, 1, [10, 45, 45, 90]),
        ([(0, 10), (20, 30), (40, 50)], 2, 1, [10, 10, 10]),
        ([(0, 100), (140, 200)], 3, 1, [50, 50, 60]),
        ([(0, 200)], 1, 1, [200]),
        ([(198, 200)], 24, 1, [1, 1]),
        ([], 4, 1, []),
    ],
)
def test_holes_are_cut_where_the_parts_are_largest(tmp_path, holes, count, smallest, lengths):
    partial = partial_at(tmp_path)
    present_from = 0
    for start, end in [*holes, (200, 200)]:
        if present_from < start:
            partial.write(present_from, CONTENT[present_from:start])
        present_from = end
    partial.split(count, smallest)
    assert sorted(end - start for start, end in partial.missing) == lengths
    assert sum(lengths) == 200 - partial.bytes_done


def test_an_archive_of_unknown_size_grows_until_its_end_is_known(tmp_path):
    partial = partial_at(tmp_path, None)
    partial.split(4)
    write(partial, 0, 80)
    write(partial, 80, SIZE)
    assert partial.missing == [(SIZE, None)] and not partial.is_complete
    with pytest.raises(ValueError, match="size"):
        partial.note()
    with pytest.raises(ValueError, match="size"):
        partial.write(SIZE + 1, b"x")
    partial.set_size(SIZE)
    assert partial.is_complete and partial.path.read_bytes() == CONTENT


def test_a_full_disk_costs_only_what_was_not_written(small_disk):
    partial = partial_at(small_disk(1), 3 << 20)
    with pytest.raises(OSError, match="No space left"):
        partial.write(0, b"x" * (2 << 20))
    length = partial.path.stat().st_size
    assert length > 500_000 and partial.missing == [(length, 3 << 20)]
    partial.close()


def test_threads_write_different_ranges(tmp_path):
    content = random.Random(1).randbytes(1 << 20)
    partial = partial_at(tmp_path, len(content))
    partial.split(8)

    def fill(start: int, end: int) -> None:
        for position in range(start, end, 1000):
            partial.write(position, content[position : min(end, position + 1000)])

    threads = [threading.Thread(target=fill, args=each) for each in partial.missing]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        partial.note()
    for thread in threads:
        thread.join()
    assert partial.is_complete and partial.path.read_bytes() == content


# -- the files beside it -----------------------------------------------------------------------------------------------


def test_the_size_is_recorded(tmp_path, partial):
    partial.set_size(SIZE + 1)
    assert reloaded(partial).size == SIZE + 1


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"size": "200"}', '{"sizes": 200}'])
def test_a_record_that_cannot_be_read_is_of_no_known_size(partial, text):
    write(partial, 0, 50)
    partial.path.with_name(partial.path.name + ".about").write_text(text)
    assert reloaded(partial).size is None and reloaded(partial).missing == [(50, None)]


def test_discard_removes_the_file_and_what_is_recorded(tmp_path, partial):
    write(partial, 100, 120)
    assert len(names_in(tmp_path)) == 3
    partial.discard()
    assert names_in(tmp_path) == [] and partial.missing == [(0, None)] and partial.size is None


def test_the_complete_file_moves_alone(tmp_path, partial):
    write(partial, 100, SIZE)
    write(partial, 0, 100)
    partial.move_to(tmp_path / "Videos_S1.tgz")
    assert names_in(tmp_path) == ["Videos_S1.tgz"] and (tmp_path / "Videos_S1.tgz").read_bytes() == CONTENT


def test_a_state_left_without_its_file_claims_nothing(partial):
    write(partial, 100, 120)
    partial.close()
    partial.path.unlink()
    partial = reloaded(partial)
    assert partial.bytes_done == 0
    write(partial, 150, 160)
    assert reloaded(partial).bytes_done == 0
    partial.note()
    assert reloaded(partial).missing == [(0, 150), (160, SIZE)]


# -- any interleaving --------------------------------------------------------------------------------------------------


class AnyInterleaving(RuleBasedStateMachine):
    """Do what runs, kills and a disk can do to a partial download, in any order."""

    def __init__(self):
        super().__init__()
        self.folder = TemporaryDirectory()
        self.partial = partial_at(Path(self.folder.name))

    def teardown(self):
        for start, end in list(self.partial.missing):
            write(self.partial, start, end)
        assert self.partial.is_complete and self.partial.path.read_bytes() == CONTENT
        if self.partial.has_state:
            self.partial.note()
        assert reloaded(self.partial).is_complete
        self.folder.cleanup()

    def reload(self):
        self.partial = reloaded(self.partial)
        if self.partial.missing is None:
            self.partial.discard()
            self.partial.set_size(SIZE)

    @initialize(length=st.integers(0, SIZE))
    def begin(self, length):
        if length:
            write(self.partial, 0, length)

    @precondition(lambda self: self.partial.missing)
    @rule(data=st.data())
    def write_some(self, data):
        start, end = data.draw(st.sampled_from(self.partial.missing))
        start = data.draw(st.sampled_from([start, (start + end) // 2]))
        write(self.partial, start, data.draw(st.integers(start + 1, end)))

    @rule()
    def note(self):
        self.partial.note()

    @rule(count=st.integers(1, 6))
    def split(self, count):
        before = {byte for each in self.partial.missing for byte in range(*each)}
        self.partial.split(count)
        assert before == {byte for each in self.partial.missing for byte in range(*each)}
        assert len(self.partial.missing) >= min(count, len(before))

    @rule()
    def kill(self):
        self.reload()

    @precondition(lambda self: self.partial.path.exists())
    @rule(length=st.integers(0, SIZE), is_noted=st.booleans())
    def truncate(self, length, is_noted):
        if is_noted:
            self.partial.note()
        if length < self.partial.length:
            os.truncate(self.partial.path, length)
        self.reload()

    @precondition(lambda self: self.partial.has_state)
    @rule(length=st.integers(0, 60))
    def truncate_state(self, length):
        if length < state_of(self.partial).stat().st_size:
            os.truncate(state_of(self.partial), length)
        self.reload()

    @precondition(lambda self: self.partial.has_state)
    @rule(index=st.integers(0), bit=st.integers(0, 7))
    def flip_a_bit_of_the_state(self, index, bit):
        spoilt = bytearray(state_of(self.partial).read_bytes())
        spoilt[index % len(spoilt)] ^= 1 << bit
        state_of(self.partial).write_bytes(spoilt)
        self.reload()

    @precondition(lambda self: self.partial.has_state)
    @rule(garbage=st.binary(max_size=30))
    def garbage_in_the_state(self, garbage):
        state_of(self.partial).write_bytes(garbage)
        self.reload()

    @invariant()
    def the_files_claim_only_what_is_right(self):
        for each in (self.partial, PartialDownload(self.partial.path)):
            present = bytearray(self.partial.path.read_bytes() if self.partial.path.exists() else b"")
            assert len(present) <= SIZE
            right = bytearray(CONTENT)
            for start, end in each.missing:
                right[start:end] = bytes(end - start)
                present[start : min(end, len(present))] = bytes(max(0, min(end, len(present)) - start))
            assert present.ljust(SIZE, b"\0") == right


TestAnyInterleaving = AnyInterleaving.TestCase
TestAnyInterleaving.settings = settings(
    max_examples=30, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
