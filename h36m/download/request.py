"""One request: sent without passwords of `~/.netrc`, and its failure in one line that names the cause."""

import re
import socket
import ssl
from http import HTTPStatus
from pathlib import Path

import requests
import urllib3

from h36m.download.proxies import CA_VARIABLES, ca_bundle, check_setting, find_proxy, host_of, proxy_error, refusal
from h36m.download.retry import TemporaryError, UnreachableError, is_caused_by
from h36m.errors import TaskError


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
        session: whose connection to use; None for a new connection.
        options: as for `requests.request`.

    Raises:
        UnreachableError, TemporaryError: the server or the proxy cannot be reached, or failed.
        TaskError: the address, a certificate or the proxy's settings are wrong.
    """
    host, proxy = host_of(url), None
    try:
        if proxy := find_proxy(url):
            check_setting(proxy)
        response = (session or requests).request(
            method, url, auth=_without_password, allow_redirects=False, stream=True, timeout=timeout, **options
        )
    except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
        if re.search(r"\[(X509|PEM)\b", str(error)):  # OpenSSL's parts that read certificates from files
            raise _certificates_error() from None
        if proxy and _is_valid(url):
            raise proxy_error(error, proxy, host) from None
        raise _direct_error(error, host, configuration_file, timeout[1]) from None
    except OSError:  # not one of requests' own, which are above
        if Path(ca_bundle()).exists():
            raise
        raise _certificates_error() from None
    if proxy and response.status_code == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        response.close()
        raise refusal(proxy, host, response.status_code)
    return response


def _certificates_error() -> TaskError:
    return TaskError(f"{ca_bundle()}: not a file of certificates; check {' and '.join(CA_VARIABLES)}")


def _without_password(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Send no credentials: with None, requests would use a password from `~/.netrc` or the URL."""
    return request


def _is_valid(url: str) -> bool:
    """Return whether requests accepts an address, whatever its proxy; a redirect may lead to any."""
    try:
        requests.Session().get_adapter(requests.Request("GET", url).prepare().url or "")
    except ValueError:
        return False
    return True


def _direct_error(error: Exception, host: str, configuration_file: Path, seconds: float) -> Exception:
    """Return the error to raise for a request that failed while no proxy applied.

    Args:
        seconds: that the server had to respond.
    """
    if isinstance(error, requests.exceptions.SSLError):
        if not is_caused_by(error, ssl.SSLCertVerificationError):
            return TemporaryError(f"{host}: the TLS connection failed")
        return TaskError(
            f"{host}: its certificate is not trusted, and the connection may be intercepted; if you know why and trust "
            f"the network, set VerifyTLS = no in {configuration_file}"
        )
    if isinstance(error, requests.exceptions.ReadTimeout):
        return TemporaryError(f"{host}: no response for {seconds:g} s")
    if isinstance(error, requests.exceptions.ConnectionError):
        if is_caused_by(error, socket.gaierror):
            return UnreachableError(f"{host}: host not found; check BaseURL and the network")
        if is_caused_by(error, urllib3.exceptions.NewConnectionError, requests.exceptions.ConnectTimeout):
            return UnreachableError(f"{host}: cannot be reached; check BaseURL and the network")
        return TemporaryError(f"{host}: connection closed by the server")
    return TaskError(f"{host}: invalid URL; check BaseURL")
