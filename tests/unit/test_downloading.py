"""The parts of downloading that need no script: checks, responses, retries, errors, the numbers in docs/."""

import contextlib
import email.utils
import functools
import gzip
import hashlib
import io
import random
import re
import socket
import tarfile
import threading
import time
from pathlib import Path

import pytest
import requests
import urllib3
from helpers.faulty_site import made_certificate
from helpers.scripts import PROJECT

from h36m.dataset import ARCHIVES, KINDS, POSES_2D, VERIFIED_RECORD, VIDEOS, Archive, archive_file
from h36m.download import (
    archive,
    complete,
    config,
    partial,
    plan,
    ranges,
    request,
    response,
    retry,
    run,
    site,
    transfer,
    verify,
)
from h36m.errors import RunStoppedError, TaskError, UsageError
from h36m.progress import Progress
from h36m.storage import Record

# -- verifying ---------------------------------------------------------------------------------------------------------

MD5 = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    "line, name",
    [
        (f"{MD5}  archives/Videos_S1.tgz", "Videos_S1.tgz"),
        (f"{MD5} *archives/Videos_S1.tgz", "Videos_S1.tgz"),
        (f"{MD5}  Videos_S1.tgz", "Videos_S1.tgz"),
        (f"{MD5}  /data/my archives/Videos_S1.tgz ", "Videos_S1.tgz"),
        (f"{MD5.upper()}  archives/Videos_S1.tgz", "Videos_S1.tgz"),
        (f"{MD5}  archives\\Videos_S1.tgz", "Videos_S1.tgz"),
        (f"\\{MD5} *C:\\\\my archives\\\\Videos_S1.tgz", "Videos_S1.tgz"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_checksums_are_read_as_md5sum_writes_them(tmp_path, line, name, encoding):
    """An editor on Windows may begin the file with a byte order mark."""
    path, said = tmp_path / "checksums.txt", []
    path.write_text(f"{line}\n# a comment\n\n{MD5[::-1]}  archives/Videos_S5.tgz\r\n", encoding)
    assert verify.read_checksums(path, said.append) == {name: MD5, "Videos_S5.tgz": MD5[::-1]}
    assert said == []


def test_checksums_of_unknown_archives_are_named_in_one_warning(tmp_path):
    path, said = tmp_path / "checksums.txt", []
    names = ("Videos_S5.tgz", "Poses_D3_Angles_S1.tgz", "videos_S1.tgz", "Videos_S12.tgz", "Film_S1.tgz")
    path.write_text("".join(f"{MD5}  archives/{name}\n" for name in names))
    assert set(verify.read_checksums(path, said.append)) == set(names)
    assert said == [f"{path}: ignoring unknown archives: Film_S1.tgz, Videos_S12.tgz, videos_S1.tgz; check their names"]


@pytest.mark.parametrize(
    "line",
    [
        f"{MD5[1:]}  archives/Videos_S1.tgz",
        f"{MD5}0  archives/Videos_S1.tgz",
        f"{MD5} archives/Videos_S1.tgz",
        f"{MD5}  archives/Videos_S1.tar",
        f"{MD5}  archives/Videos_S1_tgz",
        f"{MD5}  archives/.tgz/",
        "Videos_S1.tgz",
    ],
)
def test_a_wrong_line_of_checksums_is_named(tmp_path, line):
    path = tmp_path / "checksums.txt"
    path.write_text(f"{MD5}  archives/Videos_S5.tgz\n{line}\n")
    with pytest.raises(UsageError, match=r"line 2 of .*checksums\.txt is not 'MD5  archives/NAME\.tgz'"):
        verify.read_checksums(path, print)


def test_checksums_that_cannot_be_read_are_named(tmp_path):
    (tmp_path / "latin.txt").write_bytes(b"\xff\xfe")
    for name in ("none.txt", "latin.txt"):
        with pytest.raises(UsageError, match=name):
            verify.read_checksums(tmp_path / name, print)


def tar(names: list[str], size: int = 5000) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as opened:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = size
            opened.addfile(member, io.BytesIO(random.Random(name).randbytes(size)))
    return file.getvalue()


# The same bytes in every process, since they are in the tests' names.
compress = functools.partial(gzip.compress, mtime=0)
GOOD = compress(tar(["S1/Videos/Walking.54138969.mp4"]))
OTHER_SUBJECT = compress(tar(["S11/Videos/Walking.54138969.mp4"]))
OTHER_KIND = compress(tar(["S1/MySegmentsMat/ground_truth_bb/Walking.54138969.mat"]))
FLIPPED = bytes(byte ^ (number == len(GOOD) // 2) for number, byte in enumerate(GOOD))
NO_TAR = compress(b"no tar")
LOGIN_PAGE = b"<!DOCTYPE html><html><body>Please log in</body></html>"


def md5_of(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


@pytest.mark.parametrize(
    "data, expected, fault, is_whole",
    [
        (GOOD, None, None, True),
        (GOOD, md5_of(GOOD), None, True),
        (GOOD, MD5, f"has a checksum mismatch (expected {MD5}, got {md5_of(GOOD)})", True),
        (GOOD[:-1], None, "is truncated", False),
        (GOOD[:-1], MD5, "is truncated", False),
        (FLIPPED, None, "is damaged", False),
        (FLIPPED, MD5, "is damaged", False),
        (LOGIN_PAGE, None, "is not a gzip file; it looks like an HTML page: 'Please log in'", False),
        (b"", None, "is empty", False),
        (b"\x1f\x8b", None, "is truncated", False),
        (OTHER_SUBJECT, None, "contains the folder S11, but its name says S1", False),
        (OTHER_SUBJECT, md5_of(OTHER_SUBJECT), "contains the folder S11, but its name says S1", False),
        (OTHER_KIND, MD5, "contains S1/MySegmentsMat/ground_truth_bb, but its name says Videos", False),
        (compress(tar(["S1/Videos/a.mp4", "S11/Videos/a.mp4"], 30_000)), MD5, "contains the folder S11", False),
        (compress(tar(["S1/Videos/a.mp4"])[:5000]), None, "is not a complete tar archive", False),
        (compress(tar(["S1/Videos/a.mp4"])[:5000]), MD5, "is not a complete tar archive", False),
        (NO_TAR, MD5, "is gzip, but contains no tar archive", False),
        (GOOD + b"\r\n", None, None, True),
        (GOOD + b"\r\n", md5_of(GOOD + b"\r\n"), None, True),
        (GOOD + b"\r\n", MD5, "has a checksum mismatch (expected ", True),
    ],
)
def test_an_archive_is_judged_by_its_md5_or_its_gzip_stream(tmp_path, data, expected, fault, is_whole):
    path = tmp_path / "Videos_S1.tgz.part"
    path.write_bytes(data)
    bar = Progress("verifying", len(data), "B", quiet=True)
    verdict = verify.check_archive(path, Archive(VIDEOS, "S1"), expected, bar)
    assert bar.n == len(data) or (bar.n < len(data) and not is_whole), "bytes that were read"
    assert (verdict.fault or "").startswith(fault or "") and (verdict.fault is None) == (fault is None)
    assert verdict.is_whole == is_whole
    assert verdict.md5 in (None, md5_of(data)), "of the file, or not computed"
    assert verdict.md5 or not (is_whole and expected and "folder" not in str(fault)), "what to put into the list"


def test_two_faults_of_one_kind_in_two_files_are_two(tmp_path):
    """A second download is compared with the first: only the same bytes are the same archive."""
    path, verdicts = tmp_path / "file", []
    for name in ("Walking.54138969.mp4", "Walking 1.54138969.mp4"):
        path.write_bytes(compress(tar([f"S1/Videos/{name}"])))
        verdicts.append(verify.check_archive(path, Archive(VIDEOS, "S1"), MD5))
    assert verdicts[0] != verdicts[1]
    assert verify.check_archive(path, Archive(VIDEOS, "S1"), MD5) == verdicts[1]


# -- retries -----------------------------------------------------------------------------------------------------------


def test_each_pause_is_twice_as_long_unless_the_server_asks_for_another():
    assert [retry.pause_seconds(number, None) for number in range(6)] == [5, 10, 20, 40, 80, 160]
    assert [retry.pause_seconds(number, 7) for number in range(3)] == [7, 10, 20]
    assert [retry.pause_seconds(number, 0) for number in range(3)] == [5, 10, 20]


@pytest.mark.parametrize(
    "header, seconds",
    [("0", 0), ("30", 30), ("600", 600), ("601", 600), ("999999999999", 600)]
    + [(text, None) for text in ("", "-1", "1.5", "Wed, 21 Okt 2015", "²")]
    + [("Wed, 21 Oct 2015 07:28:00 GMT", 0), ("Wed, 21 Oct 2099 07:28:00 GMT", 600)],
)
def test_retry_after_is_respected_up_to_ten_minutes(header, seconds):
    assert retry.seconds_to_wait(header) == seconds
    in_five_minutes = email.utils.formatdate(time.time() + 300, usegmt=True)
    assert retry.seconds_to_wait(in_five_minutes) == pytest.approx(300, abs=60)


def test_what_fails_for_a_while_is_tried_seven_times(monkeypatch):
    monkeypatch.setattr(retry, "FIRST_PAUSE_SECONDS", 0.0001)
    tried, said = [], []

    def action():
        tried.append(1)
        raise retry.TemporaryError("host answered 503")

    with pytest.raises(TaskError, match="host answered 503; 7 attempts failed, run again later"):
        retry.retry(action, said.append, threading.Event())
    assert len(tried) == 7 and len(said) == 6, "a pause between two tries, and none after the last"
    assert said[1] == "host answered 503; retrying in 0.0002 s"


def test_what_succeeds_is_not_done_again():
    tried = []
    retry.retry(lambda: tried.append(1), print, threading.Event())
    assert tried == [1]


def test_a_site_that_cannot_be_reached_is_not_tried_again():
    def action():
        tried.append(1)
        raise retry.UnreachableError("host not found")

    tried = []
    with pytest.raises(TaskError, match="host not found"):
        retry.retry(action, print, threading.Event())
    assert tried == [1]


def test_a_pause_ends_when_the_run_is_stopped():
    stop = threading.Event()
    stop.set()
    with pytest.raises(RunStoppedError):
        retry.pause(retry.TemporaryError("", 600), 0, print, stop)


# -- errors by their types ---------------------------------------------------------------------------------------------


@contextlib.contextmanager
def listening(*, answer=None, tls=None):
    """Listen on a port, where each connection is answered by a function and closed; None to accept no connection."""
    with socket.create_server(("127.0.0.1", 0), backlog=0 if answer is None else 5) as server:

        def work():
            while answer:
                try:
                    connection, _ = server.accept()
                except OSError:  # it was shut down
                    return
                with contextlib.suppress(OSError), connection:
                    connection.settimeout(5)
                    with tls.wrap_socket(connection, server_side=True) if tls else connection as talking:
                        answer(talking)

        threading.Thread(target=work, daemon=True).start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)


def error_of(base_url: str, tmp_path, monkeypatch) -> Exception:
    """Return the error of a request to an address."""
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(site, "STALL_SECONDS", 0.3)
    path = tmp_path / "config.ini"
    path.write_text(f"[General]\nBaseURL = {base_url}\nDownloader = requests\n")
    with pytest.raises((TaskError, retry.TemporaryError)) as caught:
        site.Site(config.read_configuration(path, {}), print).is_valid("session")
    return caught.value


def disconnect(connection: socket.socket) -> None:
    connection.recv(1000)


def talk_no_http(connection: socket.socket) -> None:
    connection.recv(1000)
    connection.sendall(b"220 smtp.example.org\r\n")


def test_a_name_that_does_not_resolve_is_a_host_not_found(tmp_path, monkeypatch):
    for scheme in ("http", "https"):
        error = error_of(f"{scheme}://host.invalid/", tmp_path, monkeypatch)
        assert type(error) is retry.UnreachableError and "host not found" in str(error)


def test_a_refused_connection_is_an_unreachable_host(tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    error = error_of(f"http://127.0.0.1:{port}/", tmp_path, monkeypatch)
    assert type(error) is retry.UnreachableError and "cannot be reached" in str(error)


def test_a_host_that_accepts_no_connection_is_unreachable(tmp_path, monkeypatch):
    with listening() as port, contextlib.ExitStack() as waiting:
        for _ in range(3):  # until the queue is full
            client = waiting.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
        error = error_of(f"http://127.0.0.1:{port}/", tmp_path, monkeypatch)
    assert type(error) is retry.UnreachableError and "cannot be reached" in str(error)


@pytest.mark.parametrize("answer", [disconnect, talk_no_http])
def test_a_connection_that_breaks_may_work_later(tmp_path, monkeypatch, answer):
    with listening(answer=answer) as port:
        error = error_of(f"http://127.0.0.1:{port}/", tmp_path, monkeypatch)
    assert type(error) is retry.TemporaryError and "connection closed by the server" in str(error)


def test_no_answer_is_no_hanging_up(tmp_path, monkeypatch):
    over = threading.Event()
    with listening(answer=lambda connection: over.wait(5)) as port:
        error = error_of(f"http://127.0.0.1:{port}/", tmp_path, monkeypatch)
        over.set()
    assert type(error) is retry.TemporaryError and "no response for 0.3 s" in str(error)


def test_untrusted_certificate_differs_from_broken_tls(tmp_path, monkeypatch):
    tls, certificate = made_certificate(tmp_path)
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)
    with listening(answer=disconnect, tls=tls) as port:
        error = error_of(f"https://127.0.0.1:{port}/", tmp_path, monkeypatch)
        assert type(error) is TaskError and "certificate is not trusted" in str(error)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        error = error_of(f"https://localhost:{port}/", tmp_path, monkeypatch)
        assert type(error) is TaskError and "certificate is not trusted" in str(error), "it is of another host"
        assert "connection closed by the server" in str(error_of(f"https://127.0.0.1:{port}/", tmp_path, monkeypatch))
    with listening(answer=talk_no_http) as port:
        error = error_of(f"https://127.0.0.1:{port}/", tmp_path, monkeypatch)
    assert type(error) is retry.TemporaryError and "the TLS connection failed" in str(error)


@pytest.mark.parametrize("unit", ["bytes", "Bytes", "BYTES"])
def test_content_range_is_read_in_either_case(tmp_path, unit):
    def send_range(connection: socket.socket) -> None:
        connection.recv(10_000)
        headers = f"Content-Range: {unit} 0-{len(GOOD) - 1}/{len(GOOD)}\r\nContent-Length: {len(GOOD)}"
        connection.sendall(f"HTTP/1.1 206 Partial Content\r\n{headers}\r\n\r\n".encode() + GOOD)

    with listening(answer=send_range) as port:
        url = f"http://127.0.0.1:{port}/"
        with request.send("GET", url, tmp_path / "config.ini", timeout=(5, 5)) as answer:
            found = response.read_response(answer, Archive(VIDEOS, "S1"), "host", is_own_host=True)
            assert (found.start, found.size, b"".join(found.chunks)) == (0, len(GOOD), GOOD)


@pytest.mark.parametrize("host", ["host..name", "host:99999", f"{'a' * 70}.example"])
def test_an_invalid_address_is_wrong_configuration(tmp_path, monkeypatch, host):
    error = error_of(f"https://{host}/", tmp_path, monkeypatch)
    assert type(error) is TaskError and "check BaseURL" in str(error)


def raised_by_urllib3_1() -> Exception:
    """Return the error for a name that does not resolve as urllib3 1.26 raises it, without a type of its own."""
    try:
        try:
            socket.getaddrinfo("host.invalid", 80)
        except OSError as error:
            raise urllib3.exceptions.NewConnectionError(None, f"Failed to establish: {error}")  # noqa: B904
    except urllib3.exceptions.NewConnectionError as error:
        return requests.exceptions.ConnectionError(urllib3.exceptions.MaxRetryError(None, "/", error))


def test_the_cause_of_an_error_is_found_wherever_it_is():
    cause = raised_by_urllib3_1()
    assert retry.is_caused_by(cause, socket.gaierror)
    assert retry.is_caused_by(cause, urllib3.exceptions.NewConnectionError)
    assert not retry.is_caused_by(cause, KeyError)
    assert retry.is_caused_by(ValueError("words", KeyError("x")), IndexError, KeyError)
    assert not retry.is_caused_by(ValueError("KeyError"), KeyError)
    chained = ValueError()
    chained.__cause__ = KeyError()
    assert retry.is_caused_by(chained, KeyError)


def test_errors_that_name_each_other_come_to_an_end():
    first, second = ValueError(), TypeError()
    first.__context__, second.args = second, (first,)
    assert not retry.is_caused_by(first, KeyError)


# -- a run -------------------------------------------------------------------------------------------------------------


def download_verified(root: Path, kinds: list[str], *options: str, configuration: str = "") -> list[str]:
    """Run a download of the subject S1 whose archives of some kinds are all there and verified; return its problems."""
    (root / ARCHIVES).mkdir()
    record = Record(root / ARCHIVES / VERIFIED_RECORD)
    for kind in kinds:
        path = archive_file(root, Archive(kind, "S1"))
        path.write_bytes(GOOD)
        record.add(path)
    (root / "none.txt").write_text("")
    (root / "config.ini").write_text(configuration)
    words = ["--root", str(root), "--checksums", str(root / "none.txt"), "--config", str(root / "config.ini")]
    arguments = run.download_parser("", KINDS).parse_args([*words, "--subjects", "S1", *options])
    return run.download(arguments, KINDS[:5])


@pytest.mark.parametrize("name", ["none.ini", "none/config.ini", "config.ini"])
def test_named_configuration_must_exist(tmp_path, name):
    arguments = run.download_parser("", KINDS).parse_args(["--config", str(tmp_path / name)])
    with pytest.raises(UsageError, match=f"^--config: there is no file {tmp_path / name}$"):
        run.download(arguments, KINDS)


@pytest.mark.parametrize(
    "kinds, options, line",
    [
        ([VIDEOS], ["--kinds", VIDEOS], "nothing to do: 1 archive is downloaded and verified"),
        (
            [VIDEOS, POSES_2D],
            ["--kinds", VIDEOS, POSES_2D],
            "nothing to do: all 2 archives are downloaded and verified",
        ),
        ([VIDEOS], ["--kinds", VIDEOS, VIDEOS], "nothing to do: 1 archive is downloaded and verified"),
        (
            [VIDEOS],
            ["--kinds", VIDEOS, "--subjects", "S1", "S1"],
            "nothing to do: 1 archive is downloaded and verified",
        ),
        (KINDS, [], "nothing to do: all 5 archives are downloaded and verified"),
    ],
    ids=["one", "two", "a kind twice", "a subject twice", "all of the script"],
)
def test_one_archive_is_and_two_are_there(tmp_path, capsys, kinds, options, line):
    assert download_verified(tmp_path, kinds, *options) == []
    assert capsys.readouterr().out.startswith(f"{line}\nnext: ")


def test_warnings_about_the_configuration_are_printed(tmp_path, capsys):
    download_verified(tmp_path, [VIDEOS], "--kinds", VIDEOS, configuration="[General]\nPasswort = hunter2\n")
    line, *_ = capsys.readouterr().out.splitlines()
    assert "line 2" in line and "Passwort" in line and "hunter2" not in line


def test_what_killed_runs_were_writing_is_removed(tmp_path):
    kept = ["Videos_S1.tgz", "Videos_S1.tgz.part", "Videos_S1.tgz.part.st", "Videos_S1.tgz.part.about", "mine.tmp"]
    written = ["Videos_S1.tgz.part.st.tmp", "Videos_S1.tgz.part.about.123.tmp"]
    for name in (*kept, *written):
        (tmp_path / name).touch()
    partial.remove_temporary_files(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)


# -- numbers in docs/reliability.md and docs/options.md ----------------------------------------------------------------

NUMBER_WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
NUMBERS = {word: number for number, word in enumerate(NUMBER_WORDS, 1)}


def docs_page(name: str) -> str:
    """Return a page of docs/ with single blanks."""
    return " ".join((PROJECT / "docs" / name).read_text(encoding="utf-8").split())


def numbers_in_docs(pattern: str) -> set[int]:
    """Return the numbers, in figures or words, that match in docs/reliability.md; there must be at least one."""
    found = re.findall(pattern, docs_page("reliability.md"))
    assert found, f"docs/reliability.md has no {pattern!r}"
    return {NUMBERS.get(text) or int(text) for text in found}


@pytest.mark.parametrize(
    "pattern, value",
    [
        (r"(?:waits longer each time, up to|no data is received for) (\d+) s\b", lambda: site.STALL_SECONDS),
        (r"no data received for (\d+) s", lambda: transfer.QUIET_SECONDS),
        (r"every (\d+) s asks the site about the session", lambda: transfer.QUIET_SECONDS),
        (r"tries the others again after (\d+), 60, 120 s", lambda: ranges.SECONDS_TO_GROW),
        (r"no progress after (\w+) attempts", lambda: retry.TRIES_WITHOUT_PROGRESS),
        (r"sizes of all archives within (\d+) s", lambda: plan.SECONDS_FOR_SIZES),
        (r"`Retry-After`, at most (\w+) minutes", lambda: retry.LONGEST_RETRY_AFTER / 60),
        (r"restarts this archive, at most (\w+) times", lambda: complete.MOST_RESTARTS),
        (r"over one connection, up to (\w+) times in all", lambda: archive.MOST_DOWNLOADS),
    ],
)
def test_docs_have_the_numbers_of_the_code(pattern, value):
    assert numbers_in_docs(pattern) == {value()}


def test_docs_have_the_pauses_of_the_code():
    pauses = [retry.pause_seconds(number, None) for number in range(retry.TRIES_WITHOUT_PROGRESS - 1)]
    assert f"| waits {', '.join(f'{seconds:g}' for seconds in pauses)} s, or longer" in docs_page("reliability.md")


def test_docs_have_the_defaults_of_the_options():
    page = docs_page("options.md")
    defaults = vars(run.download_parser("", KINDS).parse_args([]))
    assert defaults["config"] is None
    assert f"`--config FILE` | default: `{config.CONFIGURATION_FILE}` in the current folder |" in page
    assert defaults["checksums"] == PROJECT / "checksums.txt"
    assert "default: `checksums.txt` next to the scripts" in page
    assert f"archives downloaded at a time; default: {defaults['jobs']}, because" in page
