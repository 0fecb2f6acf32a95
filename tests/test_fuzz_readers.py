"""Files with an unexpected object, number or box in them: each is named, and affects no other file.

`python3 tests/fuzz_readers.py` runs them by hand.
"""

import sys

import pytest
from fuzz_readers import CRASHED, GOOD, NOT_WRITTEN, REFUSED, counts, fuzz

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the limit of memory is set from /proc")

# NASA's library dies of an index that refers to itself. It costs the sequence, which has a process of its own.
MAY_CRASH = {"cdf": 10, "mat": 0, "video": 0}


def assert_reported(kind: str, cases: int, first: int = 0) -> None:
    """Read cases of a kind; only files that are good or refused, and both of them, are right."""
    found = counts(fuzz(kind, first, cases))
    print(f"{kind}: {dict(found)}")
    unexpected = {how for how in found if how not in (GOOD, REFUSED) and not how.startswith((CRASHED, NOT_WRITTEN))}
    assert not unexpected, found
    assert sum(count for how, count in found.items() if how.startswith(CRASHED)) <= MAY_CRASH[kind], found
    assert sum(count for how, count in found.items() if how.startswith(NOT_WRITTEN)) <= cases / 20 + 1, found
    assert found[GOOD] >= cases / 20 and found[REFUSED] >= cases / 3, found


@pytest.mark.parametrize("kind", MAY_CRASH)
def test_wrong_file_is_refused_or_read_right(kind):
    assert_reported(kind, 30)


@pytest.mark.slow
@pytest.mark.parametrize("kind", MAY_CRASH)
def test_thousand_wrong_files_are_refused_or_read_right(kind):
    assert_reported(kind, 1000, first=30)
