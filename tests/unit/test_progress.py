"""Progress without a terminal: totals, rates, lines with the time of day; for bars see test_download_progress.py."""

import re
import time

import pytest

from h36m import progress
from h36m.progress import Progress


@pytest.fixture
def clock(monkeypatch):
    """The time, in a list: to be set."""
    now = [1000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize("quiet", [False, True])
def test_total_of_the_whole_follows_its_parts(quiet):
    whole = Progress("0 of 2 archives", 1000, "B", quiet=quiet, initial=300)
    whole.unknown = 1
    first = Progress("first", 1000, "B", whole, quiet, initial=300)
    first.start_at(300, 1100)  # the site says another size than before
    first.update(100)
    assert (whole.n, whole.total, whole.n - whole.initial) == (400, 1100, 100)
    second = Progress("second", None, "B", whole, quiet)
    assert whole.text()[1] == "400 bytes", "no total is known yet"
    second.start_at(0, 500)
    second.update(200)
    assert whole.text()[1] == "0.60 of 1.60 kB"
    second.start_at(0, 700)  # it restarts in another version
    assert (whole.n, whole.total) == (400, 1800)
    second.update(50)
    second.start_at(second.n, second.n)  # it fails
    with Progress("verifying", 1000, "B", whole, quiet, counts=False) as verifying:
        verifying.update(1000)
    assert (whole.n, whole.total, whole.n - whole.initial) == (450, 1150, 350)
    whole.close()
    first.update(10)  # a thread that does not know yet
    assert first.disable and whole.n == 450


def test_rate_falls_while_nothing_arrives_and_lines_go_on(clock, capsys):
    whole = Progress("0 of 1 archive", 100_000, "B")
    for _ in range(100):
        clock[0] += 0.1
        whole.update(100)
    assert "1.00 kB/s" in whole.text()
    for _ in range(40):
        clock[0] += 1
        whole.tick()
    rate = next(piece for piece in whole.text() if piece.endswith("/s"))
    assert rate.endswith(" bytes/s") and int(rate.split()[0]) < 200
    whole.close()
    (line,) = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"\d\d:\d\d:\d\d 0 of 1 archive, 10 of 100 kB, \d+ bytes/s, [\d:]+ left", line), line


def test_lines_wait_for_the_end_of_a_prompt(capsys):
    with progress.prompting():
        progress.print_line("downloaded", progress.sys.stdout)
        assert capsys.readouterr() == ("", "")
    assert capsys.readouterr() == ("downloaded\n", "")
