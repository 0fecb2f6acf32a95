"""Downloading where TLS fails: real servers with real certificates, and the cause of each failure in one line."""

import ssl
import subprocess
from pathlib import Path

import pytest
from helpers.archives import small_release
from helpers.downloads import Downloads
from helpers.faulty_site import faulty_site, made_certificate

from h36m.dataset import BOXES
from h36m.download.proxies import CA_VARIABLES
from h36m.download.request import send
from h36m.errors import TaskError

SCRIPT = "download_seg_mat_gt_pl.py"
DATE = "check the date of this machine"
ISSUER = "set REQUESTS_CA_BUNDLE to a file with the issuer's certificate"
LAST_RESORT = "set VerifyTLS = no in config.ini"


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """An environment without certificates of the machine that runs the tests."""
    for name in (*CA_VARIABLES, "SSLKEYLOGFILE"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> Path:
    return small_release(tmp_path_factory.mktemp("site"), kinds=[BOXES], subjects=["S1"])


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Path:
    """A certificate for 127.0.0.1; its key is next to it."""
    return made_certificate(tmp_path_factory.mktemp("certificate"))[1]


def issued(
    folder: Path, name: str = "IP:127.0.0.1", begin: str = "20200101000000Z", end: str = "20990101000000Z"
) -> Path:
    """Return a certificate with its key next to it, issued by an authority of its own, whose file is ca.pem there."""
    folder.mkdir()
    (folder / "index.txt").touch()
    (folder / "ca.cnf").write_text(
        "[ca]\ndefault_ca = own\n[own]\ncertificate = ca.pem\nprivate_key = ca.key\ndatabase = index.txt\n"
        "new_certs_dir = .\nrand_serial = yes\ndefault_md = sha256\npolicy = any\nx509_extensions = names\n"
        f"[any]\ncommonName = supplied\n[names]\nsubjectAltName = {name}\n"
    )
    sign = ["openssl", "ca", "-config", "ca.cnf", "-batch", "-notext", "-startdate", begin, "-enddate", end]
    new = ["openssl", "req", "-newkey", "rsa:2048", "-nodes", "-subj"]
    for command in (
        [*new, "/CN=authority", "-x509", "-days", "9", "-keyout", "ca.key", "-out", "ca.pem"],
        [*new, "/CN=site", "-keyout", "key.pem", "-out", "request.pem"],
        [*sign, "-in", "request.pem", "-out", "certificate.pem"],
    ):
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder / "certificate.pem"


def server_context(certificate: Path, ciphers: str = "DEFAULT", **versions: ssl.TLSVersion) -> ssl.SSLContext:
    """Return the server's side of a certificate, with limits such as `maximum_version`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))
    context.set_ciphers(ciphers)
    for name, version in versions.items():
        setattr(context, name, version)
    return context


def failure(folder: Path, context: ssl.SSLContext, kind: type[Exception]) -> str:
    """Return the message with which a request to a server fails, without the host; the server gets no request."""
    with faulty_site(folder, tls=context) as site:
        with pytest.raises(kind) as raised:
            send("GET", site.base_url, Path("config.ini"), timeout=(10, 10))
        assert type(raised.value) is kind and not site.requests
        return str(raised.value).removeprefix(f"127.0.0.1:{site.server_port}: ")


@pytest.mark.parametrize(
    ("facts", "reason", "remedy"),
    [
        ({"end": "20210101000000Z"}, "certificate has expired", DATE),
        ({"begin": "20980101000000Z"}, "certificate is not yet valid", DATE),
        ({"name": "IP:127.0.0.2"}, "IP address mismatch, certificate is not valid for '127.0.0.1'", "check BaseURL"),
        ({"ca": None}, "unable to get local issuer certificate", ISSUER),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_certificate_is_refused_with_its_cause(tmp_path, environment, facts, reason, remedy):
    """VerifyTLS = no is the last advice."""
    is_known = "ca" not in facts
    certificate = issued(tmp_path / "ca", **{name: value for name, value in facts.items() if value})
    if is_known:
        environment.setenv("REQUESTS_CA_BUNDLE", str(certificate.with_name("ca.pem")))
    message = failure(tmp_path, server_context(certificate), TaskError)
    cause, _, advice = message.partition("; ")
    assert cause == f"the certificate is not trusted ({reason}), and the connection may be intercepted"
    assert remedy in advice and advice.endswith(LAST_RESORT) and advice.index(remedy) < advice.index("VerifyTLS")


OLD = {"minimum_version": ssl.TLSVersion.TLSv1, "maximum_version": ssl.TLSVersion.TLSv1_1}
NEW = {"minimum_version": ssl.TLSVersion.TLSv1_3}
OTHER = {"maximum_version": ssl.TLSVersion.TLSv1_2}


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize(
    ("ciphers", "versions", "client"),
    [
        pytest.param("DEFAULT@SECLEVEL=0", OLD, "", id="old server"),
        pytest.param("DEFAULT", NEW, "MaxProtocol = TLSv1.2", id="old client"),
        pytest.param("DEFAULT", {}, "MaxProtocol = TLSv1.1", id="client without any"),
        pytest.param("ECDHE-ECDSA-AES128-GCM-SHA256", OTHER, "", id="other ciphers"),
    ],
)
def test_no_common_tls_version_or_cipher_ends_the_run_at_once(
    tmp_path, release, certificate, ciphers, versions, client
):
    """It is final, and not retried. OpenSSL's own settings limit the client."""
    settings = tmp_path / "openssl.cnf"
    settings.write_text(f"openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\n{client}\n")
    with faulty_site(release, tls=server_context(certificate, ciphers, **versions)) as site:
        ended = Downloads(tmp_path / "root", site).run(
            "--subjects", "S1", "--kinds", BOXES, script=SCRIPT, OPENSSL_CONF=str(settings)
        )
        assert ended.returncode == 1 and not site.requests, ended.text
        [line] = ended.stderr.splitlines()
        assert "no TLS version or cipher in common with this machine (" in line and "retrying" not in ended.text
        assert "; check BaseURL and the network" in line


@pytest.mark.parametrize("name", ["none/keys.txt", ".", "certificate.pem/keys.txt"])
def test_key_log_that_cannot_be_written_is_named(tmp_path, certificate, environment, name):
    file = certificate.parent / name
    environment.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    environment.setenv("SSLKEYLOGFILE", str(file))
    message = failure(tmp_path, server_context(certificate), TaskError)
    assert message == f"cannot write {file}; unset SSLKEYLOGFILE"


def test_certificate_error_exits_1_at_once(tmp_path, release):
    certificate = issued(tmp_path / "ca", end="20210101000000Z")
    with faulty_site(release, tls=server_context(certificate)) as site:
        ended = Downloads(tmp_path / "root", site).run(
            "--subjects", "S1", "--kinds", BOXES, script=SCRIPT, REQUESTS_CA_BUNDLE=str(certificate.with_name("ca.pem"))
        )
        assert (ended.returncode, site.requests, ended.stdout) == (1, [], ""), ended.text
        assert ended.stderr.count("\n") == 1 and "(certificate has expired)" in ended.stderr
