"""Is an earlier result current? The one rule for archives, sequences and exports.

A record says from what a result was made, with which settings, and what failed. It is a JSON file next to the result.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

# Remedies of faults of the system.
CHECK_PERMISSIONS, CHECK_DISK, RUN_AGAIN = "check its permissions", "check the disk and run again", "run again"
LIMIT_REMEDY = "end other programs or raise the limits (ulimit -a)"
# Such faults end without a change of the files: what had one is made again.
RETRIED = (CHECK_PERMISSIONS, LIMIT_REMEDY, RUN_AGAIN)

# Of a file: its size (bytes), when it was written, and when anything about it was changed (both ns).
State = list[int]


def state_of(stat: os.stat_result) -> State:
    """Return the state of a file."""
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]


def is_unchanged(recorded: State, now: State, had_problems: bool = False) -> bool:
    """Return whether a file is the recorded one: by size and time stamp, which a copy of a whole tree keeps.

    Only where there was a problem does any other change count: the file may have been unpacked again or made readable.
    """
    compared = None if had_problems else 2
    return recorded[:compared] == now[:compared]


@dataclass(frozen=True)
class ResultRecord:
    """What a result was made from, and what failed; a script's own kind of record has more fields."""

    settings: dict[str, Any]
    inputs: dict[str, State]  # by path
    problems: list[str]

    def is_current(self, settings: dict[str, Any], inputs: dict[str, State]) -> bool:
        """Return whether the result would be made with the same settings from the same files."""
        return self.settings == settings and self.has_same_inputs(inputs)

    def has_same_inputs(self, inputs: dict[str, State]) -> bool:
        """Return whether the result was made from the same files, none of which had a fault that may have ended."""
        return (
            not any(remedy in line for remedy in RETRIED for line in self.problems)
            and self.inputs.keys() == inputs.keys()
            and all(is_unchanged(self.inputs[path], state, bool(self.problems)) for path, state in inputs.items())
        )

    def as_json(self) -> str:
        """Return the content of the record's file."""
        return json.dumps(vars(self))


AnyRecord = TypeVar("AnyRecord", bound=ResultRecord)


def read_record(kind: type[AnyRecord], file: Path) -> AnyRecord | None:
    """Return the record of a kind that a file holds; None where it holds none."""
    try:
        return kind(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def digest_of(files: Iterable[Path]) -> str:
    """Return a digest of the contents of some files: while they stay the same, so does what they define."""
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
