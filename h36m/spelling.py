"""Names that people type: read them kindly, and suggest the nearest ones for a name that does not exist."""

import difflib
from collections.abc import Iterable, Mapping

from h36m.errors import UsageError

MOST_SUGGESTIONS = 3  # an action, its two sequences


def read_names(
    option: str,
    words: Iterable[str],
    names: Mapping[str, str] | Iterable[str],
    *,
    refused: Mapping[str, str] | None = None,
    choices: Iterable[str] = (),
) -> list[str]:
    """Return the names that an option's words mean, in their order, each once.

    `s1`, `S1,S5` and `S1, S5` are read too: upper and lower case do not matter, and commas separate.

    Args:
        option: whose words they are, for the message.
        words: as typed.
        names: that exist; a mapping gives the name for each way to write it.
        refused: what to say about other names that people may expect to exist.
        choices: to list where no name is near; default: all names.

    Raises:
        UsageError: there is no such name.
    """
    ways = names if isinstance(names, Mapping) else {name: name for name in names}
    known = {text.casefold(): name for text, name in ways.items()}
    reasons = {text.casefold(): reason for text, reason in (refused or {}).items()}
    found = []
    for word in words:
        for part in filter(None, map(str.strip, word.split(","))) if word.strip(", ") else [word]:
            key = part.casefold()
            if key in reasons:
                raise UsageError(f"{option}: {reasons[key]}")
            if key not in known:
                every = list(dict.fromkeys(choices or known.values()))
                remedy = did_you_mean(part, known) or f"; choose from {', '.join(every)}"
                raise UsageError(f"{option}: unknown {part!r}{remedy}")
            found.append(known[key])
    return list(dict.fromkeys(found))


def did_you_mean(word: str, names: Mapping[str, str]) -> str:
    """Return `; did you mean Videos?` with the names near a word, or an empty string where none is.

    Args:
        names: by their case-folded form.
    """
    word = word.casefold()
    near = difflib.get_close_matches(word, names, n=MOST_SUGGESTIONS)
    near = near or [text for text in names if len(word) > 2 and word in text]
    found = list(dict.fromkeys(name for text, name in names.items() if text in near))
    if not 0 < len(found) <= MOST_SUGGESTIONS:
        return ""
    *others, last = found
    return f"; did you mean {', '.join(others)}{' or ' if others else ''}{last}?"
