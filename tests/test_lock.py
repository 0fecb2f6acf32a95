"""requirements.lock against requirements.txt: the image must not fall behind."""

import re

from helpers.scripts import PROJECT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ENTRY = re.compile(r"^([\w.-]+)==(\S+) \\\n((?:    --hash=\S+(?: \\)?\n)+)", re.MULTILINE)
LOCK = (PROJECT / "requirements.lock").read_text()


def test_every_requirement_is_locked_to_a_release_that_it_allows():
    locked = {canonicalize_name(name): version for name, version, _ in ENTRY.findall(LOCK)}
    requirements = [Requirement(line) for line in (PROJECT / "requirements.txt").read_text().splitlines()]
    assert requirements
    for requirement in requirements:
        version = locked.get(canonicalize_name(requirement.name))
        assert version and requirement.specifier.contains(version), f"{requirement}: locked {version}; run `make lock`"


def test_lock_has_releases_with_hashes_and_no_registry():
    hashes = [line for _, _, block in ENTRY.findall(LOCK) for line in block.splitlines()]
    assert hashes and all(re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}(?: \\)?", line) for line in hashes)
    assert all(line.lstrip().startswith("#") for line in ENTRY.sub("", LOCK).splitlines())
    assert "://" not in LOCK
