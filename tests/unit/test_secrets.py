"""Secrets: what config.ini holds is in no error, and the cookie goes to the site only."""

import pytest

from h36m.download.config import read_configuration
from h36m.download.site import Site
from h36m.errors import UsageError


@pytest.fixture
def config(tmp_path):
    return tmp_path / "config.ini"


@pytest.mark.parametrize(
    "text",
    ["Password = hunter2\n", "[General]\nhunter2\n", "[General]\nPassword = a\nPassword = hunter2\n", "[hunter2"],
)
def test_error_about_the_configuration_does_not_quote_it(config, text):
    config.write_text(text)
    with pytest.raises(UsageError) as raised:
        read_configuration(config, {})
    assert "hunter2" not in str(raised.value) and "\n" not in str(raised.value)


def test_configuration_in_a_traceback_shows_no_secrets(config):
    config.write_text("[General]\nPHPSESSID = abc123\nPassword = hunter2\n")
    configuration = read_configuration(config, {})
    assert (configuration.password, configuration.sessions) == ("hunter2", ["abc123"])
    assert "hunter2" not in repr(configuration) and "abc123" not in repr(configuration)


# -- the cookie --------------------------------------------------------------------------------------------------------


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
def test_cookie_may_go_to_the_sites_own_host_only(config, url, is_own):
    assert Site(read_configuration(config, {}), print)._is_own(url) == is_own
