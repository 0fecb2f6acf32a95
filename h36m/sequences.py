"""Sequences, actions and cameras, read from metadata.xml: all that the names of the dataset's files need.

This module imports nothing heavy: numpy, which h36m.metadata needs, takes 0.2 s to import, and the scripts that
download and unpack do not use numpy.
"""

import contextlib
import functools
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from h36m.dataset import PROJECT, Archive, Sequence, unpacked_file_name
from h36m.errors import UsageError

METADATA_FILE = PROJECT / "metadata.xml"

# The mapping of the official file goes on after these with rows of another kind: 16 actions x 2 subactions count.
SEQUENCE_ROWS = 32
# Action 1 is `_ALL`, the rest recordings of a subject; no pose archive has it.
ACTION_NOT_USED = 1


@dataclass(frozen=True)
class Naming:
    """How the files of the sequences are named.

    Attributes:
        sequences: (subject, action, subaction) -> the name its files begin with: ("S1", 14, 1) -> "Walking 1".
        actions: action id -> name: 14 -> "Walking".
        camera_ids: the four cameras, in the order of the file.
    """

    sequences: dict[tuple[str, int, int], str]
    actions: dict[int, str]
    camera_ids: tuple[str, ...]

    def sequences_of(self, subject: str) -> list[Sequence]:
        """Return a subject's sequences in order: Directions-1, Directions-2, Discussion-1, ..."""
        return [
            Sequence(subject, action, subaction, f"{self.actions[action]}-{subaction}", base)
            for (of_subject, action, subaction), base in sorted(self.sequences.items())
            if of_subject == subject and action != ACTION_NOT_USED
        ]


def chosen_sequences(naming: Naming, subjects: Iterable[str], actions: Iterable[str]) -> list[Sequence]:
    """Return the sequences of some subjects and actions (none: all); `Walking` means Walking-1 and Walking-2.

    Raises:
        UsageError: there is no such action.
    """
    sequences, known = [], []
    for subject in dict.fromkeys(subjects):
        for sequence in naming.sequences_of(subject):
            names = [sequence.name, naming.actions[sequence.action]]
            known += names
            if not actions or set(names) & set(actions):
                sequences.append(sequence)
    unknown = set(actions) - set(known)
    if unknown:
        choices = ", ".join(dict.fromkeys(known))
        raise UsageError(f"--actions: unknown {', '.join(sorted(unknown))}; choose from {choices}")
    return sequences


def share_of(sequences: list[Sequence], share: tuple[int, int] | None) -> list[Sequence]:
    """Return the K-th of N equal shares: by the order of the names alone, so that runs need no coordination."""
    if share is None:
        return sequences
    which, count = share
    return sorted(sequences)[which - 1 :: count]


@functools.cache
def file_names(archive: Archive) -> dict[str, str]:
    """Return the names of the files that process_all.py reads of an archive, by their case-folded form.

    Archives have more files, such as those of `_ALL` sequences, and can be without some of these.

    Args:
        kind: of h36m.dataset.KINDS.
        subject: such as "S1".

    Raises:
        UsageError: metadata.xml cannot be read.
    """
    naming = _naming_of_project()
    names = [
        unpacked_file_name(sequence, archive.kind, camera)
        for sequence in naming.sequences_of(archive.subject)
        for camera in naming.camera_ids
    ]
    return {name.casefold(): name for name in names}


@functools.cache
def _naming_of_project() -> Naming:
    with parsed(METADATA_FILE) as root:
        return read_naming(root)


@contextlib.contextmanager
def parsed(path: Path) -> Iterator[ElementTree.Element]:
    """Parse this project's metadata.xml or the official one, which has the same element paths; yield its root element.

    Raises:
        UsageError: the file is missing or no XML, or the `with` block found an element missing or unexpected.
    """
    try:
        yield ElementTree.parse(path).getroot()
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file; restore it next to the scripts (git checkout metadata.xml)") from None
    except (ElementTree.ParseError, ValueError, TypeError, IndexError) as error:
        raise UsageError(
            f"{path} cannot be read as the dataset's metadata ({error}); restore the project's or the official one"
        ) from error


def read_naming(root: ElementTree.Element) -> Naming:
    """Read the names from the root element of metadata.xml.

    Raises:
        ValueError: an element is missing or empty, or not a number where one is expected.
    """
    header, *rows = root.findall("mapping/tr")
    _, _, *subjects = [cell.text or "" for cell in header.findall("td")]  # the first two are empty
    sequences: dict[tuple[str, int, int], str] = {}
    for row in rows[:SEQUENCE_ROWS]:
        action, subaction, *names = map(text_of, row.findall("td"))
        sequences |= {
            (subject, int(action), int(subaction)): name for subject, name in zip(subjects, names, strict=True)
        }
    actions = {index: text_of(item) for index, item in enumerate(root.findall("actionnames/item"), start=1)}
    camera_ids = tuple(text_of(item) for item in root.findall("dbcameras/index2id/item"))
    if not (sequences and actions and camera_ids):
        raise ValueError("sequences, actions, cameras or joints are not in it")
    return Naming(sequences, actions, camera_ids)


def text_of(element: ElementTree.Element | None) -> str:
    """Return the text of an element.

    Raises:
        ValueError: there is no such element, or it is empty.
    """
    if element is None or not element.text:
        raise ValueError("an element is missing or empty")
    return element.text
