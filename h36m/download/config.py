"""config.ini: read it, and save a session in it."""

import codecs
import difflib
import errno
import io
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
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
DOWNLOADERS = ("auto", "axel", "requests")
MOST_CONNECTIONS = 100

# On bytes, so that comments in any encoding are harmless; there \s is an ASCII space or a line end. A byte order mark
# counts as a space.
MARGIN = rb"(?:\xef\xbb\xbf)?\s*"
COMMENT = re.compile(MARGIN + rb"([;#].*)?", re.DOTALL)
HEADER = re.compile(MARGIN + rb"\[([^\[\]]*)\]\s*")
SETTING = re.compile(rb"(%b([^\s\[=:][^=:]*?)\s*[=:][ \t\v\f]*)(.*?)(\s*)" % MARGIN, re.DOTALL)
# A key of ours is one word: of `Password hunter=2`, which lacks its first equals sign, no part is shown as a key.
WORD = re.compile(r"[^\W\d][\w.-]*")


class Meaning(Enum):
    """What a line of `config.ini` is."""

    COMMENT = auto()  # or empty
    HEADER = auto()  # of a section
    SETTING = auto()  # KEY = VALUE
    UNKNOWN = auto()


class Line(NamedTuple):
    """One line of `config.ini`; `before + value + after` of all lines, joined, are the file."""

    number: int  # from 1
    meaning: Meaning
    section: str | None  # that the line is in, or begins; None before the first
    before: bytes  # up to the value; the whole line if it is no setting
    key: str = ""
    value: bytes = b""
    after: bytes = b""  # spaces and line end


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
    values, numbers, warnings = _read_file(path)
    values = DEFAULTS | {key: value for key, value in values.items() if value}

    def wrong(key: str, reason: str) -> UsageError:
        hint = "; put the comment on a line of its own" if re.search(r"\s[;#]", values[key]) else ""
        return UsageError(f"{path}: line {numbers[key]}: {key} must {reason}{hint}")

    def wrong_value(key: str, expected: str) -> UsageError:
        return wrong(key, f"be {expected}, not {values[key]!r}")

    if reason := _fault_of_url(values["BaseURL"]):
        raise wrong("BaseURL", reason)
    verify_tls = BOOLEANS.get(values["VerifyTLS"].lower())
    if verify_tls is None:
        raise wrong_value("VerifyTLS", "yes or no")
    downloader = values["Downloader"].lower()
    if downloader not in DOWNLOADERS:
        raise wrong_value("Downloader", "auto, axel or requests")
    if downloader == "axel" and not shutil.which("axel"):
        raise UsageError(f"{path}: Downloader is axel, which is not installed; install it or set Downloader = auto")
    digits = re.fullmatch(r"0*([0-9]{1,3})", values["Connections"])
    if not digits or not 1 <= int(digits[1]) <= MOST_CONNECTIONS:
        raise wrong_value("Connections", f"a number from 1 to {MOST_CONNECTIONS}")
    if re.search(r"\s", values["Username"]):
        warnings.append(
            f"{path}: line {numbers['Username']}: Username contains a space; if a comment follows it, put the comment "
            "on a line of its own"
        )
    variables = {key: _variable(environment, name) for key, name in VARIABLES.items()}
    return Configuration(
        path=path,
        base_url=values["BaseURL"].rstrip("/") + "/",
        verify_tls=verify_tls,
        downloader=downloader,
        connections=int(digits[1]),
        username=variables["Username"] or values["Username"],
        password=variables["Password"] or values["Password"],
        sessions=[session for session in (variables["PHPSESSID"], values["PHPSESSID"]) if session],
        warnings=warnings,
    )


def save_session(path: Path, session: str) -> None:
    """Save a PHPSESSID in `config.ini`, created if absent; everything else in the file stays, byte for byte.

    The file is replaced as a whole, and then only its owner can read it.

    Raises:
        OSError: the file cannot be read or written, or is no text in UTF-8 any more.
    """
    path = path.resolve()  # a link stays a link
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        content = b""
    if _is_wide(content):
        raise OSError(errno.EILSEQ, "it is not UTF-8 text", str(path))
    # Byte for byte: what is not UTF-8 becomes surrogates here, and bytes again when it is written.
    text = _with_session(content, session.encode()).decode(errors="surrogateescape")
    write_atomically(path, text, PRIVATE)


# -- lines -------------------------------------------------------------------------------------------------------------


def lines_of(content: bytes) -> Iterator[Line]:
    """Yield the lines of a configuration, including those that are not understood.

    A line whose first character other than spaces is `;` or `#` is a comment. A value begins after the first `=`
    or `:` and ends with the line, without the ASCII spaces around it.
    """
    section = None
    for number, raw in enumerate(io.BytesIO(content), 1):
        if COMMENT.fullmatch(raw):
            yield Line(number, Meaning.COMMENT, section, raw)
        elif match := HEADER.fullmatch(raw):
            section = _name(match[1])
            yield Line(number, Meaning.HEADER, section, raw)
        elif match := SETTING.fullmatch(raw):
            before, key, value, after = match.groups()
            yield Line(number, Meaning.SETTING, section, before, _name(key), value, after)
        else:
            yield Line(number, Meaning.UNKNOWN, section, raw)


def _read_file(path: Path) -> tuple[dict[str, str], dict[str, int], list[str]]:
    """Return the values of the file's keys, the numbers of their lines, and warnings; all empty if there is no file.

    Raises:
        UsageError: as `read_configuration`.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        content = b""
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    if _is_wide(content):
        raise UsageError(f"{path}: is not UTF-8 text (UTF-16 or binary?); save it as UTF-8")
    values: dict[str, str] = {}
    numbers: dict[str, int] = {}
    warnings: list[str] = []
    seen: set[tuple[str | None, str]] = set()
    for line in lines_of(content):
        where = f"{path}: line {line.number}"
        if not _is_understood(line, seen):
            # Without any word of the line: it may contain the password.
            raise UsageError(f"{where} is neither KEY = VALUE nor a comment; see config.ini.example")
        if line.meaning is Meaning.HEADER and line.section != SECTION:
            name, hint = f"[{line.section}]", _hint(line.section or "", {SECTION.lower(): f"[{SECTION}]"})
            warnings.append(f"{where}: ignoring the unknown section {name!a}{hint}")
        if line.meaning is not Meaning.SETTING or line.section != SECTION:
            continue
        if line.key.lower() not in KEYS:
            warnings.append(f"{where}: ignoring the unknown key {line.key!a}{_hint(line.key, KEYS)}")
            continue
        key = KEYS[line.key.lower()]
        try:
            values[key], numbers[key] = line.value.decode(), line.number
        except UnicodeDecodeError:
            raise UsageError(f"{where}: {key} is not UTF-8 text; save the file as UTF-8") from None
    return values, numbers, warnings


def _is_understood(line: Line, seen: set[tuple[str | None, str]]) -> bool:
    """Say whether a line means something in its place; add the section and key of a setting to those seen."""
    if line.meaning is not Meaning.SETTING:
        return line.meaning is not Meaning.UNKNOWN
    name = (line.section, line.key.lower())
    is_twice = name in seen
    seen.add(name)
    return line.section is not None and not is_twice and (line.section != SECTION or bool(WORD.fullmatch(line.key)))


def _with_session(content: bytes, session: bytes) -> bytes:
    """Return a configuration with another PHPSESSID, or with one if it has none."""
    lines = list(lines_of(content))
    ours = [index for index, line in enumerate(lines) if line.section == SECTION]
    for index in ours:
        if lines[index].key.lower() == "phpsessid":
            before, after = lines[index].before, lines[index].after
            if before.endswith((b" =", b" :")):  # an empty value, whose blank an editor has removed
                before += b" "
            return _joined(lines[:index]) + before + session + after + _joined(lines[index + 1 :])
    # Below the section's header, or a section of its own at the end. What is added ends as the line before it does.
    place = ours[0] + 1 if ours else len(lines)
    head, tail = _joined(lines[:place]), _joined(lines[place:])
    newline = b"\r\n" if content.partition(b"\n")[0].endswith(b"\r") else b"\n"
    added = [b"PHPSESSID = " + session] if ours else [f"[{SECTION}]".encode(), b"PHPSESSID = " + session]
    if head.endswith(b"\n") or head in (b"", codecs.BOM_UTF8):
        return head + b"".join(line + newline for line in added) + tail
    return head + b"".join(newline + line for line in added) + tail


def _joined(lines: Iterable[Line]) -> bytes:
    return b"".join(line.before + line.value + line.after for line in lines)


# -- values ------------------------------------------------------------------------------------------------------------


def _is_wide(content: bytes) -> bool:
    """Say whether a file is UTF-16 or UTF-32, as some editors save it, or no text at all."""
    return content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in content


def _name(raw: bytes) -> str:
    """Return the name of a section or key as text, whatever bytes it is made of."""
    return raw.decode(errors="backslashreplace")


def _hint(name: str, known: Mapping[str, str]) -> str:
    """Return the end of a warning about a name: which one is probably meant, if it is like a known one."""
    close = difflib.get_close_matches(name.lower(), known, n=1)
    return f"; did you mean {known[close[0]]}?" if close else ""


def _variable(environment: Mapping[str, str], name: str) -> str:
    """Return the unchanged value of an environment variable; "" if it is not set.

    Raises:
        UsageError: it is not text in the encoding of the environment, and so cannot be sent.
    """
    value = environment.get(name, "")
    try:
        value.encode()
    except UnicodeEncodeError:  # Python reads other bytes as lone surrogates
        raise UsageError(f"{name}: is not UTF-8 text; set it again in UTF-8, or use config.ini") from None
    return value


def _fault_of_url(url: str) -> str | None:
    """Return what is wrong with BaseURL, without the URL itself, which may contain a password; None if nothing is."""
    try:
        parts = urlsplit(url)
    except ValueError:  # such as brackets that are no IPv6 address
        return "be a valid address, such as https://vision.imar.ro/human3.6m/"
    if "@" in parts.netloc:  # axel would show it in `ps`, and messages name the host
        return "not contain a user name or password; remove everything before the @, and use Username and Password"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "begin with https:// and a host"
    if re.search(r"[\s?#]", url):  # names of pages are appended to it
        return "not contain spaces, ? or #"
    return None
