"""config.ini: read unchanged, with warnings, and saved with the session so that all else stays byte for byte."""

import os
import stat

import pytest
from helpers.scripts import PROJECT
from hypothesis import given, settings
from hypothesis import strategies as st

from h36m.download import config
from h36m.download.config import read_configuration, save_session
from h36m.errors import UsageError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "config.ini"


def configured(path, text: str | bytes, environment=None) -> config.Configuration:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_configuration(path, environment or {})


def error_of(path, text: str | bytes, environment=None) -> str:
    """Return the error of a configuration, without the file's name; it is one line and shows no secret."""
    with pytest.raises(UsageError) as raised:
        configured(path, text, environment)
    message = str(raised.value)
    assert "\n" not in message and "hunter" not in message
    return message.removeprefix(f"{path}: ")


# -- values ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "password",
    [
        *("#hunter2", "hunter2 ; not a comment", "%(hunter)s 100%%", "=hunter:2", '"hunter2"', "[hunter2]"),
        *("\\hunter\\n2", "hunter  2\t3", "\u00a0gr\u00fc\u00dfe\u00a0", "control\x1c2\x85\x0b3", "\ufeffhunter2"),
    ],
)
def test_password_is_used_unchanged(path, password):
    for end in ("\n", "\r\n", ""):
        found = configured(path, f"[General]\nUsername = a@b.c\nPassword = {password} \t{end}")
        assert (found.username, found.password, found.warnings) == ("a@b.c", password, [])


@settings(derandomize=True, deadline=None, max_examples=50)
@given(
    password=st.text(st.characters(exclude_categories=["Cc", "Cs"], include_characters="\x1c\x85;#=:[")),
    delimiter=st.sampled_from(["=", " = ", ":", " :\t"]),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_any_password_is_read_and_survives_saving(tmp_path_factory, password, delimiter, end):
    path = tmp_path_factory.mktemp("round trip") / "config.ini"
    password = password.strip(" ")
    lines = ["\ufeff; mine", "[General]", "PHPSESSID = {}", f"password{delimiter}{password}", "[Other]", "phpsessid=x"]
    text = end.join(lines)
    found = configured(path, text.replace("{}", "old", 1))
    assert (found.password, found.sessions) == (password, ["old"])
    save_session(path, "new")
    assert path.read_bytes() == text.replace("{}", "new", 1).encode()
    assert read_configuration(path, {}).password == password


def test_every_key_has_a_default(path):
    """They are those of the example."""
    absent = read_configuration(path, {})
    assert (absent.base_url, absent.verify_tls) == ("https://vision.imar.ro/human3.6m/", True)
    assert (absent.downloader, absent.connections) == ("auto", 24)
    assert (absent.username, absent.password, absent.sessions, absent.warnings) == ("", "", [], [])
    example = (PROJECT / "config.ini.example").read_text()
    for text in ("", "\ufeff", "[General]\n", "[General]\nUsername =\nBaseURL = \t\nVerifyTLS:\n", example):
        assert configured(path, text) == absent


def test_lines_are_read_in_any_common_form(path):
    """Either case and delimiter, indented, in two parts of the section, and with comments in any encoding."""
    text = (
        "# a=\u00fc\n[General]\nPHPSESSID = abc\nUserName: a@b.c\n  password=p%ss;w=rd \n\t; [x] \u00fc\n"
        "[Other]\nx\u00fc = \u00fc\n[General]\nBASEURL = http://host/~a@b\nVerifyTLS = Off\n"
        "Downloader = Requests\nConnections = 100\n"
    )
    found = configured(path, text.encode("latin-1"))
    assert (found.base_url, found.verify_tls) == ("http://host/~a@b/", False)
    assert (found.downloader, found.connections) == ("requests", 100)
    assert (found.username, found.password, found.sessions) == ("a@b.c", "p%ss;w=rd", ["abc"])
    assert "abc" not in repr(found) and "p%ss" not in repr(found)


@pytest.mark.parametrize("url", ["http://index.php:8000", "https://host/a.php/b"])
@pytest.mark.parametrize("page", ["//", "/INDEX.PHP", "/filebrowser.php/"])
def test_page_at_the_end_of_base_url_is_left_out(path, url, page):
    """As copied from a browser."""
    assert configured(path, f"[General]\nBaseURL = {url}{page}\n").base_url == f"{url}/"


def test_environment_overrides_the_file_and_is_used_unchanged(path):
    text = "[General]\nPHPSESSID = filesession\nUsername = file\nPassword = filepassword\n"
    variables = {"H36M_USERNAME": " ;user ", "H36M_PASSWORD": "", "H36M_PHPSESSID": "variable"}
    found = configured(path, text, variables)
    assert (found.username, found.password) == (" ;user ", "filepassword"), "an empty variable counts as none"
    assert found.sessions == ["variable", "filesession"]


# -- errors and warnings -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "number"),
    [
        pytest.param("Password = hunter2\n", 1, id="before a section"),
        pytest.param("[General]\n\n; comment\nPassword hunter2\n", 4, id="no delimiter"),
        pytest.param("[General]\nPassword hunter=2\n", 2, id="delimiter in the password"),
        pytest.param("[General]\n= hunter2\n", 2, id="no key"),
        pytest.param("[General]\nPassword = a\n[Other]\nx = y\n[General]\nPASSWORD: hunter2\n", 6, id="twice"),
        pytest.param("[General] ; hunter2\n", 1, id="comment after a section"),
        pytest.param("[General]\r\nPassword = a\r\n  hunter2\r\n", 3, id="continuation line"),
    ],
)
def test_line_that_is_not_understood_is_named_and_not_quoted(path, text, number):
    assert error_of(path, text) == f"line {number} is neither KEY = VALUE nor a comment; see config.ini.example"


@pytest.mark.parametrize(
    ("key", "values", "expected"),
    [
        ("VerifyTLS", ["maybe", "yes ; no"], "yes or no"),
        ("Downloader", ["wget", "auto # axel"], "auto, axel or requests"),
        ("Connections", ["0", "101", "-1", "many", "\u00b2", "9" * 5000, "24 ; few"], "a number from 1 to 100"),
    ],
)
def test_wrong_value_is_named_with_its_line(path, key, values, expected):
    for value in values:
        message = error_of(path, f"[General]\n\n{key} = {value}\n")
        assert message == f"line 3: {key} must be {expected}, not {value!r}"


@pytest.mark.parametrize(
    "value",
    [
        *("vision.imar.ro", "ftp://host/", "https:///path", "https://host/ ; the site", "https://host/?a=b"),
        *("https://user:hunter2@host/", "http://hunter2@host/", "user:hunter2@host", "https://user:hunter2@[::1"),
    ],
)
def test_wrong_base_url_is_refused_and_not_shown(path, value):
    message = error_of(path, f"[General]\nBaseURL = {value}\n")
    assert message.startswith("line 2: BaseURL must begin with https:// and a host, ") and "user:" not in message


def test_what_is_not_utf8_is_named_and_not_shown(path, tmp_path):
    """Python reads the byte 0xfc of an environment in UTF-8 as the lone surrogate U+DCFC."""
    for key in ("PHPSESSID", "Username", "Password", "BaseURL", "Connections"):
        text = f"[General]\n{key} = hunter\u00fc\n".encode("latin-1")
        assert error_of(path, text).startswith(f"line 2: {key} is not UTF-8 text; ")
    for variable in ("H36M_USERNAME", "H36M_PASSWORD", "H36M_PHPSESSID"):
        assert error_of(path, "", {variable: "hunter\udcfc"}).startswith(f"{variable} is not UTF-8 text; ")
    for encoding in ("utf-16", "utf-16-be", "utf-16-le", "utf-32"):
        content = "[General]\nPassword = hunter2\n".encode(encoding)
        message = error_of(path, content)
        assert "UTF-16" in message and message.endswith("; save it as UTF-8")
        with pytest.raises(OSError, match="UTF-8"):
            save_session(path, "abc")
        assert path.read_bytes() == content
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        read_configuration(tmp_path, {})


def test_what_is_not_known_is_named_in_a_warning(path):
    text = (
        "[general]\nPassword = a\n[Server]\nx = y\n[\x1b\u00fc]\n"
        "[General]\nUser = a\nPasswort: b\nEmail = c\nKlu\u00e7 = d\nUsername = a@b.c ; me\n"
    )
    assert [warning.removeprefix(f"{path}: line ") for warning in configured(path, text).warnings] == [
        "1: ignoring the unknown section '[general]'; did you mean [General]?",
        "3: ignoring the unknown section '[Server]'",
        "5: ignoring the unknown section '[\\x1b\\xfc]'",
        "7: ignoring the unknown key 'User'; did you mean Username?",
        "8: ignoring the unknown key 'Passwort'; did you mean Password?",
        "9: ignoring the unknown key 'Email'",
        "10: ignoring the unknown key 'Klu\\xe7'",
        "11: Username contains a space; if a comment follows it, put the comment on a line of its own",
    ]


# -- saving the session ------------------------------------------------------------------------------------------------

# Before and after, as bytes.
SAVED = {
    "value": (b"[General]\nPHPSESSID = old\nUsername = a\n", b"[General]\nPHPSESSID = new\nUsername = a\n"),
    "spacing": (b"[General]\n\tphpsessid\t:  old \t\r\n", b"[General]\n\tphpsessid\t:  new \t\r\n"),
    "empty value": (b"[General]\r\nPHPSESSID =\r\n", b"[General]\r\nPHPSESSID = new\r\n"),
    "pasted cookie": (b"[General]\nPHPSESSID = old; path=/ ; mine\n", b"[General]\nPHPSESSID = new\n"),
    "key absent, CRLF": (b"\r\n[General]\r\n  a = b\r\n", b"\r\n[General]\r\nPHPSESSID = new\r\n  a = b\r\n"),
    "section absent": (b"[Other]\nPHPSESSID = old\n", b"[Other]\nPHPSESSID = old\n[General]\nPHPSESSID = new\n"),
    "second part of the section": (b"[General]\n[General]\nphpsessid=1\n", b"[General]\n[General]\nphpsessid=new\n"),
    "other section last": (b"[General]\nPHPSESSID=1\n[x]\nPHPSESSID=1", b"[General]\nPHPSESSID=new\n[x]\nPHPSESSID=1"),
    "in a comment": (b"[General]\n;PHPSESSID=1\n", b"[General]\nPHPSESSID = new\n;PHPSESSID=1\n"),
    "other encoding": (b"[General]\n# gr\xfc\xdfe\nPHPSESSID = old\n", b"[General]\n# gr\xfc\xdfe\nPHPSESSID = new\n"),
    "separators of unicode": (
        "[General]\n; a\x0bPHPSESSID=1\x85PHPSESSID=2\u2028\nPHPSESSID=3".encode(),
        "[General]\n; a\x0bPHPSESSID=1\x85PHPSESSID=2\u2028\nPHPSESSID=new".encode(),
    ),
    "byte order mark": (b"\xef\xbb\xbf[General]\nPHPSESSID=", b"\xef\xbb\xbf[General]\nPHPSESSID=new"),
    "no file": (None, b"[General]\nPHPSESSID = new\n"),
}


@pytest.mark.parametrize(("before", "after"), SAVED.values(), ids=SAVED.keys())
def test_session_is_saved_and_all_else_is_kept(path, before, after):
    if before is not None:
        path.write_bytes(before)
        path.chmod(0o644)
    save_session(path, "new")
    assert path.read_bytes() == after
    assert os.name == "nt" or stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert read_configuration(path, {}).sessions == ["new"]
    save_session(path, "newer")
    assert path.read_bytes() == after.replace(b"new", b"newer")


def test_session_is_saved_in_the_file_that_a_link_leads_to(tmp_path, path):
    (tmp_path / "real.ini").write_text("[General]\nUsername = a\n")
    path.symlink_to("real.ini")
    save_session(path, "abc")
    assert path.is_symlink()
    assert (tmp_path / "real.ini").read_text() == "[General]\nPHPSESSID = abc\nUsername = a\n"
    assert stat.S_IMODE((tmp_path / "real.ini").stat().st_mode) == 0o600


def test_session_that_cannot_be_saved_leaves_no_file(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        save_session(tmp_path / "nowhere" / "config.ini", "abc")
    assert list(tmp_path.iterdir()) == []
