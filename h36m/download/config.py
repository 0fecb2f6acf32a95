"""config.ini: read it, and save a session in it."""

import configparser
import os
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from h36m.cli import UsageError
from h36m.storage import PRIVATE, write_atomically

CONFIGURATION_FILE = "config.ini"  # the default of --config, in the current directory
DEFAULTS = {
    "PHPSESSID": "",
    "Username": "",
    "Password": "",
    "BaseURL": "https://vision.imar.ro/human3.6m/",
    "VerifyTLS": "yes",
    "Downloader": "auto",
    "Connections": "24",
}
SECTION = "General"


@dataclass
class Configuration:
    """What `config.ini` and the environment say, with defaults for the rest.

    Attributes:
        sessions: the PHPSESSIDs to try, the environment's before the file's.
    """

    path: Path
    base_url: str
    verify_tls: bool
    downloader: str
    connections: int
    username: str
    password: str = field(repr=False)
    sessions: list[str] = field(repr=False)


def read_configuration(path: Path, environment=os.environ) -> Configuration:
    """Read `config.ini`, which need not exist, and the H36M_... variables, which go before it.

    Raises:
        UsageError: the file cannot be read or says something that cannot be meant.
    """
    # A `;` after a blank begins a comment, as in the example file; `%` in a password stays as it is.
    parser = configparser.ConfigParser(interpolation=None, inline_comment_prefixes=(";",))
    try:
        parser.read_string(path.read_text(encoding="utf-8-sig"), source=str(path))
    except FileNotFoundError:
        pass
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"{path}: cannot be read: {reason}") from None
    except configparser.Error as error:
        # The error's own words quote the line, and the line may hold the password.
        line = getattr(error, "lineno", None) or (getattr(error, "errors", None) or [("?",)])[0][0]
        raise UsageError(f"{path}: line {line} cannot be understood; see config.ini.example") from None
    values = DEFAULTS | {key: parser.get(SECTION, key).strip() for key in DEFAULTS if parser.has_option(SECTION, key)}
    values = {key: values[key] or DEFAULTS[key] for key in values}

    base_url = values["BaseURL"].rstrip("/") + "/"
    if urlsplit(base_url).scheme not in ("http", "https") or not urlsplit(base_url).hostname:
        raise UsageError(f"{path}: BaseURL must begin with https:// and a host, not {values['BaseURL']!r}")
    verify_tls = configparser.ConfigParser.BOOLEAN_STATES.get(values["VerifyTLS"].lower())
    if verify_tls is None:
        raise UsageError(f"{path}: VerifyTLS must be yes or no, not {values['VerifyTLS']!r}")
    downloader = values["Downloader"].lower()
    if downloader not in ("auto", "axel", "requests"):
        raise UsageError(f"{path}: Downloader must be auto, axel or requests, not {values['Downloader']!r}")
    if downloader == "axel" and not shutil.which("axel"):
        raise UsageError(f"{path}: Downloader is axel, which is not installed here; install it or say auto")
    if not values["Connections"].isdecimal() or not 1 <= int(values["Connections"]) <= 100:
        raise UsageError(f"{path}: Connections must be a number from 1 to 100, not {values['Connections']!r}")
    return Configuration(
        path=path,
        base_url=base_url,
        verify_tls=verify_tls,
        downloader=downloader,
        connections=int(values["Connections"]),
        username=environment.get("H36M_USERNAME") or values["Username"],
        password=environment.get("H36M_PASSWORD") or values["Password"],
        sessions=[session for session in (environment.get("H36M_PHPSESSID"), values["PHPSESSID"]) if session],
    )


def save_session(path: Path, session: str) -> None:
    """Put a PHPSESSID into `config.ini`, made if there is none; everything else in it stays as it is.

    The file is replaced as a whole and can then be read by its owner only.
    """
    path = path.resolve()  # a link stays a link
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            lines = file.read().splitlines(keepends=True)
    except FileNotFoundError:
        lines = []
    newline = "\r\n" if lines and lines[0].endswith("\r\n") else "\n"
    section, end = None, None  # end: after the last line of our section; there, indented keys before do no harm
    for number, line in enumerate(lines):
        if header := re.match(r"\ufeff?[ \t]*\[(.+)\]", line):
            section = header[1]
        if section != SECTION:
            continue
        if match := re.match(r"([ \t]*phpsessid[ \t]*[=:]).*?([ \t]+;.*)?\r?$", line, re.IGNORECASE):
            lines[number] = f"{match[1]} {session}{match[2] or ''}{newline}"
            break
        if line.strip():
            end = number + 1
    else:
        if lines and not lines[-1].endswith("\n"):
            lines[-1] += newline
        if end is None:
            lines.append(f"[{SECTION}]{newline}")
            end = len(lines)
        lines.insert(end, f"PHPSESSID = {session}{newline}")
    write_atomically(path, "".join(lines), PRIVATE)
