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
    """Return the error of a configuration, without the file's name; it must be one line."""
    with pytest.raises(UsageError) as raised:
        configured(path, text, environment)
    file, _, message = str(raised.value).partition(": ")
    assert file == str(path) and "\n" not in message
    return message


def warnings_of(path, text: str | bytes) -> list[str]:
    """Return the warnings about a configuration, without the file's name."""
    return [warning.removeprefix(f"{path}: ") for warning in configured(path, text).warnings]


# -- values ------------------------------------------------------------------------------------------------------------

PASSWORDS = {
    "semicolon first": ";hunter2",
    "number sign first": "#hunter2",
    "only a semicolon": ";",
    "blank and semicolon": "hunter2 ; not a comment",
    "blank and number sign": "hunter2 # not a comment",
    "percent": "%(hunter)s 100%%",
    "equals sign": "=hunter=2",
    "colon": ":hunter:2",
    "quotes": '"hunter2"',
    "bracket": "[hunter2]",
    "backslash": "\\hunter\\n2",
    "inner blanks": "hunter  2\t3",
    "no-break spaces": "\u00a0hunter2\u00a0",
    "other unicode spaces": "\u3000hunter\u20282\u2003",
    "control characters": "hunter\x1c2\x85\x0b3",
    "byte order mark": "\ufeffhunter2",
    "umlauts": "gr\u00fc\u00dfe",
}


@pytest.mark.parametrize("end", ["\n", "\r\n", ""], ids=["LF", "CRLF", "end of file"])
@pytest.mark.parametrize("password", PASSWORDS.values(), ids=PASSWORDS.keys())
def test_password_is_used_unchanged(path, password, end):
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


@pytest.mark.parametrize(
    "text",
    [None, "", "\ufeff", "[General]\n", "[Other]\nUsername = x\n", "[General]\nUsername =\nBaseURL = \t\nVerifyTLS:\n"],
    ids=["no file", "empty", "byte order mark", "section", "other section", "empty values"],
)
def test_every_key_has_a_default(path, text):
    found = read_configuration(path, {}) if text is None else configured(path, text)
    assert (found.base_url, found.verify_tls) == ("https://vision.imar.ro/human3.6m/", True)
    assert (found.downloader, found.connections) == ("auto", 24)
    assert (found.username, found.password, found.sessions) == ("", "", [])


def test_the_example_is_the_default_without_warnings(path):
    example = configured(path, (PROJECT / "config.ini.example").read_bytes())
    path.unlink()
    assert example == read_configuration(path, {}) and example.warnings == []


def test_keys_are_read_in_either_case_with_either_delimiter(path):
    found = configured(
        path,
        "[General]\nPHPSESSID = abc\nUserName: a@b.c\n  password=p%ss;w=rd \nBASEURL = http://host/x\n"
        "VerifyTLS = Off\nDownloader = Requests\nConnections = 100\n",
    )
    assert (found.base_url, found.verify_tls) == ("http://host/x/", False)
    assert (found.downloader, found.connections) == ("requests", 100)
    assert (found.username, found.password, found.sessions) == ("a@b.c", "p%ss;w=rd", ["abc"])
    assert "abc" not in repr(found) and "p%ss" not in repr(found)


def test_indented_lines_are_lines_of_their_own(path):
    found = configured(path, "[General]\nUsername = a\n  Password = b\n\t; comment\n    PHPSESSID = c\n")
    assert (found.username, found.password, found.sessions) == ("a", "b", ["c"])


def test_sections_of_one_name_are_one(path):
    found = configured(path, "[General]\nUsername = a\n[Other]\n[General]\nPassword = b\n")
    assert (found.username, found.password) == ("a", "b")


@pytest.mark.parametrize("comment", ["; gr\u00fc\u00dfe", "  # gr\u00fc\u00dfe", ";", "#a=b", ";[x]"])
def test_comments_are_harmless_in_any_encoding(path, comment):
    text = f"{comment}\n[General]\n{comment}\nPassword = a\n"
    for encoding in ("utf-8", "latin-1"):
        found = configured(path, text.encode(encoding))
        assert (found.password, found.warnings) == ("a", [])


def test_environment_overrides_the_file_and_is_used_unchanged(path):
    text = "[General]\nPHPSESSID = filesession\nUsername = file\nPassword = filepassword\n"
    variables = {"H36M_USERNAME": " ;user ", "H36M_PASSWORD": "", "H36M_PHPSESSID": "variable"}
    found = configured(path, text, variables)
    assert (found.username, found.password) == (" ;user ", "filepassword"), "an empty variable counts as none"
    assert found.sessions == ["variable", "filesession"]


@pytest.mark.parametrize("variable", ["H36M_USERNAME", "H36M_PASSWORD", "H36M_PHPSESSID"])
def test_variable_that_is_not_text_is_named_without_its_value(path, variable):
    """Python reads the byte 0xfc of an environment in UTF-8 as the lone surrogate U+DCFC."""
    with pytest.raises(UsageError) as raised:
        read_configuration(path, {variable: "hunter\udcfc"})
    assert variable in str(raised.value) and "UTF-8" in str(raised.value) and "hunter" not in str(raised.value)


# -- errors and warnings -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("Password = hunter2\n", 1),
        ("[General]\nhunter2\n", 2),
        ("[General]\n\n; comment\nPassword hunter2\n", 4),
        ("[General]\nPassword hunter=2\n", 2),
        ("[General]\nPassword\u00a0= hunter2\n", 2),
        ("[General]\n\u00a0Password = hunter2\n", 2),
        ("[General]\n= hunter2\n", 2),
        ("[General]\nPassword = a\npassword = hunter2\n", 3),
        ("[General]\nPassword = a\n[Other]\nx = y\n[General]\nPASSWORD: hunter2\n", 6),
        ("[General]\nPassword = a\n[hunter2", 3),
        ("[General] ; hunter2\n", 1),
        ("[Other]\nhunter2\n", 2),
        ("[General]\r\nPassword = a\r\n  hunter2\r\n", 3),
    ],
    ids=[
        "before a section",
        "no delimiter",
        "no delimiter, after a comment",
        "delimiter in the password",
        "no-break space after the key",
        "no-break space before the key",
        "no key",
        "twice",
        "twice, in two parts of the section",
        "bracket not closed",
        "comment after a section",
        "in another section",
        "continuation line",
    ],
)
def test_line_that_is_not_understood_is_named_and_not_quoted(path, text, number):
    assert error_of(path, text) == f"line {number} is neither KEY = VALUE nor a comment; see config.ini.example"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("VerifyTLS = maybe", "VerifyTLS must be yes or no, not 'maybe'"),
        ("Downloader = wget", "Downloader must be auto, axel or requests, not 'wget'"),
        ("Connections = 0", "Connections must be a number from 1 to 100, not '0'"),
        ("Connections = 101", "Connections must be a number from 1 to 100, not '101'"),
        ("Connections = -1", "Connections must be a number from 1 to 100, not '-1'"),
        ("Connections = many", "Connections must be a number from 1 to 100, not 'many'"),
        ("Connections = \u00b2", "Connections must be a number from 1 to 100, not '\u00b2'"),
    ],
)
def test_wrong_value_is_named_with_its_line(path, line, words):
    assert error_of(path, f"[General]\n\n{line}\n") == f"line 3: {words}"


def test_number_with_more_digits_than_python_reads_is_a_wrong_value(path):
    assert "Connections must be" in error_of(path, f"[General]\nConnections = {'9' * 5000}\n")


@pytest.mark.parametrize("comment", ["; few", "# few"])
@pytest.mark.parametrize("value", ["VerifyTLS = yes", "Downloader = auto", "Connections = 24"])
def test_comment_after_a_value_is_an_error_that_says_what_to_do(path, value, comment):
    message = error_of(path, f"[General]\n{value} {comment}\n")
    assert f"{value.partition(' ')[2].removeprefix('= ')} {comment}'" in message
    assert message.startswith("line 2: ") and message.endswith("; put the comment on a line of its own")


@pytest.mark.parametrize(
    "value",
    [
        "vision.imar.ro",
        "ftp://host/",
        "https:///path",
        "https://[::1",
        "https://host/ ; the site",
        "https://ho st/",
        "https://host/?a=b",
        "https://host/#part",
        "https://user:hunter2@host/",
        "http://hunter2@host/",
        "https://:@host/",
        "user:hunter2@host",
        "ftp://user:hunter2@host/",
        "https://user:hunter2@[::1",
        "https://user:hunter2@/",
    ],
)
def test_wrong_base_url_is_refused_and_not_shown(path, value):
    message = error_of(path, f"[General]\nBaseURL = {value}\n")
    assert message.startswith("line 2: BaseURL must ")
    assert "hunter2" not in message and "user:" not in message
    assert ("user name or password" in message) == ("//" in value and "@" in value and "[" not in value)


def test_at_sign_in_the_path_of_base_url_is_no_user_name(path):
    assert configured(path, "[General]\nBaseURL = https://host/~a@b\n").base_url == "https://host/~a@b/"


@pytest.mark.parametrize("key", ["PHPSESSID", "Username", "Password", "BaseURL", "Connections"])
def test_value_that_is_not_utf8_is_named_with_its_line(path, key):
    text = f"[General]\n{key} = hunter\u00fc\n".encode("latin-1")
    assert error_of(path, text) == f"line 2: {key} is not UTF-8 text; save the file as UTF-8"


def test_value_of_another_section_may_have_any_encoding(path):
    assert configured(path, b"[General]\nPassword = a\n[Other]\nx\xfc = \xfc\n").password == "a"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-16-le", "utf-32"])
def test_file_in_utf16_is_an_error_that_says_what_to_do(path, encoding):
    message = error_of(path, "[General]\nPassword = hunter2\n".encode(encoding))
    assert "UTF-16" in message and message.endswith("; save it as UTF-8")


def test_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        read_configuration(tmp_path, {})


@pytest.mark.parametrize(
    ("text", "warnings"),
    [
        (
            "[general]\nPassword = a\n",
            ["line 1: ignoring the unknown section '[general]'; did you mean [General]?"],
        ),
        ("[Server]\nx = y\n", ["line 1: ignoring the unknown section '[Server]'"]),
        ("[\x1b\xfc]\n".encode("latin-1"), ["line 1: ignoring the unknown section '[\\x1b\\\\xfc]'"]),
        (
            "[General]\nUser = a\nPasswort: b\nEmail = c\nKlu\u00e7 = d\n",
            [
                "line 2: ignoring the unknown key 'User'; did you mean Username?",
                "line 3: ignoring the unknown key 'Passwort'; did you mean Password?",
                "line 4: ignoring the unknown key 'Email'",
                "line 5: ignoring the unknown key 'Klu\\xe7'",
            ],
        ),
        (
            "[General]\nUsername = a@b.c ; me\n",
            ["line 2: Username contains a space; if a comment follows it, put the comment on a line of its own"],
        ),
    ],
    ids=["section in lower case", "other section", "other encoding", "keys", "comment after the user name"],
)
def test_what_is_not_known_is_named_in_a_warning(path, text, warnings):
    assert warnings_of(path, text) == warnings


# -- saving the session ------------------------------------------------------------------------------------------------

# Before and after, as bytes.
SAVED = {
    "value": (b"[General]\nPHPSESSID = old\nUsername = a\n", b"[General]\nPHPSESSID = new\nUsername = a\n"),
    "spacing": (b"[General]\n\tphpsessid\t:  old \t\r\n", b"[General]\n\tphpsessid\t:  new \t\r\n"),
    "no spacing": (b"[General]\nPHPSESSID=old", b"[General]\nPHPSESSID=new"),
    "empty value": (b"[General]\r\nPHPSESSID =\r\n", b"[General]\r\nPHPSESSID = new\r\n"),
    "empty value without spacing": (b"[General]\nPHPSESSID:\n", b"[General]\nPHPSESSID:new\n"),
    "empty value with a blank": (b"[General]\nPHPSESSID= \n", b"[General]\nPHPSESSID= new\n"),
    "pasted cookie": (b"[General]\nPHPSESSID = old; path=/ ; mine\n", b"[General]\nPHPSESSID = new\n"),
    "key absent": (b"[General]\nUsername = a\n", b"[General]\nPHPSESSID = new\nUsername = a\n"),
    "key absent, no newline": (b"[General]\nUsername = a", b"[General]\nPHPSESSID = new\nUsername = a"),
    "key absent, CRLF": (b"\r\n[General]\r\n  a = b\r\n", b"\r\n[General]\r\nPHPSESSID = new\r\n  a = b\r\n"),
    "section only": (b"[General]", b"[General]\nPHPSESSID = new"),
    "section absent": (b"[Other]\nPHPSESSID = old\n", b"[Other]\nPHPSESSID = old\n[General]\nPHPSESSID = new\n"),
    "section absent, no newline": (b"; mine\r\n[x]", b"; mine\r\n[x]\r\n[General]\r\nPHPSESSID = new"),
    "other section first": (b"[x]\nPHPSESSID=1\n[General]\n", b"[x]\nPHPSESSID=1\n[General]\nPHPSESSID = new\n"),
    "second part of the section": (b"[General]\n[General]\nphpsessid=1\n", b"[General]\n[General]\nphpsessid=new\n"),
    "other section last": (b"[General]\nPHPSESSID=1\n[x]\nPHPSESSID=1", b"[General]\nPHPSESSID=new\n[x]\nPHPSESSID=1"),
    "in a comment": (b"[General]\n;PHPSESSID=1\n", b"[General]\nPHPSESSID = new\n;PHPSESSID=1\n"),
    "other encoding": (b"[General]\n# gr\xfc\xdfe\nPHPSESSID = old\n", b"[General]\n# gr\xfc\xdfe\nPHPSESSID = new\n"),
    "separators of unicode": (
        "[General]\n; a\x0bPHPSESSID=1\x85PHPSESSID=2\u2028\nPHPSESSID=3".encode(),
        "[General]\n; a\x0bPHPSESSID=1\x85PHPSESSID=2\u2028\nPHPSESSID=new".encode(),
    ),
    "byte order mark": (b"\xef\xbb\xbf[General]\nPHPSESSID=", b"\xef\xbb\xbf[General]\nPHPSESSID=new"),
    "byte order mark only": (b"\xef\xbb\xbf", b"\xef\xbb\xbf[General]\nPHPSESSID = new\n"),
    "empty": (b"", b"[General]\nPHPSESSID = new\n"),
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


PIECES = [
    b"[General]",
    b"[Other]",
    b"PHPSESSID=1",
    b"phpsessid :\t2 ;x",
    b" PHPSESSID =",
    b"; x",
    b"\xef\xbb\xbf",
    b"\r",
]
HEADER, KEY = b"[General]", b"PHPSESSID = NEW"


@settings(derandomize=True, deadline=None, max_examples=100)
@given(
    st.lists(st.one_of(st.binary(max_size=8), st.sampled_from(PIECES)), max_size=6), st.sampled_from([b"\n", b"\r\n"])
)
def test_saving_changes_one_place_of_any_file(tmp_path_factory, lines, end):
    """Either the value of one line, or one or two lines more."""
    path = tmp_path_factory.mktemp("any file") / "config.ini"
    before = end.join(lines).replace(b"\0", b"")
    path.write_bytes(before)
    save_session(path, "NEW")
    after = path.read_bytes()
    head, found, tail = after.partition(b"NEW")
    assert found and b"NEW" not in tail
    [line] = [line for line in config.lines_of(after) if line.value == b"NEW"]
    assert (line.section, line.key.lower()) == ("General", "phpsessid")
    new_lines = [
        text
        for newline in (b"\n", b"\r\n")
        for text in (KEY + newline, newline + KEY, HEADER + newline + KEY + newline, newline + HEADER + newline + KEY)
    ]
    is_added = before in [after.replace(text, b"", 1) for text in new_lines]
    head = head if before.startswith(head) else head.removesuffix(b" ")
    old = before[len(head) : len(before) - len(tail)]
    is_replaced = before == head + old + tail and b"\n" not in old
    assert is_added or is_replaced


def test_session_is_saved_in_the_file_that_a_link_leads_to(tmp_path, path):
    (tmp_path / "real.ini").write_text("[General]\nUsername = a\n")
    path.symlink_to("real.ini")
    save_session(path, "abc")
    assert path.is_symlink()
    assert (tmp_path / "real.ini").read_text() == "[General]\nPHPSESSID = abc\nUsername = a\n"
    assert stat.S_IMODE((tmp_path / "real.ini").stat().st_mode) == 0o600


def test_file_that_became_utf16_during_the_run_is_left_alone(path):
    content = "[General]\nUsername = a\n".encode("utf-16")
    path.write_bytes(content)
    with pytest.raises(OSError) as raised:
        save_session(path, "abc")
    assert path.read_bytes() == content and "UTF-8" in raised.value.strerror


def test_session_that_cannot_be_saved_leaves_no_file(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        save_session(tmp_path / "nowhere" / "config.ini", "abc")
    assert list(tmp_path.iterdir()) == []
