"""What axel left unfinished under an archive's own name becomes the partial download, whenever a run is killed."""

import gzip
import io
import itertools
import os
import random
import signal
import struct
import sys
import tarfile
from pathlib import Path

import pytest

from h36m.dataset import POSES_2D, VIDEOS, Archive
from h36m.download.adopting import adopt, finish_adopting
from h36m.download.partial import PartialDownload, Version, remove_temporary_files


def tar_of(name: str, content: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


def state(ranges: list[tuple[int, int]], done: int) -> bytes:
    """Return the bytes of a state file, as axel 2.17 writes it."""
    return struct.pack("<Hq", len(ranges), done) + b"".join(struct.pack("<qq", *each) for each in ranges)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


ARCHIVE = gzip.compress(tar_of("S1/Videos/a.mp4", random.Random(1).randbytes(50_000)), mtime=0)
HOLES = [(20_000, 30_000), (40_000, len(ARCHIVE))]
DONE = len(ARCHIVE) - 10_000 - (len(ARCHIVE) - 40_000)


def leave_by_axel(folder: Path, content: bytes = ARCHIVE, ranges=HOLES, done: int = DONE) -> tuple[Path, Path]:
    """Write a file with holes and its state as axel leaves them; return its path and that of a partial download."""
    with_holes = bytearray(content)
    for start, end in ranges:
        with_holes[start:end] = bytes(end - start)
    folder.mkdir(exist_ok=True)
    (folder / "Videos_S1.tgz").write_bytes(with_holes)
    (folder / "Videos_S1.tgz.st").write_bytes(state(ranges, done))
    return folder / "Videos_S1.tgz", folder / "Videos_S1.tgz.part"


ADOPTED = ["Videos_S1.tgz.part", "Videos_S1.tgz.part.about", "Videos_S1.tgz.part.st"]


def assert_adopted(folder: Path) -> None:
    """Check that a partial download misses the holes and nothing else, and completes to the archive."""
    assert names_in(folder) == ADOPTED
    adopted = PartialDownload(folder / ADOPTED[0])
    assert adopted.missing == HOLES and adopted.version == Version(len(ARCHIVE))
    for start, end in HOLES:
        adopted.write(start, ARCHIVE[start:end])
    adopted.close()
    assert adopted.is_complete and adopted.path.read_bytes() == ARCHIVE


def test_what_axel_left_under_the_archives_name_is_adopted(tmp_path):
    assert adopt(*leave_by_axel(tmp_path), Archive(VIDEOS, "S1"))
    assert_adopted(tmp_path)


def test_a_file_shorter_than_axels_state_claims_lacks_its_end(tmp_path):
    unfinished, path = leave_by_axel(tmp_path)
    with unfinished.open("r+b") as file:
        file.truncate(35_000)
    assert adopt(unfinished, path, Archive(VIDEOS, "S1"))
    assert PartialDownload(path).missing == [(20_000, 30_000), (35_000, len(ARCHIVE))]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda unfinished, state_path, path: state_path.unlink(),
        lambda unfinished, state_path, path: state_path.write_bytes(b""),
        lambda unfinished, state_path, path: state_path.write_bytes(state_path.read_bytes()[:-1]),
        lambda unfinished, state_path, path: state_path.write_bytes(state_path.read_bytes() + b"x" * 16),
        lambda unfinished, state_path, path: state_path.write_bytes(state([*HOLES, (20_000, 25_000)], DONE)),
        lambda unfinished, state_path, path: state_path.write_bytes(state([], len(ARCHIVE))),
        lambda unfinished, state_path, path: state_path.write_bytes(state(HOLES, -1)),
        lambda unfinished, state_path, path: state_path.write_bytes(state(HOLES, 10_000)),
        lambda unfinished, state_path, path: unfinished.write_bytes(ARCHIVE + b"x"),
        lambda unfinished, state_path, path: unfinished.write_bytes(b"<html>" + ARCHIVE[6:]),
        lambda unfinished, state_path, path: path.write_bytes(b"our own"),
    ],
    ids=[
        *["no state", "empty state", "cut state", "longer state", "overlapping ranges", "nothing missing"],
        *["negative", "other size", "longer file", "page", "own partial download"],
    ],
)
def test_a_state_that_cannot_be_trusted_changes_nothing(tmp_path, spoil):
    unfinished, path = leave_by_axel(tmp_path)
    spoil(unfinished, unfinished.with_name("Videos_S1.tgz.st"), path)
    before = {each.name: each.read_bytes() for each in tmp_path.iterdir()}
    assert not adopt(unfinished, path, Archive(VIDEOS, "S1"))
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == before


def test_archive_of_another_kind_is_not_adopted(tmp_path):
    assert not adopt(*leave_by_axel(tmp_path), Archive(POSES_2D, "S1"))
    assert not adopt(*leave_by_axel(tmp_path), Archive(VIDEOS, "S5"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a process to kill is made with fork")
def test_a_kill_at_each_step_of_adopting_leads_to_the_same(tmp_path):
    """At no moment is there a file with holes under the name of a partial download without its state."""
    for step in itertools.count(1):
        folder = tmp_path / str(step)
        unfinished, path = leave_by_axel(folder)
        child = os.fork()
        if not child:  # killed before the step, as the kernel kills
            steps = itertools.count(1)

            def kill(event, arguments, steps=steps, step=step):
                if event in ("open", "os.rename", "os.remove") and next(steps) == step:
                    os.kill(os.getpid(), signal.SIGKILL)

            sys.addaudithook(kill)
            adopt(unfinished, path, Archive(VIDEOS, "S1"))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            break
        assert path.with_name(ADOPTED[2]).exists() or not path.exists()
        finish_adopting(unfinished, path)
        assert path.exists() or adopt(unfinished, path, Archive(VIDEOS, "S1"))
        remove_temporary_files(folder)
        assert_adopted(folder)
    assert step > 6, "open, write, rename, rename, remove"


def test_state_of_a_download_that_goes_on_is_left_alone(tmp_path):
    """Axel's state is removed only where the file that it belongs to has become the partial download."""
    unfinished, path = leave_by_axel(tmp_path)
    finish_adopting(unfinished, path)
    path.touch()
    finish_adopting(unfinished, path)
    assert names_in(tmp_path) == ["Videos_S1.tgz", "Videos_S1.tgz.part", "Videos_S1.tgz.st"]
    path.unlink()
    unfinished.unlink()
    finish_adopting(unfinished, path)
    assert names_in(tmp_path) == ["Videos_S1.tgz.st"]
