"""requirements*.txt against what is imported, and the *.lock files against both and against the docs."""

import ast
import functools
import re
import sys

import pytest
from helpers.scripts import PROJECT
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

DOCS = {file.name: file.read_text(encoding="utf-8") for file in (PROJECT / "README.md", *PROJECT.glob("docs/*.md"))}
MAKEFILE = (PROJECT / "Makefile").read_text(encoding="utf-8")
PYTHONS = re.search(r"^PYTHONS = (.*)$", MAKEFILE, re.MULTILINE)[1].split()
LISTS = ("requirements", "requirements-cluster", "requirements-dev")
ENTRY = re.compile(r"^(\S+==[^\\\n]+?) \\\n((?:    --hash=\S+(?: \\)?\n)+)", re.MULTILINE)
# Where the module has another name; Dask comes with distributed, of the same release.
PACKAGES = {"PIL": "pillow", "dask": "distributed"}
# What environment markers refer to besides the Python version.
SYSTEMS = {
    "Linux on x86_64": ("linux", "Linux", "posix", "x86_64"),
    "Linux on aarch64": ("linux", "Linux", "posix", "aarch64"),
    "macOS on x86_64": ("darwin", "Darwin", "posix", "x86_64"),
    "macOS on arm64": ("darwin", "Darwin", "posix", "arm64"),
    "Windows": ("win32", "Windows", "nt", "AMD64"),
}


def required(name: str) -> list[Requirement]:
    """Return the requirements of a list, those of lists that it includes among them."""
    found = []
    for line in (PROJECT / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        line = line.partition("#")[0].strip()
        if line.startswith("-r "):
            found += required(line[3:].removesuffix(".txt"))
        elif line:
            found.append(Requirement(line))
    return found


def text_of_lock(name: str) -> str:
    return (PROJECT / f"{name}.lock").read_text(encoding="utf-8")


@functools.cache
def locked(name: str) -> list[Requirement]:
    return [Requirement(line) for line, _ in ENTRY.findall(text_of_lock(name))]


def environment(python: str, system: str) -> dict[str, str]:
    names = ("sys_platform", "platform_system", "os_name", "platform_machine")
    there = {"python_version": python, "python_full_version": f"{python}.1", "implementation_name": "cpython"}
    return {**default_environment(), **there, **dict(zip(names, SYSTEMS[system], strict=True))}


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


def names_in(name: str) -> set[str]:
    return {canonicalize_name(requirement.name) for requirement in required(name)}


def test_every_import_is_in_the_requirements():
    """Only --scheduler imports h36m/parallel/cluster.py."""
    scripts = ("*.py", "h36m/**/*.py", "demo/*.py")
    plain = imported(*scripts, without="cluster.py")
    assert {"av", "h5py", "numpy"} <= plain <= names_in("requirements")
    assert imported(*scripts) - plain <= names_in("requirements-cluster")
    assert imported(*scripts, "tests/**/*.py", "benchmarks/*.py") <= names_in("requirements-dev")


def test_nothing_is_required_that_is_not_imported():
    assert names_in("requirements") <= imported("*.py", "h36m/**/*.py", without="cluster.py")
    assert names_in("requirements-cluster") <= imported("*.py", "h36m/**/*.py")


@pytest.mark.parametrize("name", LISTS)
def test_every_requirement_states_the_oldest_release(name):
    for requirement in required(name):
        operators = [specifier.operator for specifier in requirement.specifier]
        assert operators in ([">="], ["=="]), requirement


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("python", PYTHONS)
def test_lock_has_one_release_of_every_requirement(name, python, system):
    there = environment(python, system)
    chosen: dict[str, str] = {}
    for entry in locked(name):
        if entry.marker is None or entry.marker.evaluate(there):
            (version,) = [specifier.version for specifier in entry.specifier]
            assert chosen.setdefault(canonicalize_name(entry.name), version) == version, f"two releases of {entry.name}"
    for requirement in required(name):
        version = chosen.get(canonicalize_name(requirement.name))
        assert version and requirement.specifier.contains(version), f"{requirement}: locked {version}; run `make lock`"


@pytest.mark.parametrize(("smaller", "larger"), [LISTS[:2], LISTS[1:]])
def test_locks_agree(smaller, larger):
    """CI tests the releases that users install."""
    assert set(ENTRY.findall(text_of_lock(smaller))) <= set(ENTRY.findall(text_of_lock(larger)))


@pytest.mark.parametrize("name", LISTS)
def test_lock_has_wheels_with_hashes_and_no_registry(name):
    lock = text_of_lock(name)
    hashes = [line for _, block in ENTRY.findall(lock) for line in block.splitlines()]
    assert hashes and all(re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}(?: \\)?", line) for line in hashes)
    others = [line for line in ENTRY.sub("", lock).splitlines() if line.strip() and not line.lstrip().startswith("#")]
    assert others == ["--only-binary :all:"]
    assert "://" not in lock


@pytest.mark.parametrize("name", LISTS)
def test_lock_was_made_for_the_pythons_of_the_makefile(name):
    assert re.search(r"make lock, for Python ([\d. ]+)$", text_of_lock(name), re.MULTILINE)[1].split() == PYTHONS


@pytest.mark.parametrize("page", ["README.md", "installation.md"])
def test_docs_name_the_pythons_of_the_locks(page):
    assert set(re.findall(r"Python (3\.\d+) to (3\.\d+)", DOCS[page])) == {(PYTHONS[0], PYTHONS[-1])}


def test_docs_and_image_install_the_locks():
    names = re.findall(r"pip install -r (requirements[\w.-]*)", "\n".join(DOCS.values()))
    assert {f"{name}.lock" for name in LISTS[:2]} <= set(names)
    assert "pip install -r requirements.lock" in DOCS["README.md"]
    assert all((PROJECT / name).is_file() for name in names)
    assert "-r requirements.lock" in (PROJECT / "Dockerfile").read_text(encoding="utf-8")
