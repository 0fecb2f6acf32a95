"""README.md, CONTRIBUTING.md and docs/: length, links, options; CHANGELOG.md; the workflow of .github."""

import re
import signal

import pytest
from helpers.pages import OPTION, PARSERS, commands
from helpers.scripts import PROJECT

from h36m import __version__
from h36m.download.config import DEFAULTS
from h36m.metadata import load_metadata
from h36m.parallel.workers import how_it_ended

MOST_WORDS = 1200
PAGES = {
    str(path.relative_to(PROJECT)): path.read_text(encoding="utf-8")
    for path in (PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *sorted(PROJECT.glob("docs/*.md")))
}
CHANGELOG = (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8")
OPTIONS = {script: set(OPTION.findall(parser.format_help())) for script, parser in PARSERS.items()}
OTHER_PROGRAMS = {"VideoPose3D `--from-source-cdf`"}
BLOCK = re.compile(r"^```[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# What the docs write in commands for a value of the user's.
PLACEHOLDERS = {
    "FORMAT": "videopose3d",
    "K/N": "1/2",
    "MM": "40",
    "N": "2",
    "{}/2": "1/2",
    "$SLURM_ARRAY_TASK_ID/20": "1/20",
}


def without_blocks(page: str) -> str:
    return BLOCK.sub("", page)


def anchors(page: str) -> set[str]:
    """Return the anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", without_blocks(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def code_spans(page: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", without_blocks(page))


def test_readme_is_short():
    """As `wc -w` counts."""
    assert len(PAGES["README.md"].split()) <= MOST_WORDS


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_to_files_and_headings(name):
    links = re.findall(r"\]\(([^)\s]+)\)", without_blocks(PAGES[name]))
    for link in links:
        if re.match(r"https?://", link):
            continue
        path, _, anchor = link.partition("#")
        target = (PROJECT / name).parent / path if path else PROJECT / name
        assert target.exists(), f"{name}: {link}"
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), f"{name}: {link}"


def test_readme_links_every_page_of_the_docs():
    links = set(re.findall(r"\]\(([^)#\s]+)", PAGES["README.md"]))
    expected = {name for name in PAGES if name != "README.md"} | {"CHANGELOG.md", "CITATION.cff", "LICENSE"}
    assert expected <= links


def test_commands_in_code_blocks_parse():
    texts = ["\n".join(BLOCK.findall(page)) for page in PAGES.values()]
    texts += [parser.description for parser in PARSERS.values()]
    found = [command for text in texts for command in commands(text)]
    for script, *words in found:
        PARSERS[script].parse_args([PLACEHOLDERS.get(word, word) for word in words])
    assert {script for script, *_ in found} == set(PARSERS)


@pytest.mark.parametrize("name", PAGES)
def test_options_in_the_text_exist(name):
    """An option named with a script is that script's; an option alone belongs to at least one of them."""
    page = PAGES[name]
    for phrase in OTHER_PROGRAMS:
        page = page.replace(phrase, "")
    for span in code_spans(page):
        named = [script for script in PARSERS if span.startswith((script, f"python3 {script}"))]
        existing = OPTIONS[named[0]] if named else set().union(*OPTIONS.values())
        if named or span.startswith("--"):
            assert set(OPTION.findall(span)) <= existing, f"{name}: {span}"


@pytest.mark.parametrize(("script", "parser"), PARSERS.items(), ids=PARSERS)
def test_help_has_sentences_defaults_and_examples_in_80_columns(script, parser, monkeypatch):
    for action in parser._actions:
        assert re.fullmatch(r"[A-Z].*\.", action.help), action.help
        is_default_told = "Default: " in action.help or action.help.endswith(" and end.")
        assert is_default_told or not action.option_strings, action.help
    assert len(re.findall(rf"^    python3 {script}\b.*$", parser.description, re.MULTILINE)) == 2
    for columns in (40, 80, 200):
        monkeypatch.setenv("COLUMNS", str(columns))
        assert max(map(len, parser.format_help().splitlines())) <= 80


def test_docs_have_the_defaults_of_config_ini():
    rows = re.findall(r"^\| `(\w+)` \| (?:`(.*?)`)? ?\|", PAGES["docs/options.md"].partition("## config.ini")[2], re.M)
    assert dict(rows) == DEFAULTS


def test_docs_have_the_names_of_the_metadata(capsys):
    """The numbers of the cameras, and the command that looks up how a sequence's files are called."""
    page = PAGES["docs/annotations.md"]
    [cameras] = re.findall(r"^\| ID \| (.+) \|$", page, re.MULTILINE)
    assert tuple(cameras.split(" | ")) == load_metadata(with_cameras=False).camera_ids
    [command] = re.findall(r'^python3 -c "(.+)"$', page, re.MULTILINE)
    exec(command)
    assert f"`{capsys.readouterr().out.strip()}`:\n" in page


def test_readme_has_the_message_of_a_killed_process():
    assert f"| `{how_it_ended(-signal.SIGKILL)}` |" in PAGES["README.md"]


def test_changelog_has_the_newest_version_first():
    versions = re.findall(r"^## (\d+(?:\.\d+)+)", CHANGELOG, re.MULTILINE)
    assert versions[0] == __version__
    numbers = [tuple(map(int, version.split("."))) for version in versions]
    assert numbers == sorted(set(numbers), reverse=True)


def test_workflow_has_the_steps_of_ci_run():
    """The same commands in the same order, and the same Debian packages."""
    script = (PROJECT / ".ci" / "run").read_text(encoding="utf-8")
    workflow = (PROJECT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    step = r"(make [\w-]+|tests/\S+\.sh)$"
    expected = re.findall(rf'^(?:"\$\{{root\[@\]\}}" )?{step}', script, re.MULTILINE)
    assert len(expected) > 4
    assert re.findall(rf"^ +- run: (?:sudo )?{step}", workflow, re.MULTILINE) == expected
    packages = [
        re.search(r"apt-get install ((?:-\w+ )+)(.*?);?$", text, re.MULTILINE)[2] for text in (script, workflow)
    ]
    assert packages[0].split() == packages[1].split()
