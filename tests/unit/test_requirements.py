"""requirements.txt and pyproject.toml against what is imported, and the locks against both and against the docs."""

import ast
import re
import sys

import pytest
from helpers.scripts import PROJECT
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

MAKEFILE = (PROJECT / "Makefile").read_text(encoding="utf-8")
PYTHONS = re.search(r"^PYTHONS = (.*)$", MAKEFILE, re.MULTILINE)[1].split()
GROUPS = (
    (PROJECT / "pyproject.toml").read_text(encoding="utf-8").partition("[dependency-groups]")[2].partition("\n[")[0]
)
# Where the module has another name; Dask comes with distributed, of the same release.
PACKAGES = {"PIL": "pillow", "dask": "distributed", "cv2": "opencv-python-headless"}


def requirements(*groups: str) -> list[Requirement]:
    """Return what requirements.txt lists, and what some groups of pyproject.toml add."""
    lines = (PROJECT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    lines = [line.partition("#")[0].strip() for line in lines]
    for group in groups:
        lines += re.findall(
            r'^    "(.+)"', re.search(rf"^{group} = \[\n(.*?)^\]", GROUPS, re.MULTILINE | re.DOTALL)[1], re.MULTILINE
        )
    return [Requirement(line) for line in lines if line]


def names_of(*groups: str) -> set[str]:
    return {canonicalize_name(requirement.name) for requirement in requirements(*groups)}


def locked(name: str) -> list[Requirement]:
    text = (PROJECT / name).read_text(encoding="utf-8")
    return [Requirement(entry) for entry in re.findall(r"^\w\S*==[^\\\n]+", text, re.MULTILINE)]


def imported(*patterns: str, without: str = "") -> set[str]:
    """Return the packages that files import, at whatever depth; the standard library and this project left out."""
    found = set()
    for file in {file for pattern in patterns for file in PROJECT.glob(pattern) if file.name != without}:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(str(node.module).partition(".")[0])
    ours = {path.stem for folder in (PROJECT, PROJECT / "tests", PROJECT / "benchmarks") for path in folder.glob("*")}
    modules = found - ours - set(sys.stdlib_module_names)
    return {canonicalize_name(PACKAGES.get(module, module)) for module in modules}


def test_imports_and_requirements_agree():
    """Only --scheduler imports h36m/parallel/cluster.py."""
    scripts = ("*.py", "h36m/**/*.py", "demo/*.py")
    assert names_of() == imported(*scripts, without="cluster.py")
    assert names_of("cluster") == imported(*scripts)
    assert imported(*scripts, "tests/**/*.py", "benchmarks/*.py") <= names_of("cluster", "dev")


def test_every_requirement_states_the_oldest_release():
    for requirement in requirements("cluster", "dev"):
        operators = [specifier.operator for specifier in requirement.specifier]
        assert operators in ([">="], ["=="]), requirement


@pytest.mark.parametrize(("lock", "groups"), [("requirements.lock", ()), ("requirements-dev.lock", ("cluster", "dev"))])
@pytest.mark.parametrize("python", PYTHONS)
def test_lock_has_one_release_of_every_requirement(lock, groups, python):
    there = {**default_environment(), "python_version": python, "python_full_version": f"{python}.1"}
    chosen: dict[str, str] = {}
    for entry in locked(lock):
        if entry.marker is None or entry.marker.evaluate(there):
            (version,) = [specifier.version for specifier in entry.specifier]
            assert canonicalize_name(entry.name) not in chosen, f"two releases of {entry.name}"
            chosen[canonicalize_name(entry.name)] = version
    for requirement in requirements(*groups):
        version = chosen.get(canonicalize_name(requirement.name))
        assert version and requirement.specifier.contains(version), f"{requirement}: locked {version}; run `make lock`"


def test_locks_agree():
    """CI tests the releases that users install."""
    assert set(map(str, locked("requirements.lock"))) < set(map(str, locked("requirements-dev.lock")))


def test_users_lock_has_wheels_with_hashes():
    lock = (PROJECT / "requirements.lock").read_text(encoding="utf-8")
    entry = re.compile(r"^\w\S*==[^\\\n]+ \\\n(    --hash=sha256:[0-9a-f]{64}( \\)?\n)+", re.MULTILINE)
    others = [line for line in entry.sub("", lock).splitlines() if line and not line.startswith("#")]
    assert others == ["--only-binary :all:"]


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_lock_is_for_the_pythons_of_the_makefile_and_names_no_registry(lock):
    text = (PROJECT / lock).read_text(encoding="utf-8")
    assert re.search(r"make lock, for Python ([\d. ]+)$", text, re.MULTILINE)[1].split() == PYTHONS
    assert "://" not in text and "index" not in text
