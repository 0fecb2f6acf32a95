"""Which sequences a run deals with, and the names of their files."""

import functools
from collections.abc import Iterable

from h36m.dataset import Archive, Sequence, unpacked_file_name
from h36m.metadata import Metadata, load_metadata
from h36m.spelling import read_names


def chosen_sequences(metadata: Metadata, subjects: Iterable[str], actions: Iterable[str]) -> list[Sequence]:
    """Return the sequences of some subjects and actions (none: all); `Walking` means Walking-1 and Walking-2.

    Raises:
        UsageError: there is no such action.
    """
    sequences = [sequence for subject in dict.fromkeys(subjects) for sequence in metadata.sequences_of(subject)]
    both = dict.fromkeys(metadata.actions[sequence.action] for sequence in sequences)
    chosen = set(read_names("--actions", actions, [*both, *(sequence.name for sequence in sequences)], choices=both))
    return [each for each in sequences if not chosen or {each.name, metadata.actions[each.action]} & chosen]


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

    Raises:
        UsageError: metadata.xml cannot be read.
    """
    metadata = _names_of_project()
    names = [
        unpacked_file_name(sequence, archive.kind, camera)
        for sequence in metadata.sequences_of(archive.subject)
        for camera in metadata.camera_ids
    ]
    return {name.casefold(): name for name in names}


@functools.cache
def _names_of_project() -> Metadata:
    return load_metadata(with_cameras=False)
