"""config.ini: read it, and save a session in it."""

import codecs
import difflib
import errno
import io
import os
import re
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from h36m.errors import UsageError
from h36m.storage import PRIVATE, write_atomically

CONFIGURATION_FILE = "config.ini"  # the default of --config, in the current folder
SECTION = "General"
DEFAULTS = {
    "PHPSESSID": "",
    "Username": "",
    "Password": "",
    "BaseURL": "https://vision.imar.ro/human3.6m/",
    "VerifyTLS": "yes",
    "Downloader": "auto",
    "Connections": "24",
}
KEYS = {key.lower(): key for key in DEFAULTS}  # keys are not case-sensitive
VARIABLES = {"PHPSESSID": "H36M_PHPSESSID", "Username": "H36M_USERNAME", "Password": "H36M_PASSWORD"}
BOOLEANS = dict.fromkeys(("yes", "true", "on", "1"), True) | dict.fromkeys(("no", "false", "off", "0"), False)
CHOICES: dict[str, tuple[Collection[str], str]] = {
    "VerifyTLS": (BOOLEANS, "yes or no"),
    "Downloader": (("auto", "axel", "requests"), "auto, axel or requests"),
    "Connections": ([str(number) for number in range(1, 101)], "a number from 1 to 100"),
}

# \s is an ASCII space or a line end here. A byte order mark counts as a space.
MARGIN = r"\ufeff?\s*"
COMMENT = re.compile(rf"{MARGIN}([;#].*)?", re.DOTALL | re.ASCII)
HEADER = re.compile(rf"{MARGIN}\[([^\[\]]*)\]\s*", re.ASCII)
SETTING = re.compile(rf"({MARGIN}([^\s\[=:][^=:]*?)\s*[=:][ \t\v\f]*)(.*?)(\s*)", re.DOTALL | re.ASCII)
# The end of an address that names a page, as a browser shows it; the host is preceded by two slashes.
PAGE = re.compile(r"(?<=[^/])(/[^/]*\.php)?/*$", re.IGNORECASE)
# A key of ours is one word: of `Password hunter=2`, which lacks its first equals sign, no part is shown as a key.
WORD = re.compile(r"[^\W\d][\w.-]*")


class Line(NamedTuple):
    """One line of `config.ini`; `before + value + after` of all lines, joined, are the file.

    Attributes:
        section: that the line is in, or begins; None before the first.
        before: up to the value of a setting; else the whole line.
        key: of a setting; None in a comment or the header of a section, "" where the line is none of them.
        after: spaces and line end.
    """

    section: str | None
    before: str
    key: str | None = None
    value: str = ""
    after: str = ""


@dataclass
class Configuration:
    """What `config.ini` and the environment say, with defaults for the rest.

    Attributes:
        sessions: the PHPSESSIDs to try, the environment's before the file's.
        warnings: one line for each section or key of the file that is ignored, and other doubts.
    """

    path: Path
    base_url: str
    verify_tls: bool
    downloader: str
    connections: int
    username: str
    password: str = field(repr=False)
    sessions: list[str] = field(repr=False)
    warnings: list[str] = field(default_factory=list)


def read_configuration(path: Path, environment: Mapping[str, str] = os.environ) -> Configuration:
    """Read `config.ini`, which need not exist, and the H36M_... variables, which go before it.

    Raises:
        UsageError: the file cannot be read, or has a line or value that is not understood; no secret is in the message.
    """
    found, warnings = _read_settings(path)
    values = DEFAULTS | {key: value for key, (value, _) in found.items() if value}
    variables = {key: _checked_text(environment.get(name, ""), name) for key, name in VARIABLES.items()}
    for key, (choices, expected) in CHOICES.items():
        if values[key].lower() not in choices:
            raise _wrong_value(path, key, *found[key], f"be {expected}, not {values[key]!r}")
    if fault := _fault_of_url(values["BaseURL"]):
        raise _wrong_value(path, "BaseURL", *found["BaseURL"], fault)
    if values["Downloader"].lower() == "axel" and not shutil.which("axel"):
        raise UsageError(f"{path}: Downloader is axel, which is not installed; install it or set Downloader = auto")
    if re.search(r"\s", values["Username"]):
        hint = "if a comment follows it, put the comment on a line of its own"
        warnings.append(f"{path}: line {found['Username'][1]}: Username contains a space; {hint}")
    return Configuration(
        path=path,
        base_url=PAGE.sub("/", values["BaseURL"], count=1),
        verify_tls=BOOLEANS[values["VerifyTLS"].lower()],
        downloader=values["Downloader"].lower(),
        connections=int(values["Connections"]),
        username=variables["Username"] or values["Username"],
        password=variables["Password"] or values["Password"],
        sessions=[session for session in (variables["PHPSESSID"], values["PHPSESSID"]) if session],
        warnings=warnings,
    )


def save_session(path: Path, session: str) -> None:
    """Save a PHPSESSID in `config.ini`, created if absent; everything else in the file stays, byte for byte.

    The file is replaced as a whole, and then only its owner can read it.

    Raises:
        OSError: the file cannot be read or written, or is not UTF-8 text any more.
    """
    path = path.resolve()  # a link stays a link
    write_atomically(path, _with_session(_read(path), session), PRIVATE)


def _read(path: Path) -> str:
    """Return the text of a configuration, with surrogates for bytes that are not UTF-8; "" if there is no file.

    Raises:
        OSError: it cannot be read, or is UTF-16 or UTF-32, as some editors save it, or not text at all.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return ""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in content:
        raise OSError(errno.EILSEQ, "not UTF-8 text (UTF-16 or binary?); save it as UTF-8", str(path))
    return content.decode(errors="surrogateescape")


# -- lines -------------------------------------------------------------------------------------------------------------


def lines_of(text: str) -> Iterator[Line]:
    """Yield the lines of a configuration, including those that are not understood.

    A line whose first character other than spaces is `;` or `#` is a comment. A value begins after the first `=`
    or `:` and ends with the line, without the ASCII spaces around it.
    """
    section = None
    for raw in io.StringIO(text, newline="\n"):
        if match := HEADER.fullmatch(raw):
            section = match[1]
        if match or COMMENT.fullmatch(raw):
            yield Line(section, raw)
        elif match := SETTING.fullmatch(raw):
            before, key, value, after = match.groups()
            yield Line(section, before, key, value, after)
        else:
            yield Line(section, raw, key="")


def _read_settings(path: Path) -> tuple[dict[str, tuple[str, int]], list[str]]:
    """Return the values of the keys with the numbers of their lines, and warnings about what is ignored.

    Raises:
        UsageError: as `read_configuration`.
    """
    settings: dict[str, tuple[str, int]] = {}
    warnings: list[str] = []
    seen: set[tuple[str | None, str]] = set()
    try:
        text = _read(path)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    for number, line in enumerate(lines_of(text), 1):
        where = f"{path}: line {number}"
        if line.key is None:
            if line.section != SECTION and HEADER.fullmatch(line.before):
                hint = _hint(line.section or "", {SECTION.lower(): f"[{SECTION}]"})
                warnings.append(f"{where}: ignoring the unknown section {f'[{line.section}]'!a}{hint}")
            continue
        name = line.section, line.key.lower()
        is_word = WORD.fullmatch(line.key) if line.section == SECTION else line.key
        if line.section is None or name in seen or not is_word:
            # Without any word of the line: it may contain the password.
            raise UsageError(f"{where} is neither KEY = VALUE nor a comment; see config.ini.example")
        seen.add(name)
        key = KEYS.get(line.key.lower())
        if line.section == SECTION and key:
            settings[key] = _checked_text(line.value, f"{where}: {key}"), number
        elif line.section == SECTION:
            warnings.append(f"{where}: ignoring the unknown key {line.key!a}{_hint(line.key, KEYS)}")
    return settings, warnings


def _with_session(text: str, session: str) -> str:
    """Return a configuration with another PHPSESSID, or with one if it has none."""
    lines = list(lines_of(text))
    ours = [index for index, line in enumerate(lines) if line.section == SECTION]
    for index in ours:
        line = lines[index]
        if line.key and line.key.lower() == "phpsessid":
            # An editor may have removed the blank after the equals sign of an empty value.
            before = line.before + " " * line.before.endswith((" =", " :"))
            lines[index] = line._replace(before=before, value=session)
            return _joined(lines)
    # Below the section's header, or a section of its own at the end.
    place = ours[0] + 1 if ours else len(lines)
    head, tail = _joined(lines[:place]), _joined(lines[place:])
    newline = "\r\n" if text.partition("\n")[0].endswith("\r") else "\n"
    if not head.endswith("\n") and head not in ("", "\ufeff"):
        head += newline
    return f"{head}{'' if ours else f'[{SECTION}]{newline}'}PHPSESSID = {session}{newline}{tail}"


def _joined(lines: Iterable[Line]) -> str:
    return "".join(line.before + line.value + line.after for line in lines)


# -- values ------------------------------------------------------------------------------------------------------------


def _hint(name: str, known: Mapping[str, str]) -> str:
    """Return the end of a warning about a name: which one is probably meant, if it is like a known one."""
    close = difflib.get_close_matches(name.lower(), known, n=1)
    return f"; did you mean {known[close[0]]}?" if close else ""


def _wrong_value(path: Path, key: str, value: str, number: int, must: str) -> UsageError:
    """Return the error to raise for the value in a line of the file."""
    hint = "; put the comment on a line of its own" if re.search(r"\s[;#]", value) else ""
    return UsageError(f"{path}: line {number}: {key} must {must}{hint}")


def _checked_text(value: str, name: str) -> str:
    """Return a value unchanged.

    Raises:
        UsageError: it has bytes that are not UTF-8, and so cannot be sent; Python reads them as lone surrogates.
    """
    try:
        value.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{name} is not UTF-8 text; save or set it in UTF-8") from None
    return value


def _fault_of_url(url: str) -> str | None:
    """Return what is wrong with BaseURL, without the URL itself, which may contain a password; None if nothing is."""
    try:
        parts = urlsplit(url)
        is_right = parts.scheme in ("http", "https") and parts.hostname
    except ValueError:  # such as brackets around what is not an IPv6 address
        return "be an address, such as https://vision.imar.ro/human3.6m/"
    if "@" in parts.netloc:  # axel would show it in `ps`, and messages name the host
        return "not contain a user name or password; remove everything before the @, and use Username and Password"
    if not is_right or re.search(r"[\s?#]", url):  # names of pages are appended to it
        return "begin with https:// and a host, and not contain spaces, ? or #"
    return None
