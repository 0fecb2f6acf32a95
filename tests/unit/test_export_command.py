"""export_all.py's command line, without a process; test_scripts.py has those of the other scripts."""

import sys
from pathlib import Path

import pytest

import export_all
from h36m import __version__
from h36m.cli import run


@pytest.mark.parametrize("format_", export_all.FORMATS)
def test_options_of_all_scripts_are_taken(format_):
    words = [format_, "--root", "x", "--subjects", "S9", "S1", "S9", "--quiet", "--debug", "--out", "a b"]
    arguments = export_all.build_parser().parse_args(words)
    assert (arguments.format, arguments.root, arguments.subjects) == (format_, Path("x"), ["S9", "S1"])
    assert (arguments.quiet, arguments.debug, arguments.out) == (True, True, Path("a b"))


def test_version_is_printed(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["somewhere/export_all.py", "--root", "nowhere", "--version"])
    with pytest.raises(SystemExit) as ended:
        run(export_all.main, export_all.build_parser())
    assert ended.value.code == 0
    assert capsys.readouterr() == (f"export_all.py {__version__} (h36m-fetch)\n", "")


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["coco"],
        ["mmpose", "3dmppe"],
        ["mmpose", "--no-such-option"],
        ["mmpose", "--root"],
        ["mmpose", "--out"],
        ["mmpose", "--subjects"],
        ["mmpose", "--subjects", "S2"],
        ["--subjects", "S1", "mmpose"],
        ["mmpose", "--quiet=yes"],
        ["mmpose", "--jobs", "2"],
    ],
    ids=" ".join,
)
def test_wrong_command_line_exits_2_in_one_line(words, capsys):
    with pytest.raises(SystemExit) as ended:
        export_all.build_parser().parse_args(words)
    output, errors = capsys.readouterr()
    assert (ended.value.code, output) == (2, "")
    assert errors.count("\n") == 1 and errors.endswith("(see --help)\n")
