"""The words that this project leaves out, in everything that people read, so that they do not come back."""

import ast
import io
import re
import subprocess
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.scripts import PROJECT

# The list of the style guide: for each of them there is a plainer word or a technical term.
WORDS_TO_LEAVE_OUT = re.compile(
    r"""\b(
        (session|it)\ (is|was)\ (no\ longer\ |still\ )?alive | alive\ session | anew | begun
        | belongs?\ into | came | editions? | for\ ever | not?\ (to\ be\ )?had | to\ be\ had | hung\ up | hangs?\ up
        | lets?\ us | lies | made-up | of\ unknown\ origin | once\ more | persons? | person's | room | stand-ins?
        | stands | takes?\ up | taken\ up | told | the\ like | (?<!h36m-)fetch(es|ed|ing)? | perhaps
    )\b""".replace(r"\ ", r"\s+"),  # also where a line breaks
    re.VERBOSE | re.IGNORECASE,
)
NOT_OURS = {"LICENSE", "metadata.xml", "tests/unit/test_words.py"}
TEXTS = {".md", ".example", ".yml", ".cff", ".toml", ".sh", ".txt"}


def tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=PROJECT, capture_output=True, text=True, check=True)
    return [Path(name) for name in listed.stdout.splitlines() if name not in NOT_OURS]


def texts_of(file: Path) -> Iterator[tuple[int, str]]:
    """Yield the texts of a file and their first lines: of Python strings, comments and names of functions."""
    content = (PROJECT / file).read_text()
    if file.suffix != ".py":
        yield 1, content
        return
    for token in tokenize.generate_tokens(io.StringIO(content).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(ast.parse(content)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.lineno, node.name.replace("_", " ")


def words_in(file: Path) -> Iterator[str]:
    for number, text in texts_of(file):
        for found in WORDS_TO_LEAVE_OUT.finditer(text):
            line = number + text.count("\n", 0, found.start())
            yield f"{file}:{line}: {found[0]!r} in {text[max(0, found.start() - 40) : found.end() + 40]!r}"


def test_words_to_leave_out_are_in_no_text():
    found = [line for file in tracked_files() if file.suffix in {".py", *TEXTS} for line in words_in(file)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "text",
    [
        "Videos_S1.tgz is not to be had",
        "the session is no longer alive",
        "it belongs into archives/",
        "fetching it once more",
        "A stand-in of the site",
    ],
)
def test_each_kind_of_word_is_found(text):
    assert WORDS_TO_LEAVE_OUT.search(text)


@pytest.mark.parametrize("text", ["h36m-fetch", "became", "relies", "standstill", "bathroom", "what it had"])
def test_other_words_are_not_found(text):
    assert not WORDS_TO_LEAVE_OUT.search(text)
