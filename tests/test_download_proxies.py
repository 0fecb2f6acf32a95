"""Downloading where proxies are configured: they read neither cookie nor password, and requests goes through them."""

import contextlib

import pytest
from helpers.archives import small_release
from helpers.downloads import Downloads
from helpers.faulty_site import PASSWORD, faulty_site, made_certificate
from helpers.marks import needs_axel
from helpers.proxy import recording_proxy
from helpers.scripts import Ended

from h36m.dataset import BOXES, PART_LABELS

SCRIPT = "download_seg_mat_gt_pl.py"
NAMES = ("Segments_mat_gt_bb_S1", "Segments_mat_gt_pl_S1")
PROXY_PASSWORD = "open-sesame"


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    return small_release(folder, kinds=[BOXES, PART_LABELS], subjects=["S1"], size=300_000)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """The server's side of a certificate for 127.0.0.1, and its file."""
    return made_certificate(tmp_path_factory.mktemp("certificate"))


@contextlib.contextmanager
def site_and_proxy(release, certificate=None, **proxy_options):
    with faulty_site(release, tls=certificate and certificate[0]) as site, recording_proxy(**proxy_options) as proxy:
        yield site, proxy


def download(downloads: Downloads, certificate, *options, **variables: str) -> Ended:
    """Run the script as a user with passwords in ~/.netrc and a proxy in ~/.axelrc."""
    netrc = downloads.root / ".netrc"
    netrc.write_text("default login me password not-for-the-site\n")
    netrc.chmod(0o600)
    if "http_proxy" in variables:
        (downloads.root / ".axelrc").write_text(f"http_proxy = {variables['http_proxy']}\n")
    variables |= {"REQUESTS_CA_BUNDLE": str(certificate[1])}
    return downloads.run("--subjects", "S1", *options, script=SCRIPT, **variables)


def assert_secrets_are_not_shown(site, proxy, ended: Ended) -> None:
    """The proxy has read no secret, the site no password of .netrc, and the output shows none of them."""
    secrets = {PASSWORD, "open-sesame", "deadbeefdeadbeef"}
    secrets |= {request.cookie.removeprefix("PHPSESSID=") for request in site.requests if request.cookie}
    assert all(secret not in ended.text for secret in secrets)
    assert all(secret.encode() not in proxy.received for secret in secrets)
    assert b"PHPSESSID" not in proxy.received and b"not-for-the-site" not in proxy.received
    assert [request.authorization for request in site.requests if request.authorization] == []


@needs_axel
@pytest.mark.parametrize("variables", [["http_proxy"], ["HTTP_PROXY", "HTTPS_PROXY", "no_proxy"]], ids=" ".join)
def test_proxy_that_does_not_apply_gets_nothing(tmp_path, release, certificate, variables):
    """axel alone sends an https request, cookie included, to http_proxy in clear text."""
    with site_and_proxy(release, certificate) as (site, proxy):
        downloads = Downloads(tmp_path, site, "axel", PHPSESSID="deadbeefdeadbeef")
        values = {name: "127.0.0.1" if name.lower() == "no_proxy" else proxy.url for name in variables}
        ended = download(downloads, certificate, **values)
        assert ended.returncode == 0 and all(downloads.is_right(name) for name in NAMES), ended.text
        assert (proxy.targets, proxy.received) == ([], b"")
        assert ended.text.count("downloaded with axel") == 2 and "proxy" not in ended.text
        assert_secrets_are_not_shown(site, proxy, ended)


@pytest.mark.parametrize(
    ("downloader", "name"), [pytest.param("axel", "https_proxy", marks=needs_axel), ("requests", "ALL_PROXY")]
)
def test_proxy_of_an_https_site_is_tunnelled_by_requests(tmp_path, release, certificate, downloader, name):
    with site_and_proxy(release, certificate, credentials=f"user:{PROXY_PASSWORD}") as (site, proxy):
        downloads = Downloads(tmp_path, site, downloader, PHPSESSID="deadbeefdeadbeef")
        ended = download(downloads, certificate, **{name: f"http://user:{PROXY_PASSWORD}@{proxy.address}"})
        assert ended.returncode == 0 and all(downloads.is_right(name) for name in NAMES), ended.text
        assert set(proxy.targets) == {f"CONNECT 127.0.0.1:{site.server_port}"}
        assert not any(request.is_by_axel for request in site.requests)
        line = f"proxy {proxy.address} (from {name}) applies; downloading with requests"
        assert ended.stdout.count(line) == (downloader == "axel"), ended.text
        assert_secrets_are_not_shown(site, proxy, ended)


def test_plain_base_url_that_redirects_to_https_is_safe_with_a_proxy(tmp_path, release, certificate):
    """The proxy reads the first request, which learns of the redirect and carries nothing."""
    with site_and_proxy(release, certificate) as (site, proxy):
        plain = site.base_url.replace("https://", "http://")
        downloads = Downloads(tmp_path, site, "auto", BaseURL=plain, PHPSESSID=site.log_in())
        ended = download(downloads, certificate, http_proxy=proxy.url, HTTPS_PROXY=proxy.url)
        assert ended.returncode == 0 and all(downloads.is_right(name) for name in NAMES), ended.text
        assert proxy.targets[0] == f"GET {plain}" and {target[:7] for target in proxy.targets[1:]} == {"CONNECT"}
        assert [request.is_encrypted for request in site.requests].count(False) == 1
        assert_secrets_are_not_shown(site, proxy, ended)


def test_proxy_of_a_plain_site_exits_2_before_it_reads_a_secret(tmp_path, release, certificate):
    with site_and_proxy(release) as (site, proxy):
        downloads = Downloads(tmp_path, site, "auto", PHPSESSID=site.log_in())
        ended = download(downloads, certificate, "--debug", http_proxy=f"http://user:{PROXY_PASSWORD}@{proxy.address}")
        assert ended.returncode == 2, ended.text
        assert f"proxy {proxy.address} (from http_proxy)" in ended.stderr.splitlines()[-1]
        assert "https://" in ended.stderr and "add 127.0.0.1 to no_proxy" in ended.stderr
        assert proxy.targets == [f"GET {site.base_url}"] and [request.cookie for request in site.requests] == [None]
        assert_secrets_are_not_shown(site, proxy, ended)


def test_proxy_that_cannot_be_reached_ends_the_run_in_one_line(tmp_path, release, certificate):
    """Not even --debug shows its password."""
    with site_and_proxy(release, certificate) as (site, proxy):
        downloads = Downloads(tmp_path, site)
        ended = download(downloads, certificate, "--debug", ALL_PROXY=f"http://user:{PROXY_PASSWORD}@127.0.0.1:1")
        assert ended.returncode == 1 and not site.requests, ended.text
        assert ended.stderr.splitlines()[-1].endswith("cannot be reached (connection refused); check ALL_PROXY")
        assert_secrets_are_not_shown(site, proxy, ended)
