"""Files of the dataset with bytes changed or cut off: each is read right or refused in one line, whatever it claims."""

import collections
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.damaged import KINDS, READ, REFUSED
from helpers.scripts import PROJECT
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the limit of memory is set from /proc")

WORDS = st.binary(min_size=1, max_size=8) | st.sampled_from([b"\xff" * 4, b"\x7f" + b"\xff" * 7, b"\xff" * 8, bytes(8)])
# By which NASA's library may end a process, for an index that refers to itself: each sequence has a process of its own.
CRASHES = {"poses": {"SIGSEGV", "SIGBUS", "SIGABRT", "SIGFPE"}}


class Reader:
    """A process that reads files; a file that ends the process costs that file."""

    def __init__(self, kind: str):
        self.command = [sys.executable, "-m", "helpers.damaged", kind]
        self.process = None

    def read(self, file: Path) -> str:
        if self.process is None:
            environment = os.environ | {"PYTHONPATH": f"{PROJECT}:{PROJECT / 'tests'}"}
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            self.process = subprocess.Popen(self.command, cwd=PROJECT, env=environment, **pipes)
        print(file, file=self.process.stdin, flush=True)
        return self.process.stdout.readline().rstrip("\n") or self.close()

    def close(self) -> str:
        """End the process; return by which signal it ended."""
        if self.process is None:
            return ""
        self.process.stdin.close()
        status = self.process.wait(30)
        self.process.stdout.close()
        self.process = None
        return signal.Signals(-status).name if status < 0 else f"exit status {status}"


def assert_read_or_refused(kind: str, files: int, folder: Path) -> None:
    """Read files of a kind with up to four words overwritten, and many cut off."""
    ending, write, _ = KINDS[kind]
    file, reader, ended = folder / f"a{ending}", Reader(kind), collections.Counter()
    write(file)
    whole = file.read_bytes()
    assert reader.read(file) == READ
    places = st.sampled_from([place for place, byte in enumerate(whole) if byte])

    @settings(max_examples=files, deadline=None, database=None)
    @given(st.lists(st.tuples(places, WORDS), max_size=4), st.none() | st.integers(0, len(whole)))
    def check(changes, length):
        content = bytearray(whole)
        for place, word in changes:
            content[place : place + len(word)] = word
        file.write_bytes(content[:length])
        how = reader.read(file)
        ended[how] += 1
        assert how in (READ, REFUSED) or how in CRASHES.get(kind, ()), how

    try:
        check()
    finally:
        reader.close()
    assert ended[READ] and ended[REFUSED] > files / 4 and ended[READ] + ended[REFUSED] > files * 0.95, ended


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_file_is_read_right_or_refused(kind, tmp_path):
    assert_read_or_refused(kind, 40, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_hundreds_of_damaged_files_are_read_right_or_refused(kind, tmp_path):
    assert_read_or_refused(kind, 200, tmp_path)
