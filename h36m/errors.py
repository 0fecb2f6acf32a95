"""What can fail, and how much of a run it costs. Every message is one line: what, cause, remedy."""


class UsageError(Exception):
    """A wrong option or configuration: the script exits at once with status 2."""


class TaskError(Exception):
    """One archive, sequence or view failed; the others go on."""


class RunStoppedError(Exception):
    """The run is stopping (Ctrl-C, SIGTERM, or a fatal error): threads clean up and end."""


class BadArchiveError(Exception):
    """A file is not a complete, safe archive. The message follows the file's name: "is truncated"."""


class OtherArchiveError(BadArchiveError):
    """A file is an archive of a different subject or kind than its name says."""


class UnsafeArchiveError(BadArchiveError):
    """An archive has members that no official archive has, so downloading it again does not help."""
