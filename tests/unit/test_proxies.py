"""Proxies: which one applies, what it receives, and that its failures name it and no password; over real sockets."""

import io
import os
import socket
import sys
import threading
from pathlib import Path
from unittest.mock import Mock

import pytest
import requests
from helpers.faulty_site import faulty_site, made_certificate
from helpers.proxy import recording_proxy

from h36m.download import axel
from h36m.download.config import read_configuration
from h36m.download.proxies import CA_VARIABLES, check_proxy, find_proxy
from h36m.download.request import send
from h36m.download.retry import TemporaryError, UnreachableError
from h36m.download.site import Site
from h36m.errors import TaskError

SITE = "https://vision.imar.ro/human3.6m/"
SECRET = "hunter2"
INVALID = "invalid URL; check ALL_PROXY, use http://"
REFUSED = "cannot be reached (connection refused); check ALL_PROXY"


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    """An environment without certificates and passwords of the machine that runs the tests."""
    for name in (*CA_VARIABLES, "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return monkeypatch


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """The server's side of a certificate for 127.0.0.1, and its file."""
    return made_certificate(tmp_path_factory.mktemp("certificate"))


def ask(url: str, seconds: float = 10, **options) -> requests.Response:
    return send("GET", url, Path("config.ini"), timeout=(seconds, seconds), **options)


def failure(url: str, kind: type[Exception], **options) -> str:
    """Return the message with which a request fails; it shows no secret, nor does a traceback."""
    with pytest.raises(kind) as raised:
        ask(url, **options)
    assert type(raised.value) is kind
    assert raised.value.__cause__ is None and (raised.value.__context__ is None or raised.value.__suppress_context__)
    message = str(raised.value)
    assert SECRET not in message and "\n" not in message
    return message


# -- which proxy applies ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, None),
        ({"http_proxy": "http://p:1"}, None),
        ({"HTTPS_PROXY": "http://p:1"}, "proxy p:1 (from HTTPS_PROXY)"),
        ({"HTTPS_PROXY": "http://other:1", "https_proxy": "http://p:1"}, "proxy p:1 (from https_proxy)"),
        ({"ALL_PROXY": "socks5://p:1", "http_proxy": "http://other:1"}, "proxy p:1 (from ALL_PROXY)"),
        ({"https_proxy": "http://p:1", "no_proxy": "imar.ro"}, None),
        ({"https_proxy": "http://p:1", "NO_PROXY": "*"}, None),
        ({"https_proxy": f"user:{SECRET}@[::1]:1"}, "proxy [::1]:1 (from https_proxy)"),
        ({"https_proxy": f"http://user:{SECRET}#/@{SECRET}@p:1"}, "proxy p:1 (from https_proxy)"),
        ({"https_proxy": f"http://user:{SECRET}"}, "proxy from https_proxy"),
    ],
    ids=lambda value: " ".join(value) or "none" if isinstance(value, dict) else "",
)
def test_proxy_is_the_one_that_requests_takes(environment, variables, expected):
    for name, value in variables.items():
        environment.setenv(name, value)
    proxy = find_proxy(SITE)
    assert (str(proxy) if proxy else None) == expected
    assert SECRET not in repr(proxy)


def test_proxy_of_the_system_is_named_so(environment):
    environment.setattr(requests.utils, "get_environ_proxies", lambda url: {"https": "http://p:1"})
    assert str(find_proxy(SITE)) == "proxy p:1 (from the system's settings)"


def test_proxy_changes_the_downloader_only_where_axel_would_be_it(environment):
    environment.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    assert check_proxy(SITE, "auto") is None
    environment.setenv("https_proxy", "http://p:1")
    assert [bool(check_proxy(SITE, downloader)) for downloader in ("auto", "axel", "requests")] == [True, True, False]
    environment.setattr("shutil.which", lambda name: None)
    assert check_proxy(SITE, "auto") is None


# -- what a request carries --------------------------------------------------------------------------------------------


def test_no_request_has_a_password_of_netrc(environment, tmp_path):
    (tmp_path / ".netrc").write_text(f"default login me password {SECRET}\n")
    (tmp_path / ".netrc").chmod(0o600)
    with faulty_site(tmp_path) as site, requests.Session() as session:
        assert requests.utils.get_netrc_auth(site.base_url) == ("me", SECRET), "requests would take it"
        ask(site.base_url).close()
        ask(site.base_url, session=session).close()
        assert [request.authorization for request in site.requests] == [None, None]


# -- how a proxy fails -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "kind", "words"),
    [
        ("socks5://{user}@127.0.0.1:1", TaskError, "SOCKS needs another package; run: pip install 'requests[socks]'"),
        ("foo://{user}@127.0.0.1:1", TaskError, INVALID),
        ("http://{user}@127.0.0.1:99999", TaskError, INVALID),
        ("{user}@127.0.0.1:1", TaskError, INVALID),
        ("http://{user}@127.0.0.1:1", UnreachableError, REFUSED),
        ("http://{user}@no-such-host.invalid:3128", UnreachableError, "host not found; check ALL_PROXY"),
    ],
)
def test_wrong_proxy_is_named_with_its_variable(environment, value, kind, words):
    if "socks" in sys.modules:  # what requests does where PySocks is not installed
        error = requests.exceptions.InvalidSchema("Missing dependencies for SOCKS support.")
        environment.setattr(requests.adapters, "SOCKSProxyManager", Mock(side_effect=error))
    environment.setenv("ALL_PROXY", value.format(user=f"user:{SECRET}"))
    for scheme in ("http", "https"):
        message = failure(f"{scheme}://site.example/", kind)
        assert message.startswith("site.example through proxy ") and f": {words}" in message


@pytest.mark.parametrize(
    ("scheme", "fault", "kind", "words"),
    [
        ("https", "403", TaskError, "refused with HTTP 403 Forbidden; check ALL_PROXY"),
        ("https", "407", TaskError, "refused with HTTP 407 Proxy Authentication Required; check ALL_PROXY"),
        ("https", "502", TemporaryError, "refused with HTTP 502 Bad Gateway"),
        ("https", "disconnect", TemporaryError, "connection closed"),
        ("http", "stall", TemporaryError, "timed out"),
    ],
)
def test_proxy_that_does_not_connect_is_named(environment, scheme, fault, kind, words):
    with recording_proxy(fault) as proxy:
        environment.setenv("ALL_PROXY", f"http://user:{SECRET}@{proxy.address}")
        message = failure(f"{scheme}://site.example/", kind, seconds=0.2 if fault == "stall" else 10)
        assert message == f"site.example through proxy {proxy.address} (from ALL_PROXY): {words}"


def test_https_in_front_of_a_plain_proxy_is_named(environment):
    with recording_proxy() as proxy:
        environment.setenv("https_proxy", f"https://user:{SECRET}@{proxy.address}")
        message = failure("https://site.example/", TaskError)
        assert message.endswith("(from https_proxy): the proxy does not accept TLS; check https_proxy, use http://")
        assert SECRET.encode() not in proxy.received


def test_proxy_that_replaces_the_certificate_is_named(environment, tmp_path, certificate):
    with faulty_site(tmp_path, tls=certificate[0]) as site, recording_proxy(intercepts=certificate[0]) as proxy:
        environment.setenv("https_proxy", proxy.url)
        message = failure(site.base_url, TaskError, headers={"Cookie": "PHPSESSID=deadbeef"})
        assert "(from https_proxy): the certificate is not trusted" in message and "REQUESTS_CA_BUNDLE" in message
        assert b"deadbeef" not in proxy.received and not site.requests


@pytest.mark.parametrize("url", ["ftp://site.example/", "http://.site/"])
def test_wrong_address_is_not_blamed_on_the_proxy(environment, url):
    environment.setenv("ALL_PROXY", "http://127.0.0.1:1")
    assert failure(url, TaskError).endswith(": invalid URL; check BaseURL")


def test_failure_without_a_proxy_names_the_site(environment):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        message = failure(f"https://127.0.0.1:{port}/", UnreachableError)
        assert message == f"127.0.0.1:{port}: cannot be reached (connection refused); check BaseURL and the network"


@pytest.mark.parametrize("text", [None, "no certificate"])
def test_missing_certificates_are_named_with_their_variable(environment, tmp_path, certificate, text):
    file = tmp_path / "some.pem"
    if text is not None:
        file.write_text(text)
    environment.setenv("CURL_CA_BUNDLE", str(file))
    with faulty_site(tmp_path, tls=certificate[0]) as site:
        message = failure(site.base_url, TaskError)
    assert message == f"{file}: not a file of certificates; check REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE"


# -- the site ----------------------------------------------------------------------------------------------------------


def site_at(base_url: str, tmp_path: Path, **values: str) -> Site:
    path = tmp_path / "config.ini"
    lines = {"BaseURL": base_url, "Downloader": "requests", "Username": "me", "Password": SECRET} | values
    path.write_text("[General]\n" + "".join(f"{key} = {value}\n" for key, value in lines.items()))
    return Site(read_configuration(path, {}), print)


@pytest.mark.parametrize(
    ("base_url", "target", "expected"),
    [
        ("http://host/human3.6m/", "https://host/human3.6m/index.php", "https://host/human3.6m/"),
        ("http://host:80/human3.6m/", "https://host:443/", "https://host:443/human3.6m/"),
        ("http://host/human3.6m/", "https://www.host/human3.6m/", "http://host/human3.6m/"),
        ("http://host/human3.6m/", "https://host:8443/human3.6m/", "http://host/human3.6m/"),
        ("http://host/human3.6m/", "http://host/human3.6m/login.php", "http://host/human3.6m/"),
    ],
)
def test_redirect_to_https_at_the_same_host_is_learned(monkeypatch, tmp_path, base_url, target, expected):
    site = site_at(base_url, tmp_path)
    response = requests.Response()
    response.status_code, response.url, response.raw = 200, target, io.BytesIO()
    monkeypatch.setattr(site, "_get", lambda url, session: response)
    site._learn_of_https()
    assert site.base_url == expected


def test_site_that_fails_before_it_can_redirect_gets_no_secret(tmp_path):
    with faulty_site(tmp_path, lambda request: "503 after 7") as server:
        site = site_at(server.base_url, tmp_path, PHPSESSID="deadbeef")
        with pytest.raises(TemporaryError) as raised:
            site.start_session()
        assert raised.value.wait == 7
        assert [(request.page, request.cookie, request.body) for request in server.requests] == [("", None, "")]


# -- axel --------------------------------------------------------------------------------------------------------------


def test_axel_trusts_the_certificates_that_requests_trusts(environment, tmp_path):
    assert axel.axel_environment({"SSL_CERT_FILE": "other"})["SSL_CERT_FILE"] == requests.certs.where()
    environment.setenv("CURL_CA_BUNDLE", str(tmp_path / "file.pem"))
    assert axel.axel_environment({})["SSL_CERT_FILE"] == str(tmp_path / "file.pem")
    environment.setenv("REQUESTS_CA_BUNDLE", str(tmp_path))
    found = axel.axel_environment({})
    assert found["SSL_CERT_DIR"] == str(tmp_path) and found["SSL_CERT_FILE"] != str(tmp_path / "file.pem")


@pytest.mark.skipif(os.name == "nt", reason="a script in axel's place is one for sh")
def test_axel_runs_without_proxy_in_that_environment(environment, tmp_path):
    program, seen = tmp_path / "axel", tmp_path / "seen.txt"
    program.write_text(f"#!/bin/sh\nexport -p > '{seen}'\necho \"$@\" >> '{seen}'\n")
    program.chmod(0o755)
    environment.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    for name in ("http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        environment.setenv(name, f"http://{SECRET}:1")
    for name, value in {"H36M_PASSWORD": SECRET, "LD_PRELOAD": "", "LANG": "de_DE.UTF-8"}.items():
        environment.setenv(name, value)
    fake = Mock(axel_connections=4, stop=threading.Event())
    fake.partial.path = tmp_path / "part"
    axel.run_axel(fake, "https://host/", "deadbeef", Mock(), lambda is_quiet: False)
    text = seen.read_text().replace('"', "'")
    assert " --no-proxy " in text and f"HOME='{axel.HOME}'" in text and "LANG='C'" in text and "LD_PRELOAD=" in text
    assert SECRET not in text and text.count("deadbeef") == 1
    assert "save_state_interval = 1\n" in (axel.HOME / ".axelrc").read_text()
