"""h36m/storage.py function by function: records, atomic writes, and names, on real files."""

import errno
import os
import resource
import signal
import stat

import pytest
from helpers.steps import watch_steps

from h36m.storage import (
    PRIVATE,
    Record,
    cleared,
    free_name,
    is_disk_full,
    is_read_only,
    rename_durably,
    start_writing,
    started_file,
    sync,
    sync_tree,
    write_atomically,
)

MD5 = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def archive(tmp_path):
    file = tmp_path / "Videos_S1.tgz"
    file.write_bytes(b"12345")
    return file


@pytest.fixture
def record(tmp_path, archive):
    """A record that holds the archive with its MD5."""
    record = Record(tmp_path / "record.json")
    record.add(archive, MD5)
    return record


# -- Record ------------------------------------------------------------------------------------------------------------


def test_record_holds_an_added_archive_with_its_md5(record, archive):
    assert record.holds(archive) and record.holds(archive, MD5) and record.md5(archive) == MD5
    assert not record.holds(archive, "f" * 32)


def test_record_is_read_back_by_the_next_run(record, archive):
    assert Record(record.path).entries == record.entries
    assert Record(record.path).holds(archive, MD5)


@pytest.mark.parametrize("files", [None, {}, {"a.mp4": 0, "b/c.mp4": 5}])
def test_record_has_the_sizes_of_unpacked_files(record, archive, files):
    record.add(archive, files=files)
    assert record.files(archive) == Record(record.path).files(archive) == files
    assert Record(record.path).holds(archive)
    assert record.files(archive.with_name("another.tgz")) is None


def test_record_keeps_earlier_archives_when_one_is_added(record, archive):
    other = archive.with_name("Videos_S5.tgz")
    other.write_bytes(b"678")
    record.add(other)
    assert record.holds(archive, MD5) and record.holds(other)
    assert record.md5(other) is None and not record.holds(other, MD5)


@pytest.mark.parametrize(("content", "later"), [(b"123456", 0), (b"12345", 1_000_000)])
def test_record_does_not_hold_an_archive_of_another_size_or_time(record, archive, content, later):
    time = archive.stat().st_mtime_ns + later
    archive.write_bytes(content)
    os.utime(archive, ns=(time, time))
    assert not record.holds(archive) and record.md5(archive) is None


def test_record_does_not_hold_unknown_or_missing_archives(record, archive):
    archive.with_name("Videos_S5.tgz").write_bytes(b"12345")
    assert not record.holds(archive.with_name("Videos_S5.tgz"))
    archive.unlink()
    assert not record.holds(archive) and record.md5(archive) is None


@pytest.mark.parametrize(
    "content", [b"", b"{", b"null", b"[]", b"[1]", b"3", b"\xff\xfe", b'{"Videos_S1.tgz": 1}', b'{"Videos_S1.tgz": {}}']
)
def test_broken_record_is_an_empty_one_and_can_be_written(tmp_path, archive, content):
    path = tmp_path / "record.json"
    path.write_bytes(content)
    record = Record(path)
    assert record.entries == {} and not record.holds(archive)
    record.add(archive, MD5)
    assert Record(path).holds(archive, MD5)


# -- write_atomically --------------------------------------------------------------------------------------------------


@pytest.fixture
def umask_022():
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
@pytest.mark.usefixtures("umask_022")
def test_written_file_has_the_mode_that_was_asked_for(tmp_path):
    write_atomically(tmp_path / "private", "text", PRIVATE)
    write_atomically(tmp_path / "public", "text")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("private", "public")]
    assert modes == [0o600, 0o644]


def test_written_file_replaces_the_old_one_as_a_whole(tmp_path):
    file = tmp_path / "file"
    file.write_text("old", encoding="utf-8")
    with file.open(encoding="utf-8") as opened_before:
        write_atomically(file, "new \udcff\r\n")
        assert opened_before.read() == "old"
    assert file.read_bytes() == b"new \xff\r\n"
    assert list(tmp_path.iterdir()) == [file]


def test_failed_write_keeps_the_old_file_and_leaves_no_other(tmp_path):
    file = tmp_path / "file"
    file.write_text("old", encoding="utf-8")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # as Python does at its start; then a write fails
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            write_atomically(file, "more than ten bytes")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert file.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_temporary_file_of_a_killed_process_is_no_obstacle(tmp_path):
    (tmp_path / f"file.{os.getpid()}.tmp").write_text("half")
    write_atomically(tmp_path / "file", "whole")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


# -- names and errors --------------------------------------------------------------------------------------------------


def test_free_name_is_the_first_that_does_not_exist(tmp_path):
    path = tmp_path / "Videos.old"
    found = []
    for _ in range(3):
        found.append(free_name(path).name)
        free_name(path).mkdir()
    assert found == ["Videos.old", "Videos.old-2", "Videos.old-3"]


@pytest.mark.parametrize(
    ("number", "full", "read_only"),
    [
        (errno.ENOSPC, True, False),
        (errno.EDQUOT, True, False),
        (errno.EACCES, False, True),
        (errno.EPERM, False, True),
        (errno.EROFS, False, True),
        (errno.EIO, False, False),
        (None, False, False),
    ],
)
def test_errors_of_full_and_read_only_disks_differ(number, full, read_only):
    error = OSError(number, "words") if number else OSError("words")
    assert (is_disk_full(error), is_read_only(error)) == (full, read_only)


# -- power cuts, see also tests/test_power_cut.py ----------------------------------------------------------------------


@pytest.fixture
def steps(monkeypatch):
    return watch_steps(monkeypatch)


@pytest.mark.parametrize(
    "make",
    [lambda file: rename_durably(file.with_name("Videos_S1.tgz"), file), lambda file: write_atomically(file, b"small")],
    ids=["rename_durably", "write_atomically"],
)
def test_new_file_is_synced_first_and_its_folder_last(tmp_path, archive, steps, make):
    make(tmp_path / "new")
    file, folder = (tmp_path / "new").stat().st_ino, tmp_path.stat().st_ino
    assert steps == [("sync", file), ("rename", file), ("sync", folder)]


def test_archive_is_synced_before_its_record(tmp_path, archive, steps):
    Record(tmp_path / "record.json").add(archive)
    file, folder = archive.stat().st_ino, tmp_path.stat().st_ino
    assert steps[:2] == [("sync", file), ("sync", folder)] and steps[3][0] == "rename"


def test_tree_is_synced_files_first_and_outer_folders_last(tmp_path, steps):
    inner = tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    for number in range(20):
        (inner / str(number)).write_bytes(b"content")
    (tmp_path / "outer" / "file").touch()
    sync_tree(tmp_path / "outer")
    files = {("sync", path.stat().st_ino) for path in (tmp_path / "outer").rglob("*") if path.is_file()}
    assert len(files) == 21 and set(steps[:21]) == files
    assert steps[21:] == [("sync", inner.stat().st_ino), ("sync", inner.parent.stat().st_ino)]


def test_tree_that_cannot_be_read_or_synced_is_an_error(tmp_path, archive, monkeypatch):
    def fail(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match="absent"):
        sync_tree(tmp_path / "absent")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match=r"Videos_S1\.tgz"):
        sync_tree(tmp_path)


def test_advice_to_write_that_is_refused_is_no_error(tmp_path):
    read, write = os.pipe()  # which has nothing to write to a disk
    start_writing(write)
    os.close(read)
    os.close(write)


def test_file_is_whole_when_the_system_starts_to_write_it(tmp_path, monkeypatch):
    sizes = []
    monkeypatch.setattr("h36m.storage.start_writing", lambda handle: sizes.append(os.fstat(handle).st_size))
    with started_file(tmp_path / "new") as file:
        file.write(b"content")
    assert sizes == [len(b"content")]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_file_system_that_cannot_sync_folders_is_accepted(tmp_path, archive, monkeypatch, number):
    fsync = os.fsync

    def refuse_folders(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(number, os.strerror(number))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", refuse_folders)
    rename_durably(archive, tmp_path / "renamed")
    assert (tmp_path / "renamed").read_bytes() == b"12345"


def test_disk_that_fails_to_sync_is_an_error_with_the_name(tmp_path, archive, monkeypatch):
    def fail(handle):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match=r"Videos_S1\.tgz"):
        rename_durably(archive, tmp_path / "renamed")
    assert archive.exists(), "it keeps its name"
    with pytest.raises(OSError, match=tmp_path.name):
        sync(tmp_path)


def test_only_leftovers_of_runs_are_removed(tmp_path):
    """Not a folder of the user whose name begins like theirs."""
    for name in (".making", ".making-2", ".making-of", ".makings"):
        (tmp_path / name).mkdir()
    assert cleared(tmp_path / ".making") == tmp_path / ".making"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".making-of", ".makings"]
