"""docs/exports.md: it names each format, and its command lines are ones that the scripts understand."""

import re

import pytest
from helpers.pages import PARSERS, commands
from helpers.scripts import PROJECT

import export_all
from h36m.dataset import KINDS

DOCS = (PROJECT / "docs" / "exports.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    """Return a section of the page, from its heading to the next."""
    return re.search(rf"^## {re.escape(title)}$(.*?)(?=^## |\Z)", DOCS, re.MULTILINE | re.DOTALL)[1]


def test_table_has_each_format_and_no_other():
    assert re.findall(r"^\| `([\w-]+)` \|", DOCS.partition("\n## ")[0], re.MULTILINE) == list(export_all.FORMATS)


@pytest.mark.parametrize("format_", export_all.FORMATS)
def test_commands_of_each_format_parse_and_end_with_its_export(format_):
    parsed = [(name, PARSERS[name].parse_args(words)) for name, *words in commands(section(format_))]
    assert parsed[0][0] == "download_all.py" and parsed[-1][0] == "export_all.py"
    assert {arguments.format for name, arguments in parsed if name == "export_all.py"} == {format_}
    unpacked = [set(arguments.kinds or KINDS) for name, arguments in parsed if name == "extract_all.py"]
    kinds = set(KINDS if format_ == "original" else export_all.FORMATS[format_].KINDS)  # that one takes what is there
    assert unpacked and all(kinds <= each for each in unpacked)


@pytest.mark.parametrize("format_", ["videopose3d", "semgcn", "mmpose", "3d-pose-baseline"])
def test_lifters_download_and_unpack_no_more_than_their_poses(format_):
    (_, *download), (_, *extract), *_ = commands(section(format_))
    kinds = set(export_all.FORMATS[format_].KINDS)
    assert set(PARSERS["download_all.py"].parse_args(download).kinds) == kinds
    assert set(PARSERS["extract_all.py"].parse_args(extract).kinds) == kinds


def test_other_commands_of_the_page_parse():
    for name, *words in commands(DOCS):
        PARSERS[name].parse_args(words)
