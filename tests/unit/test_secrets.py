"""Secrets: the cookie goes to the site only."""

import pytest

from h36m.download.config import read_configuration
from h36m.download.site import Site


@pytest.mark.parametrize(
    ("url", "is_own"),
    [
        ("https://vision.imar.ro/human3.6m/filebrowser.php?a=b", True),
        ("https://vision.imar.ro/", True),
        ("http://vision.imar.ro/human3.6m/", False),
        ("https://vision.imar.ro:8443/human3.6m/", False),
        ("https://vision.imar.ro.example.org/human3.6m/", False),
        ("https://www.vision.imar.ro/human3.6m/", False),
        ("https://example.org/https://vision.imar.ro/", False),
        ("https://vision.imar.ro@example.org/", False),
    ],
)
def test_cookie_may_go_to_the_sites_own_host_only(tmp_path, url, is_own):
    assert Site(read_configuration(tmp_path / "config.ini", {}), print)._is_own(url) == is_own
