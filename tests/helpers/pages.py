"""The command lines in the pages of documentation, and the parsers and options of the scripts to compare them with."""

import re
import shlex

import download_all
import download_seg_mat_gt_pl
import export_all
import extract_all
import process_all

PARSERS = {f"{each.__name__}.py": each.build_parser() for each in (
    download_all, download_seg_mat_gt_pl, extract_all, process_all, export_all
)}  # fmt: skip
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")


def commands(text: str) -> list[list[str]]:
    """Return the words of each command line that runs one of the scripts, from the script's name on."""
    scripts = "|".join(map(re.escape, PARSERS))
    found = re.findall(rf"\bpython3? ({scripts})\b([^'#|`\n]*)", text.replace("\\\n", " "))
    return [[script, *shlex.split(words)] for script, words in found]
