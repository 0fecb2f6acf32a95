"""What must hold of every download: verification, checksums.txt, config.ini, and where the cookie may go."""

import gzip
import hashlib
import io
import os
import stat
import tarfile

import pytest

from h36m.cli import UsageError
from h36m.download.config import read_configuration, save_session
from h36m.download.site import Site
from h36m.download.verify import check_archive, read_checksums

# -- archives ----------------------------------------------------------------------------------------------------------


def packed(name: str) -> bytes:
    """Return a gzip'd tar with one file of that name."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size = 3000
        archive.addfile(member, io.BytesIO(os.urandom(3000)))
    return gzip.compress(plain.getvalue())


GOOD = packed("S1/Videos/a.mp4")
GOOD_MD5 = hashlib.md5(GOOD).hexdigest()
OTHER_MD5 = "0" * 32


@pytest.mark.parametrize(
    ("content", "md5", "fault", "is_whole"),
    [
        (GOOD, None, None, True),
        (GOOD, GOOD_MD5, None, True),
        (GOOD, OTHER_MD5, OTHER_MD5, True),  # the site has changed it
        (packed("a.mp4"), None, None, True),
        (packed("S5/Videos/a.mp4"), None, "S5", True),
        (GOOD[:-1], None, "cut off", False),
        (GOOD[:-1], OTHER_MD5, "cut off", False),
        (GOOD[:-1] + b"\x99", None, "damaged", False),
        (GOOD[:-6] + b"\x99" + GOOD[-5:], None, "damaged", False),
        (GOOD + b"more", None, "damaged", False),
        (b"<html>Please log in</html>", None, "HTML page", False),
        (b"<html>Please log in</html>", GOOD_MD5, "HTML page", False),
        (b"", None, "empty", False),
    ],
    ids=[
        *("good", "published MD5", "another MD5", "no subject's folder", "another subject", "cut off"),
        *("cut off, another MD5", "wrong length", "wrong CRC", "garbage behind", "page", "page, MD5", "empty"),
    ],
)
def test_archive_is_accepted_only_if_all_of_it_is_right(tmp_path, content, md5, fault, is_whole):
    (tmp_path / "a.part").write_bytes(content)
    verdict = check_archive(tmp_path / "a.part", "S1", md5)
    assert verdict.is_whole == is_whole
    if fault is None:
        assert verdict.fault is None
    else:
        assert fault in verdict.fault and "\n" not in verdict.fault
    if md5 and content.startswith(b"\x1f\x8b"):
        assert verdict.md5 == hashlib.md5(content).hexdigest()


# -- checksums.txt -----------------------------------------------------------------------------------------------------


def test_checksums_are_read_as_md5sum_writes_them(tmp_path):
    lines = [
        f"{'a' * 32}  archives/Videos_S1.tgz",
        f"{'B' * 32} *Videos_S5.tgz  ",
        "",
        "# a comment",
        f"{'c' * 32}  /some where/Videos_S6.tgz",
    ]
    (tmp_path / "checksums.txt").write_text("\n".join(lines))
    expected = {"Videos_S1.tgz": "a" * 32, "Videos_S5.tgz": "b" * 32, "Videos_S6.tgz": "c" * 32}
    assert read_checksums(tmp_path / "checksums.txt") == expected


@pytest.mark.parametrize("line", ["a", f"{'a' * 31}  a.tgz", f"{'a' * 32}  a.tar", f"{'g' * 32}  a.tgz", "\xff"])
def test_line_that_is_no_checksum_is_an_error_with_its_number(tmp_path, line):
    (tmp_path / "checksums.txt").write_text(f"# a comment\n{line}\n", encoding="latin-1")
    with pytest.raises(UsageError, match=r"line 2|cannot read"):
        read_checksums(tmp_path / "checksums.txt")


# -- config.ini --------------------------------------------------------------------------------------------------------


@pytest.fixture
def config(tmp_path):
    return tmp_path / "config.ini"


@pytest.mark.parametrize(
    "text",
    ["Password = hunter2\n", "[General]\nhunter2\n", "[General]\nPassword = a\nPassword = hunter2\n", "[hunter2"],
)
def test_error_about_the_configuration_does_not_quote_it(config, text):
    config.write_text(text)
    with pytest.raises(UsageError) as raised:
        read_configuration(config, {})
    assert "hunter2" not in str(raised.value) and "\n" not in str(raised.value)


def test_configuration_in_a_traceback_shows_no_secrets(config):
    config.write_text("[General]\nPHPSESSID = abc123\nPassword = hunter2\n")
    configuration = read_configuration(config, {})
    assert (configuration.password, configuration.sessions) == ("hunter2", ["abc123"])
    assert "hunter2" not in repr(configuration) and "abc123" not in repr(configuration)


def test_environment_goes_before_the_file(config):
    config.write_text("[General]\nPHPSESSID = a\nUsername = b\nPassword = c\n")
    environment = {"H36M_PHPSESSID": "x", "H36M_USERNAME": "y", "H36M_PASSWORD": "z"}
    configuration = read_configuration(config, environment)
    assert (configuration.sessions, configuration.username, configuration.password) == (["x", "a"], "y", "z")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, "[General]\nPHPSESSID = new\n"),
        ("[General]\nPHPSESSID = old\nUsername = a\n", "[General]\nPHPSESSID = new\nUsername = a\n"),
        ("[General]\nUsername = a", "[General]\nUsername = a\nPHPSESSID = new\n"),
        ("[Other]\nPHPSESSID = old\n", "[Other]\nPHPSESSID = old\n[General]\nPHPSESSID = new\n"),
    ],
)
def test_session_is_saved_and_all_else_is_kept(config, before, after):
    if before is not None:
        config.write_text(before)
    save_session(config, "new")
    assert config.read_text() == after
    assert os.name == "nt" or stat.S_IMODE(config.stat().st_mode) == 0o600


# -- the cookie --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "is_own"),
    [
        ("https://vision.imar.ro/human3.6m/filebrowser.php?a=b", True),
        ("https://vision.imar.ro/", True),
        ("http://vision.imar.ro/human3.6m/", False),
        ("https://vision.imar.ro:8443/human3.6m/", False),
        ("https://vision.imar.ro.example.org/human3.6m/", False),
        ("https://www.vision.imar.ro/human3.6m/", False),
        ("https://example.org/https://vision.imar.ro/", False),
        ("https://vision.imar.ro@example.org/", False),
    ],
)
def test_cookie_may_go_to_the_sites_own_host_only(config, url, is_own):
    assert Site(read_configuration(config, {}), print)._is_own(url) == is_own
