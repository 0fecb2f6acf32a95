"""Proxies: find which one applies to an address, and check that it may read what is sent there.

Which proxy applies follows requests' own rules: https_proxy, all_proxy and no_proxy in either case, or the system's
settings on macOS and Windows.
"""

import os
import re
import shutil
from dataclasses import dataclass
from urllib.parse import urlsplit

import requests

from h36m.errors import UsageError

SCHEME_AND_REST = re.compile(r"(?:([a-zA-Z][\w+.-]*)://)?(.*)", re.DOTALL)
HOST_AND_PORT = re.compile(r"([\w.-]+|\[[0-9a-zA-Z:.%]+\])(:\d+)?")
SUPPORTED_SCHEMES = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")
CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")  # in the order in which requests looks at them


@dataclass(frozen=True)
class Proxy:
    """A proxy as messages may show it, without its user name and password.

    Attributes:
        scheme: `http`, `socks5`, ...
        address: host and port; empty if the URL is malformed, so that no part of a password is taken for a host.
        source: the environment variable as it is spelled there, or "the system's settings".
    """

    scheme: str
    address: str
    source: str

    @property
    def is_valid(self) -> bool:
        return bool(self.address) and self.scheme in SUPPORTED_SCHEMES

    def __str__(self) -> str:
        return f"proxy {self.address} (from {self.source})" if self.address else f"proxy from {self.source}"


def find_proxy(url: str) -> Proxy | None:
    """Return the proxy that applies to an address; None where requests connects directly.

    Raises:
        ValueError: the address is malformed.
    """
    proxies = requests.utils.get_environ_proxies(url)
    value = requests.utils.select_proxy(url, proxies)
    if not value:
        return None
    key = next(key for key in (urlsplit(url).scheme, *proxies) if proxies.get(key) == value)
    names = (name for name in os.environ if name.lower() == f"{key}_proxy" and os.environ[name] == value)
    scheme, rest = SCHEME_AND_REST.fullmatch(value).groups(default="http")  # type: ignore[union-attr]
    # A user name and password end at the last @; in a password, / ? # are seen unescaped.
    address = re.split(r"[/?#]", rest.rpartition("@")[2], maxsplit=1)[0]
    return Proxy(
        scheme=scheme.lower(),
        address=address if HOST_AND_PORT.fullmatch(address) else "",
        source=next(names, "the system's settings"),
    )


def host_of(url: str) -> str:
    """Return host and port of an address, as messages may show them: without a user name and password."""
    return urlsplit(url).netloc.rpartition("@")[2]


def check_proxy(url: str, downloader: str) -> str | None:
    """Check that the site's address is safe with the proxy that applies to it.

    Args:
        url: of the site.
        downloader: the configured one.

    Returns:
        a line for the user about what the proxy changes; None if there is nothing to say.

    Raises:
        UsageError: the proxy would read the cookie and the password.
    """
    proxy = find_proxy(url)
    if proxy and urlsplit(url).scheme == "http":
        raise UsageError(
            f"{host_of(url)}: {proxy} could read the password and the cookie, since BaseURL begins with http://; "
            f"use https:// in BaseURL, or add {urlsplit(url).hostname} to no_proxy"
        )
    if proxy and downloader != "requests" and shutil.which("axel"):
        return f"{host_of(url)}: {proxy} applies; downloading with requests, since axel would send it the cookie"
    return None


def ca_bundle() -> str:
    """Return the file or folder of the certificates that requests trusts."""
    return next(filter(None, map(os.environ.get, CA_VARIABLES)), None) or requests.utils.DEFAULT_CA_BUNDLE_PATH
