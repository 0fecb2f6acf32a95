"""Which processes there are, by /proc, and code for a process that is to be stopped."""

from pathlib import Path


def command_lines() -> dict[int, list[str]]:
    """Return the words of each process's command line by its id."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:  # it has just ended
            continue
        found[int(folder.name)] = words
    return found


def axels_at(folder: Path) -> list[int]:
    """Return the ids of the axel processes that write into a folder."""
    return [
        number
        for number, words in command_lines().items()
        if words[0].endswith("axel") and any(str(folder) in word for word in words)
    ]


def parents_in_session(session: int) -> dict[int, int]:
    """Return the living processes of a session: their parents by their ids."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        state, parent, its_session = fields[0], int(fields[1]), int(fields[3])
        if its_session == session and state not in "ZX":
            found[int(folder.name)] = parent
    return found


def workers_in_session(session: int) -> list[int]:
    """Return the processes that work: children of the run, forked from it, which have its command line.

    A run has other children too: h5py starts `uname` as it is imported.
    """
    words = command_lines()
    return sorted(
        number
        for number, parent in parents_in_session(session).items()
        if parent == session and words.get(number) == words.get(session)
    )


def with_open_file(numbers: list[int], folder: Path) -> list[int]:
    """Return those of some processes that have a file of a folder open, such as a lock."""
    found = []
    for number in numbers:
        for handle in Path(f"/proc/{number}/fd").glob("*"):
            try:
                is_there = handle.readlink().parent == folder.resolve()
            except OSError:  # it was just closed
                continue
            if is_there:
                found.append(number)
                break
    return found


SLEEP = "import time; print('sleeps', flush=True); time.sleep(60)"
