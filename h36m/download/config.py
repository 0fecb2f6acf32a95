"""config.ini: read it, and save a session in it."""

import codecs
import errno
import io
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from h36m.errors import UsageError
from h36m.spelling import did_you_mean
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
YES = ("yes", "true", "on", "1")
# What a value in lower case must match, and that in words. An address may not contain a password, since axel would show
# it in `ps` and messages name the host; names of pages are appended to it.
RULES = {
    "BaseURL": (
        r"https?://([^][\s?#/@:]+|\[[0-9a-f:.]+\])(:[0-9]+)?(/[^\s?#]*)?",
        "begin with https:// and a host, without a user name or password, and not contain spaces, ? or #",
    ),
    "VerifyTLS": ("yes|true|on|1|no|false|off|0", "be yes or no"),
    "Downloader": ("auto|axel|requests", "be auto, axel or requests"),
    "Connections": ("[1-9][0-9]?|100", "be a number from 1 to 100"),
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
    settings, warnings = _read_settings(path)
    values = DEFAULTS | settings
    variables = {key: _checked_text(environment.get(name, ""), name) for key, name in VARIABLES.items()}
    downloader = values["Downloader"].lower()
    if downloader == "axel" and not shutil.which("axel"):
        raise UsageError(f"{path}: Downloader is axel, which is not installed; install it or set Downloader = auto")
    return Configuration(
        path=path,
        base_url=PAGE.sub("/", values["BaseURL"], count=1),
        verify_tls=values["VerifyTLS"].lower() in YES,
        downloader=downloader,
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


def _read_settings(path: Path) -> tuple[dict[str, str], list[str]]:
    """Return the values that are not empty, by key, and warnings about what is ignored.

    Raises:
        UsageError: as `read_configuration`.
    """
    settings: dict[str, str] = {}
    warnings: list[str] = []
    try:
        text = _read(path)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    for number, line in enumerate(lines_of(text), 1):
        where = f"{path}: line {number}"
        is_ours = line.section == SECTION
        if line.key is None:
            if not is_ours and HEADER.fullmatch(line.before):
                hint = did_you_mean(line.section or "", {SECTION.lower(): f"[{SECTION}]"})
                warnings.append(f"{where}: ignoring the unknown section {f'[{line.section}]'!a}{hint}")
            continue
        key = KEYS.get(line.key.lower())
        is_wrong = is_ours and (key in settings or not WORD.fullmatch(line.key))
        if is_wrong or line.section is None or not line.key:
            # Without any word of the line: it may contain the password.
            raise UsageError(f"{where} is neither KEY = VALUE nor a comment; see config.ini.example")
        if is_ours and key and line.value:
            settings[key] = _checked_text(line.value, f"{where}: {key}")
            pattern, expected = RULES.get(key, (".*", ""))
            if not re.fullmatch(pattern, line.value.lower(), re.DOTALL):
                found = "" if key == "BaseURL" else f", not {line.value!r}"  # it may contain a password
                raise UsageError(f"{where}: {key} must {expected}{found}")
            if key == "Username" and re.search(r"\s", line.value):
                hint = "if a comment follows it, put the comment on a line of its own"
                warnings.append(f"{where}: Username contains a space; {hint}")
        elif is_ours and not key:
            warnings.append(f"{where}: ignoring the unknown key {line.key!a}{did_you_mean(line.key, KEYS)}")
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
