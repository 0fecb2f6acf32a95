"""Which piece the next connection gets, how many there are, and what the site says about a session."""

import threading

import pytest
from helpers.archives import small_archive
from helpers.faulty_site import faulty_site, write_configuration

from h36m.dataset import BOXES, Archive
from h36m.download import ranges, transfer
from h36m.download.config import read_configuration
from h36m.download.partial import PartialDownload
from h36m.download.ranges import LARGEST_RANGE, SMALLEST_RANGE, Work
from h36m.download.retry import RefusedArchiveError, TemporaryError
from h36m.download.site import Site
from h36m.download.transfer import Transfer
from h36m.errors import TaskError, UsageError
from h36m.progress import Progress

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
        connections=connections,
        axel_connections=0,
        say=print,
        stop=threading.Event(),
    )


MILLION = 1_000_000


def pieces(free: list[tuple[int, int]], connections: int) -> list[tuple[int, int]]:
    """Return the pieces of free ranges in the order in which connections take them."""
    work = Work(None, [*free], connections, has_ranges=True, working=connections)
    return list(iter(work.next_piece, None))


def test_pieces_cover_the_free_ranges_and_become_smaller():
    taken = pieces([(0, 10 * MILLION), (20 * MILLION, 60 * MILLION)], 4)
    assert taken[0] == (60 * MILLION - 50 * MILLION // 4, 60 * MILLION)
    ends = dict(sorted(taken))
    for start, end in ((0, 10 * MILLION), (20 * MILLION, 60 * MILLION)):
        while start < end:
            start = ends.pop(start)
        assert start == end
    lengths = [end - start for start, end in taken]
    assert ends == {} and min(lengths) >= SMALLEST_RANGE
    assert lengths[0] == max(lengths) and lengths[-1] < MILLION, "all connections finish at about the same time"


def test_piece_of_a_large_archive_does_not_hold_up_the_end():
    assert max(end - start for start, end in pieces([(0, 5000 * MILLION)], 4)) < 2 * LARGEST_RANGE


def download(made: Transfer, server) -> None:
    response = made.site.open_archive(Archive(BOXES, "S1"), 0, None)
    made.partial.set_size(response.size)
    ranges.download_ranges(made, response, Progress("", None, "B", quiet=True))
    assert made.partial.path.read_bytes() == (server.archives / NAME).read_bytes()


def test_refused_connections_are_tried_again_after_a_while(tmp_path, monkeypatch):
    monkeypatch.setattr(ranges, "SECONDS_TO_GROW", 0.3)
    small_archive(tmp_path / NAME, Archive(BOXES, "S1"), 4_000_000)
    (tmp_path / "root").mkdir()
    with faulty_site(tmp_path, lambda request: "slow" if request.is_archive else None) as server:
        server.most_connections, server.bytes_per_second = 1, 600_000
        threading.Timer(0.5, setattr, (server, "most_connections", 100)).start()
        download(transfer_at(tmp_path / "root", server), server)
        assert server.most_sending > 1


def test_connections_are_kept_and_a_cookie_that_the_site_sets_is_not(tmp_path):
    """Pieces are requested over few connections, at last from another host, which gets no cookie."""
    small_archive(tmp_path / NAME, Archive(BOXES, "S1"), 12 * MILLION)
    (tmp_path / "root").mkdir()

    def plan(request):
        return "other host" if request.number > 8 else "slow, sets a cookie" if request.is_archive else None

    with faulty_site(tmp_path, plan) as server, faulty_site(tmp_path) as other:
        server.bytes_per_second = 8 * MILLION
        server.other_host, other.needs_login = other.base_url, False
        download(transfer_at(tmp_path / "root", server, connections=3), server)
        asked = [request for request in server.requests if request.is_archive]
        assert len(asked) > 8 and len({request.port for request in asked}) == 3
        assert other.requests and {request.cookie for request in other.requests} == {None}


# -- the session -------------------------------------------------------------------------------------------------------

TROUBLE = TemporaryError("the connection broke")


@pytest.mark.parametrize("shown_as", ["to login page", "login page", "compressed page", "page 403"])
def test_expired_session_differs_from_a_valid_one(tmp_path, shown_as):
    with faulty_site(tmp_path) as server:
        server.expired = shown_as
        made = transfer_at(tmp_path, server)
        assert made.is_session_expired(made.site.session, is_quiet=True) is False
        assert not made.renew_session(made.site.session, TROUBLE)
        server.sessions.clear()
        assert made.is_session_expired(made.site.session, is_quiet=False)
        assert made.renew_session(made.site.session, TROUBLE)


def test_session_that_another_archive_has_renewed_is_expired(tmp_path):
    with faulty_site(tmp_path) as server:
        made = transfer_at(tmp_path, server)
        assert made.is_session_expired("the one before", is_quiet=False)
        assert made.renew_session("the one before", TROUBLE) and server.requests == []


@pytest.mark.parametrize("fault, is_answered", [("stall before", False), ("503", True), ("disconnect", True)])
def test_silence_about_a_session_counts_only_while_no_data_arrives(tmp_path, monkeypatch, fault, is_answered):
    """A line that is full of the archive's bytes may delay the answer; a site that fails says nothing."""
    monkeypatch.setattr(transfer, "SESSION_CHECK_SECONDS", 1)  # enough to connect on a loaded machine
    with faulty_site(tmp_path, lambda request: fault if request.page == "filebrowser.php" else None) as server:
        made = transfer_at(tmp_path, server)
        assert made.is_session_expired(made.site.session, is_quiet=False) is None
        assert made.is_session_expired(made.site.session, is_quiet=True) is (None if is_answered else True)
        made.is_session_renewed = True
        assert made.is_session_expired(made.site.session, is_quiet=True) is None, "a login did not help"


def test_silence_without_a_password_does_not_prompt(tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "SESSION_CHECK_SECONDS", 0.2)
    with faulty_site(tmp_path, lambda request: "silence") as server:
        made = transfer_at(tmp_path, server, Password="")
        assert not made.renew_session(made.site.session, TROUBLE)
        assert all(request.page == "filebrowser.php" for request in server.requests)


def test_expired_session_without_a_password_ends_the_run(tmp_path):
    with faulty_site(tmp_path) as server:
        made = transfer_at(tmp_path, server, Password="")
        server.sessions.clear()
        with pytest.raises(UsageError, match="no user name and password"):
            made.renew_session(made.site.session, TROUBLE)


def test_session_is_renewed_once_without_progress(tmp_path):
    with faulty_site(tmp_path) as server:
        made = transfer_at(tmp_path, server)
        server.sessions.clear()
        assert made.renew_session(made.site.session, TROUBLE)
        with pytest.raises(TaskError, match="is it still published"):
            made.renew_session(made.site.session, RefusedArchiveError("HTTP 404"))
        server.sessions.clear()
        with pytest.raises(TaskError, match="expired twice"):
            made.renew_session(made.site.session, TROUBLE)
