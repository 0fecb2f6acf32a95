"""How long a module and the name of a test may be, and where the names of folders are written."""

import re

from helpers.scripts import PROJECT

LONGEST_MODULE = 350  # lines: what a reader takes in within a few minutes
LONGEST_TEST_NAME = 70  # characters
MODULES = {path: path.read_text(encoding="utf-8") for path in [*PROJECT.glob("h36m/**/*.py"), *PROJECT.glob("*.py")]}


def test_every_module_can_be_read_in_a_few_minutes():
    assert len(MODULES) > 20
    assert [path for path, text in MODULES.items() if text.count("\n") > LONGEST_MODULE] == []


def test_names_of_folders_and_files_are_written_in_one_place():
    names = r"archives|extracted|processed|imageSequence|partLabels|annot\.h5|\.tgz|\.part|\.making"
    for path, text in MODULES.items():
        if path.name != "dataset.py":
            assert not re.findall(rf"""["']({names})["']""", text), path


def test_names_of_tests_are_short():
    texts = [path.read_text(encoding="utf-8") for path in PROJECT.glob("tests/**/test_*.py")]
    names = [name for text in texts for name in re.findall(r"^ *def (test_\w+)", text, re.MULTILINE)]
    assert len(names) > 400 and [name for name in names if len(name) >= LONGEST_TEST_NAME] == []
