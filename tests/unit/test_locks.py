"""h36m/locks.py function by function, with the system's own locks and without."""

import errno
import os
import queue
import stat
import threading
from pathlib import Path

import pytest
from helpers.system import as_nobody, needs_seccomp, without_locks

from h36m.errors import TaskError
from h36m.locks import RUN_LOCK, locked, only_run_in, say_if_without_locks
from h36m.process.annotations import read_attributes, write_annotations

# What filelock's own lock files hold, which the fallback of its versions from 3.25 on leaves behind.
LEFT_BEHIND = f"{os.getpid()}\nsome-node\n"
NO_LOCKS = [
    pytest.param(errno.ENOSYS, id="ENOSYS"),
    pytest.param(errno.EOPNOTSUPP, id="EOPNOTSUPP"),
    pytest.param(errno.ENOLCK, id="ENOLCK"),
]


def test_second_run_in_a_folder_says_so_and_waits_for_the_first(tmp_path):
    events = queue.Queue()

    def second_run():
        with only_run_in(tmp_path, lambda line: events.put(f"said {line}")):
            events.put("entered")

    with only_run_in(tmp_path, lambda line: events.put("the first said something")):
        thread = threading.Thread(target=second_run)
        thread.start()
        said = events.get(timeout=60)
        with pytest.raises(queue.Empty):  # it does not enter while the first is at work
            events.get(timeout=0.15)
    assert said.startswith(f"said {tmp_path}: ")
    assert events.get(timeout=60) == "entered"
    thread.join()


def test_lock_of_a_folder_is_freed_after_an_error(tmp_path):
    with pytest.raises(KeyError), only_run_in(tmp_path, pytest.fail):
        raise KeyError
    with only_run_in(tmp_path, pytest.fail):
        assert (tmp_path / RUN_LOCK).exists()


def test_lock_file_that_was_left_behind_does_not_block(tmp_path):
    (tmp_path / RUN_LOCK).write_text(LEFT_BEHIND)
    with only_run_in(tmp_path, pytest.fail):
        assert (tmp_path / RUN_LOCK).read_text() == LEFT_BEHIND


@needs_seccomp
@pytest.mark.parametrize("number", NO_LOCKS)
def test_run_without_locks_says_so_once_and_goes_on(tmp_path, number):
    """Whatever lock file an earlier run has left."""
    (tmp_path / RUN_LOCK).write_text(LEFT_BEHIND)
    said = []

    def run():
        with only_run_in(tmp_path, said.append):
            return "at work"

    assert without_locks(run, number) == "at work"
    assert said == [f"{tmp_path}: this file system does not support file locks; do not start a second run on it"]


@needs_seccomp
def test_locks_of_sequences_are_tried_beforehand(tmp_path):
    said = []
    say_if_without_locks(tmp_path / ".locks", said.append)
    assert said == []
    without_locks(lambda: say_if_without_locks(tmp_path / ".locks", said.append), errno.ENOSYS)
    assert len(said) == 1 and str(tmp_path / ".locks") in said[0]
    (tmp_path / "file").touch()
    say_if_without_locks(tmp_path / "file" / ".locks", pytest.fail)  # reported by what needs the folder


@needs_seccomp
def test_other_failure_to_lock_names_the_file_and_the_cause(tmp_path):
    def run():
        with pytest.raises(TaskError) as caught, locked(tmp_path / "a.lock"):
            pytest.fail("it is not locked")
        return str(caught.value)

    assert without_locks(run, errno.EIO).startswith(f"cannot lock {tmp_path / 'a.lock'}: Input/output error; ")


def test_lock_file_that_cannot_be_made_is_named(tmp_path):
    missing = tmp_path / "missing"
    with pytest.raises(TaskError) as caught, only_run_in(missing, pytest.fail):
        pytest.fail("it is not locked")
    assert str(caught.value) == (
        f"cannot lock {missing / RUN_LOCK}: No such file or directory; check that you can write to {missing} and to "
        "this file"
    )


@pytest.fixture
def shared_folder(tmp_path, monkeypatch):
    """A folder that every user may write to, as the current one: others could not walk to it."""
    tmp_path.chmod(0o777)
    monkeypatch.chdir(tmp_path)
    return Path()


def lock_as_nobody(folder: Path) -> str | None:
    """Lock a folder as another user; return the error."""

    def run():
        try:
            with locked(folder / RUN_LOCK) as is_held:
                assert is_held
        except TaskError as error:
            return str(error)

    return as_nobody(run)


def test_lock_file_that_only_its_owner_may_write_is_locked(shared_folder):
    (shared_folder / RUN_LOCK).touch(0o644)
    assert lock_as_nobody(shared_folder) is None


def test_lock_file_that_another_user_may_not_read_is_named(shared_folder):
    (shared_folder / RUN_LOCK).touch(0o600)
    expected = f"cannot lock {RUN_LOCK}: Permission denied; check that you can write to . and to this file"
    assert lock_as_nobody(shared_folder) == expected


@pytest.mark.skipif(not hasattr(os, "fchmod"), reason="this system has no modes of files")
@pytest.mark.parametrize(
    ("of_folder", "of_file"), [(0o775, 0o664), (0o700, 0o600), (0o1777, 0o666)], ids=["group", "owner", "everybody"]
)
def test_who_may_write_to_the_folder_may_write_to_its_lock_file(tmp_path, of_folder, of_file):
    """So that a lab's folder on NFS, where only files open for writing can be locked, works whatever the umasks."""
    tmp_path.chmod(of_folder)
    before = os.umask(0o077)
    try:
        with locked(tmp_path / "a.lock"):
            assert stat.S_IMODE((tmp_path / "a.lock").stat().st_mode) == of_file
    finally:
        os.umask(before)


@needs_seccomp
@pytest.mark.parametrize("number", NO_LOCKS)
def test_hdf5_files_are_written_and_read_without_locks(tmp_path, number):
    def write_and_read():
        write_annotations(tmp_path / "annot.h5", {}, {"sequence": "S1 Walking-1"})
        return read_attributes(tmp_path / "annot.h5")

    assert without_locks(write_and_read, number) == {"sequence": "S1 Walking-1"}
