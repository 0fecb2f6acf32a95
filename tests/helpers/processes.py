"""Which processes there are, by /proc, and code for processes that are to be stopped."""

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


def forking_in_session(session: int) -> dict[int, int]:
    """Return the fork server of a run, and the workers, which have its command line: their parents by their ids.

    A run has other children too: h5py starts `uname` as it is imported.
    """
    words = command_lines()
    return {
        number: parent
        for number, parent in parents_in_session(session).items()
        if any(word.endswith("/fork_server.py") for word in words.get(number, []))
    }


def workers_in_session(session: int) -> list[int]:
    """Return the processes that work: children of the server that forks them, which is a child of the run."""
    return sorted(number for number, parent in forking_in_session(session).items() if parent != session)


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
SLEEPS_IN_A_DESTRUCTOR = f"""
class Slow:
    def __del__(self):
        {SLEEP}
Slow()
{SLEEP}
"""
# Code that sleeps where Python drops every exception and goes on sleeping when it is woken there, or where an exception
# makes a destructor fail, as in spacepy's CDF.
SLEEPS_WHERE_A_STOP_IS_PRINTED = {
    "destructor": SLEEPS_IN_A_DESTRUCTOR,
    "destructor on a busy machine": f"""
import threading
class SlowTimer(threading.Timer):
    def start(self):
        super().start()
        {SLEEP.replace("60", "0.5")}
threading.Timer = SlowTimer
{SLEEPS_IN_A_DESTRUCTOR}
""",
    "callback of a weak reference": f"""
import weakref
thing = type("Thing", (), {{}})()
reference = weakref.ref(thing, lambda _: exec("{SLEEP}"))
del thing
{SLEEP}
""",
    "constructor": f"""
class HalfMade:
    def __init__(self):
        {SLEEP}
        self.is_open = True
    def __del__(self):
        self.is_open
HalfMade()
""",
}
