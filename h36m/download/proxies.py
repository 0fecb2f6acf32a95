"""Proxies: find which one applies to an address, and describe their failures in one line, without passwords.

Which proxy applies follows requests' own rules: https_proxy, all_proxy and no_proxy in either case, or the system's
settings on macOS and Windows.
"""

import http.client
import os
import re
import shutil
import socket
import ssl
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

import requests
import urllib3

from h36m.download.retry import TemporaryError, UnreachableError, is_caused_by, is_temporary
from h36m.errors import TaskError, UsageError

SCHEME_AND_REST = re.compile(r"(?:([a-zA-Z][\w+.-]*)://)?(.*)", re.DOTALL)
HOST_AND_PORT = re.compile(r"([\w.-]+|\[[0-9a-zA-Z:.%]+\])(:\d+)?")
SUPPORTED_SCHEMES = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")
# How OpenSSL's versions put it, as urllib3 looks for it, too.
RESPONSE_WITHOUT_TLS = re.compile("wrong.version.number|unknown.protocol|record.layer.failure", re.IGNORECASE)
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
    # urllib prefers the lower case where both are set.
    names = sorted((name for name in os.environ if name.lower() == f"{key}_proxy"), key=str.islower)
    name = next((name for name in reversed(names) if os.environ[name] == value), "the system's settings")
    scheme, rest = SCHEME_AND_REST.fullmatch(value).groups(default="http")  # type: ignore[union-attr]
    # A user name and password end at the last @; in a password, / ? # are seen unescaped.
    address = re.split(r"[/?#]", rest.rpartition("@")[2], maxsplit=1)[0]
    return Proxy(
        scheme=scheme.lower(),
        address=address if HOST_AND_PORT.fullmatch(address) else "",
        source=name,
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


def check_setting(proxy: Proxy) -> None:
    """Check what is known of a proxy before it is used.

    Raises:
        TaskError: no request can go through it.
    """
    if proxy.scheme not in SUPPORTED_SCHEMES:
        raise TaskError(f"{proxy}: unsupported scheme; use http:// or socks5h:// in {proxy.source}")
    if not proxy.address:  # requests itself fails with a TypeError at some
        raise _malformed(proxy)


def _malformed(proxy: Proxy) -> TaskError:
    return TaskError(
        f"{proxy}: malformed URL; use http://HOST:PORT in {proxy.source} "
        "(percent-encode special characters of a password)"
    )


def proxy_error(error: Exception, proxy: Proxy, host: str) -> Exception:
    """Return the error to raise for a request that failed while a proxy applied.

    requests and urllib3 raise a ProxyError for most failures of a proxy; a few look like failures of the site.

    Args:
        host: of the site.
    """
    if isinstance(error, requests.exceptions.InvalidSchema) and proxy.scheme.startswith("socks"):
        return TaskError(f"{proxy}: SOCKS needs another package; run: pip install 'requests[socks]'")
    if not isinstance(error, requests.exceptions.RequestException) or isinstance(error, ValueError):
        return _malformed(proxy)
    is_at_proxy = is_caused_by(error, urllib3.exceptions.ProxyError)
    if status := _refused_tunnel(error):
        return refusal(proxy, host, status)
    if is_caused_by(error, ssl.SSLCertVerificationError):
        if is_at_proxy:
            return TaskError(f"{proxy}: its own certificate is not trusted; add its CA to REQUESTS_CA_BUNDLE")
        return TaskError(
            f"{host}: its certificate is not trusted; {proxy} applies and may replace certificates: if you trust it, "
            "set REQUESTS_CA_BUNDLE to a file that has its CA"
        )
    if is_caused_by(error, ssl.SSLError):
        if is_at_proxy and RESPONSE_WITHOUT_TLS.search(str(error)):
            return TaskError(f"{proxy}: does not accept TLS; use http:// in {proxy.source}")
        return TemporaryError(f"{host}: the TLS connection through {proxy} failed")
    if is_caused_by(error, socket.gaierror) and proxy.scheme in ("socks4", "socks5"):
        # These have the host of the site looked up on this machine, which may know none but the proxy.
        return UnreachableError(
            f"{proxy}: the proxy or {host} not found; check {proxy.source}, or use socks5h:// there"
        )
    if is_caused_by(error, socket.gaierror):
        return UnreachableError(f"{proxy}: host not found; check {proxy.source}")
    if is_caused_by(error, requests.exceptions.ConnectTimeout):
        return UnreachableError(f"{proxy}: no connection before the timeout; check {proxy.source} and the network")
    if is_caused_by(error, ConnectionRefusedError):
        return UnreachableError(f"{proxy}: connection refused; check {proxy.source}")
    if is_caused_by(error, urllib3.exceptions.NewConnectionError) and proxy.scheme.startswith("socks"):
        return UnreachableError(f"{proxy}: no connection to {host} through it; check {proxy.source} and the network")
    if is_caused_by(error, urllib3.exceptions.NewConnectionError):
        return UnreachableError(f"{proxy}: cannot be reached; check {proxy.source} and the network")
    if is_caused_by(error, urllib3.exceptions.TimeoutError, TimeoutError):
        return TemporaryError(f"{host}: timed out; {proxy} applies, check {proxy.source}")
    return TemporaryError(f"{host}: connection closed by {proxy} or by the server")


def _refused_tunnel(error: Exception) -> int | None:
    """Return the status with which a proxy refused to connect to the site; None if that is not what happened."""
    # http.client gives it only in the text of an OSError.
    found = re.search(r"Tunnel connection failed: (\d{3})\b", str(error))
    return int(found[1]) if found else None


def refusal(proxy: Proxy, host: str, status: int) -> Exception:
    """Return the error to raise for a proxy that answered a request for `host` with a status of its own."""
    name = f"HTTP {status} {http.client.responses.get(status, '')}".rstrip()
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        return TaskError(
            f"{proxy}: wrong or no user name and password ({name}); use http://USER:PASSWORD@HOST:PORT in "
            f"{proxy.source}"
        )
    if is_temporary(status):
        return TemporaryError(f"{proxy}: cannot connect to {host} ({name})")
    return TaskError(
        f"{proxy}: refused to connect to {host} ({name}); ask its administrator, or add the host to no_proxy"
    )
