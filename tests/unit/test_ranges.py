"""Which range the next connection gets, how many there are, and what the site says about a session."""

import threading
import time

import pytest
from helpers.archives import small_archive
from helpers.faulty_site import faulty_site, write_configuration

from h36m.cli import Progress
from h36m.dataset import BOXES, Archive
from h36m.download import ranges, transfer
from h36m.download.config import read_configuration
from h36m.download.partial import PartialDownload, Version
from h36m.download.ranges import Attempt, Connection, Limit
from h36m.download.retry import TooManyError
from h36m.download.site import Site
from h36m.download.transfer import SessionState, Transfer
from h36m.errors import UsageError

NAME = "Segments_mat_gt_bb_S1.tgz"


def transfer_at(folder, server, connections: int = 8, **configuration: str) -> Transfer:
    """Return the download of an archive of the fake site, with a valid session."""
    read = read_configuration(write_configuration(folder, server.base_url, **configuration), {})
    site = Site(read, print)
    site.session = server.log_in()
    return Transfer(
        site=site,
        archive=Archive(BOXES, "S1"),
        partial=PartialDownload(folder / f"{NAME}.part"),
        expected_md5=None,
        most_connections=connections,
        connections=connections,
        uses_axel=False,
        say=print,
        stop=threading.Event(),
    )


@pytest.fixture
def attempt(tmp_path):
    """Return an attempt at an archive of 100 MB of which only bytes 10 to 20 million are there."""
    million = 1_000_000
    with faulty_site(tmp_path) as server:
        made = transfer_at(tmp_path, server)
    made.partial.set_version(Version(100 * million))
    made.partial.mark_missing([])
    made.partial.missing = [(0, 10 * million), (20 * million, 100 * million)]
    return Attempt(made, "session", Limit(3, 3))


def found(attempt: Attempt) -> tuple[int, int] | None:
    """Return the next connection's range, in millions of bytes, and let it be at work."""
    connection = ranges._next_connection(attempt)
    if connection is None:
        return None
    attempt.connections.append(connection)
    return connection.position // 1_000_000, connection.end // 1_000_000


def test_ranges_without_a_connection_come_first(attempt):
    attempt.connections += [Connection(0, 10_000_000), Connection(40_000_000, 50_000_000)]
    assert found(attempt) == (20, 40)
    assert found(attempt) == (50, 100)


def test_half_of_the_largest_rest_is_taken_over(attempt):
    attempt.connections += [Connection(0, 10_000_000), Connection(20_000_000, 100_000_000)]
    assert [found(attempt) for _ in range(3)] == [(60, 100), (40, 60), (80, 100)]
    assert [(each.position, each.end) for each in attempt.connections[:2]] == [
        (0, 10_000_000),
        (20_000_000, 40_000_000),
    ]


def test_small_rest_is_left_to_its_connection(attempt):
    attempt.transfer.partial.missing = [(20_000_000, 20_000_000 + ranges.SMALLEST_REST_TO_SHARE - 1)]
    attempt.connections.append(Connection(*attempt.transfer.partial.missing[0]))
    assert found(attempt) is None


def test_quiet_connection_is_replaced_once(attempt):
    """A site that is slow at all its connections is not asked again and again."""
    long_ago = time.monotonic() - ranges.QUIET_SECONDS
    quiet = Connection(0, 10_000_000, active_at=long_ago)
    attempt.connections += [quiet, Connection(20_000_000, 100_000_000)]
    assert found(attempt) == (0, 10)
    assert quiet.end == quiet.position, "it has nothing to write any more"
    attempt.connections[-1].active_at = long_ago
    assert found(attempt) == (60, 100)


def test_more_connections_are_tried_again_after_a_while(tmp_path, monkeypatch):
    monkeypatch.setattr(ranges, "SECONDS_TO_GROW", 0.3)
    small_archive(tmp_path / NAME, Archive(BOXES, "S1"), 4_000_000)
    (tmp_path / "root").mkdir()
    with faulty_site(tmp_path, lambda request: "slow" if request.is_archive else None) as server:
        server.most_connections, server.bytes_per_second = 1, 600_000
        made = transfer_at(tmp_path / "root", server)
        threading.Timer(0.5, setattr, (server, "most_connections", 100)).start()
        response = made.site.open_archive(Archive(BOXES, "S1"), 0, None, Version())
        made.partial.set_version(response.version)
        ranges.download_ranges(made, response, made.site.session, Progress(disable=True))
        assert made.partial.is_complete and server.most_sending > 1
        assert made.partial.path.read_bytes() == (tmp_path / NAME).read_bytes()
        assert made.connections > 1


def test_next_attempt_opens_as_many_as_the_site_accepted(tmp_path):
    small_archive(tmp_path / NAME, Archive(BOXES, "S1"), 3_000_000)
    (tmp_path / "root").mkdir()
    with faulty_site(tmp_path, lambda request: "slow cut" if request.is_archive else None) as server:
        server.most_connections, server.bytes_per_second = 2, 2_000_000
        made = transfer_at(tmp_path / "root", server)
        response = made.site.open_archive(Archive(BOXES, "S1"), 0, None, Version())
        made.partial.set_version(response.version)
        server.most_connections = 0
        with pytest.raises(TooManyError, match="503"):
            ranges.download_ranges(made, response, made.site.session, Progress(disable=True))
        assert made.connections == 1


@pytest.mark.parametrize("shown_as", ["to login page", "login page", "compressed page", "page 403"])
def test_expired_session_differs_from_a_valid_one(tmp_path, shown_as):
    with faulty_site(tmp_path) as server:
        server.expired = shown_as
        made = transfer_at(tmp_path, server)
        assert made.ask_about_session(made.site.session) is SessionState.VALID
        server.sessions.clear()
        assert made.ask_about_session(made.site.session) is SessionState.EXPIRED


def test_session_that_another_archive_has_renewed_is_expired(tmp_path):
    with faulty_site(tmp_path) as server:
        made = transfer_at(tmp_path, server)
        assert made.ask_about_session("the one before") is SessionState.EXPIRED
        assert made.renew_expired_session("the one before", is_quiet=False) and server.requests == []


@pytest.mark.parametrize(
    "fault, state",
    [("stall before", SessionState.SILENT), ("503", SessionState.UNKNOWN), ("silence", SessionState.SILENT)],
)
def test_site_that_fails_says_nothing_about_a_session(tmp_path, monkeypatch, fault, state):
    monkeypatch.setattr(transfer, "SESSION_CHECK_SECONDS", 0.2)
    with faulty_site(tmp_path, lambda request: fault if request.page == "filebrowser.php" else None) as server:
        made = transfer_at(tmp_path, server)
        assert made.ask_about_session(made.site.session) is state


def test_silence_without_a_password_does_not_prompt(tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "SESSION_CHECK_SECONDS", 0.2)
    with faulty_site(tmp_path, lambda request: "silence") as server:
        made = transfer_at(tmp_path, server, Password="")
        assert not made.renew_expired_session(made.site.session, is_quiet=True)
        assert all(request.page == "filebrowser.php" for request in server.requests)


def test_expired_session_without_a_password_ends_the_run(tmp_path):
    with faulty_site(tmp_path) as server:
        made = transfer_at(tmp_path, server, Password="")
        server.sessions.clear()
        with pytest.raises(UsageError, match="no user name and password"):
            made.renew_expired_session(made.site.session, is_quiet=True)


@pytest.mark.parametrize("is_quiet", [True, False])
def test_missing_answer_counts_only_while_no_data_arrives(tmp_path, monkeypatch, is_quiet):
    """A line that is full of the archive's bytes may delay the answer: the download is good."""
    monkeypatch.setattr(transfer, "SESSION_CHECK_SECONDS", 0.2)

    def plan(request):
        return "silence" if request.page == "filebrowser.php" and request.number == 1 else None

    with faulty_site(tmp_path, plan) as server:
        made = transfer_at(tmp_path, server)
        assert made.renew_expired_session(made.site.session, is_quiet) is is_quiet


def test_session_is_renewed_once_for_an_archive(tmp_path):
    with faulty_site(tmp_path) as server:
        made = transfer_at(tmp_path, server)
        for expected in (True, False):
            server.sessions.clear()
            assert made.renew_expired_session(made.site.session, is_quiet=True) is expected


def test_progress_rate_counts_this_run_only(monkeypatch):
    """Bytes of an earlier run do not count, and a restart begins with none."""
    clock = [1000.0]
    monkeypatch.setattr(time, "time", lambda: clock[0])
    bar = Progress(disable=False, unit="B")
    rate = lambda: (bar.n - bar.initial) / (clock[0] - bar.start_t)  # noqa: E731  (as tqdm computes it)
    clock[0] += 100  # logging in took that long
    bar.start_at(600, 1000)
    clock[0] += 10
    bar.update(100)
    assert (bar.n, bar.total, rate()) == (700, 1000, 10)
    bar.start_at(700, 1000)  # another attempt
    clock[0] += 10
    bar.update(100)
    assert rate() == 10
    bar.start_at(0, 2000)  # another version of the archive
    clock[0] += 10
    bar.update(50)
    assert (bar.n, bar.total, rate()) == (50, 2000, 5)
    bar.close()
