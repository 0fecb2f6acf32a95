"""One request: sent without passwords of `~/.netrc`, and its failure in one line that names the cause."""

import functools
import http.client
import os
import re
import socket
import ssl
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

import requests
import urllib3

from h36m.done import LIMIT_REMEDY
from h36m.download.proxies import CA_VARIABLES, Proxy, ca_bundle, find_proxy, host_of
from h36m.download.retry import TemporaryError, UnreachableError, is_caused_by, is_temporary
from h36m.errors import TaskError

Kind = type[Exception]
# What the chain of an UnreachableError's cause contains, and the cause in words; the first that fits counts.
CAUSES: tuple[tuple[tuple[type[BaseException], ...], str], ...] = (
    ((socket.gaierror,), "host not found"),
    ((ConnectionRefusedError,), "cannot be reached (connection refused)"),
    ((requests.ConnectTimeout, urllib3.exceptions.NewConnectionError), "cannot be reached"),
)
# The name and words of OpenSSL's reason, as the texts of these errors show them.
TLS_REASON = re.compile(r"\[SSL: (\w+)\] (?:certificate verify failed: )?(.+?)\.? \(_ssl")


def send(
    method: str,
    url: str,
    configuration_file: Path,
    timeout: tuple[float, float],
    session: requests.Session | None = None,
    **options,
) -> requests.Response:
    """Send one request, through the proxy that applies, without following redirects.

    Args:
        configuration_file: for messages.
        timeout: seconds to connect, and to wait for a byte.
        session: whose open connections to use; None to open one.
        options: as for `requests.request`.

    Raises:
        UnreachableError, TemporaryError: the server or the proxy cannot be reached, or failed.
        TaskError: the address, a certificate or the proxy's settings are wrong.
    """
    if not _is_valid(url):
        raise TaskError(f"{host_of(url)}: invalid URL; check BaseURL")
    proxy = find_proxy(url)
    where = f"{host_of(url)} through {proxy}" if proxy else host_of(url)
    try:
        if proxy and not proxy.is_valid:  # requests itself fails with a TypeError at some
            raise requests.exceptions.InvalidProxyURL
        response = (session or requests).request(
            method, url, auth=_without_password, allow_redirects=False, stream=True, timeout=timeout, **options
        )
    except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
        if re.search(r"\[(X509|PEM)\b", str(error)):  # OpenSSL's parts that read certificates from files
            raise _certificates_error() from None
        kind, cause = _failure(error, proxy, configuration_file, timeout[1])
        raise kind(f"{where}: {cause}") from None
    except OSError:  # not one of requests' own, which are above
        if Path(ca_bundle()).exists():
            raise
        raise _certificates_error() from None
    if proxy and response.status_code == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        response.close()
        kind, cause = _refusal(response.status_code, proxy)
        raise kind(f"{where}: {cause}")
    return response


@functools.cache  # a range is requested many times
def _is_valid(url: str) -> bool:
    """Return whether requests accepts an address, whatever the proxy; a redirect may lead to any."""
    try:
        requests.Request("GET", url).prepare()
    except ValueError:
        return False
    return urlsplit(url).scheme in ("http", "https")


def _without_password(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Send no credentials: with None, requests would use a password from `~/.netrc` or the URL."""
    return request


def _certificates_error() -> TaskError:
    return TaskError(f"{ca_bundle()}: not a file of certificates; check {' and '.join(CA_VARIABLES)}")


def _failure(error: Exception, proxy: Proxy | None, configuration_file: Path, seconds: float) -> tuple[Kind, str]:
    """Return what to raise for a request that failed, and the cause, with a remedy where a retry does not help.

    Args:
        seconds: that the server had to respond.
    """
    check = f"check {proxy.source}" if proxy else "check BaseURL and the network"
    if isinstance(error, requests.exceptions.InvalidSchema):
        return TaskError, "SOCKS needs another package; run: pip install 'requests[socks]'"
    if isinstance(error, ValueError):
        proxies = "http://HOST:PORT or socks5h://HOST:PORT (special characters of a password percent-encoded)"
        return TaskError, f"invalid URL; {check}, use {proxies}" if proxy else f"invalid URL; {check}"
    # http.client gives the status only in the text of an OSError.
    if proxy and (status := re.search(r"Tunnel connection failed: (\d{3})\b", str(error))):
        return _refusal(int(status[1]), proxy)
    if "appears to only use HTTP" in str(error):  # urllib3's words about a proxy
        return TaskError, f"the proxy does not accept TLS; {check}, use http://"
    if "Too many open files" in str(error):
        return UnreachableError, f"too many open files; {LIMIT_REMEDY}"
    if is_caused_by(error, ssl.SSLError, requests.exceptions.SSLError):
        return _tls_failure(error, proxy, configuration_file, check)
    for types, cause in CAUSES:
        if is_caused_by(error, *types):
            return UnreachableError, f"{cause}; {check}"
    key_log = os.environ.get("SSLKEYLOGFILE")  # Python opens it for each connection
    if key_log and is_caused_by(error, FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError):
        return TaskError, f"cannot write {key_log}; unset SSLKEYLOGFILE"
    if is_caused_by(error, urllib3.exceptions.TimeoutError, TimeoutError):
        return TemporaryError, "timed out" if proxy else f"no response for {seconds:g} s"
    return TemporaryError, "connection closed" if proxy else "connection closed by the server"


def _tls_failure(error: Exception, proxy: Proxy | None, configuration_file: Path, check: str) -> tuple[Kind, str]:
    """Return the same where TLS failed; `check` is the advice where the site or the proxy may be the wrong one."""
    name, words = found.groups() if (found := TLS_REASON.search(str(error))) else ("", "unknown reason")
    if is_caused_by(error, ssl.SSLCertVerificationError):
        trust = "if you trust its issuer, set REQUESTS_CA_BUNDLE to a file with the issuer's certificate"
        remedy = check if "mismatch" in words else trust
        if "expired" in words or "not yet valid" in words:
            remedy = "check the date of this machine, or run again when the site has a new certificate"
        if not proxy:
            remedy += f"; if you know why and trust the network, set VerifyTLS = no in {configuration_file}"
        return TaskError, f"the certificate is not trusted ({words}), and the connection may be intercepted; {remedy}"
    if re.search("UNSUPPORTED_PROTOCOL|PROTOCOL_VERSION|NO_PROTOCOLS|HANDSHAKE_FAILURE|CIPHER|TOO_SMALL", name):
        return TaskError, f"no TLS version or cipher in common with this machine ({words}); {check}, or update Python"
    return TemporaryError, f"the TLS connection failed ({words})"


def _refusal(status: int, proxy: Proxy) -> tuple[Kind, str]:
    """Return the same for a proxy that responded to a request for the site with a status of its own."""
    cause = f"refused with HTTP {status} {http.client.responses.get(status, '')}".rstrip()
    return (TemporaryError, cause) if is_temporary(status) else (TaskError, f"{cause}; check {proxy.source}")
