"""The layout that pyproject.toml promises: which module may import which, and how long a module may be."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.scripts import PROJECT

LONGEST_MODULE = 350  # lines: what a reader takes in within a few minutes


def lint_imports(project: Path) -> subprocess.CompletedProcess:
    command = "from importlinter.cli import lint_imports_command; lint_imports_command(['--no-cache'])"
    return subprocess.run([sys.executable, "-c", command], cwd=project, capture_output=True, text=True)


@pytest.fixture
def copy(tmp_path) -> Path:
    """A copy of the package and its contracts, to plant imports in."""
    shutil.copytree(PROJECT / "h36m", tmp_path / "h36m", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "module, planted",
    [
        ("h36m/process/sequence.py", "import h36m.download.site"),  # an arrow from another
        ("h36m/extract/unpack.py", "from h36m.process import resume"),
        ("h36m/storage.py", "import h36m.parallel.cores"),  # a shared module from an arrow
        ("h36m/dataset.py", "import h36m.cli"),  # the names from those that use them
        ("h36m/process/resume.py", "import process_all"),  # the package from a script
    ],
)
def test_a_planted_import_breaks_a_contract(copy, module, planted):
    with (copy / module).open("a") as file:
        file.write(f"\n{planted}\n")
    ended = lint_imports(copy)
    assert ended.returncode == 1 and "BROKEN" in ended.stdout, ended.stdout + ended.stderr


def test_a_new_module_has_to_be_given_its_place(copy):
    (copy / "h36m" / "more.py").write_text('"""More."""\n')
    assert lint_imports(copy).returncode == 1


def test_contracts_hold_for_the_package_as_it_is(copy):
    ended = lint_imports(copy)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_every_module_can_be_read_in_a_few_minutes():
    lengths = {path: len(path.read_text().splitlines()) for path in PROJECT.glob("h36m/**/*.py")}
    lengths |= {path: len(path.read_text().splitlines()) for path in PROJECT.glob("*.py")}
    assert len(lengths) > 20 and max(lengths.values()) < LONGEST_MODULE, sorted(lengths.items(), key=lambda x: x[1])[
        -3:
    ]


def test_names_of_folders_and_files_are_written_in_one_place():
    names = r"archives|extracted|processed|imageSequence|partLabels|annot\.h5|\.tgz|\.part|\.making"
    for path in [*PROJECT.glob("h36m/**/*.py"), *PROJECT.glob("*.py")]:
        if path.name != "dataset.py":
            assert not re.findall(rf"""["']({names})["']""", path.read_text()), path
