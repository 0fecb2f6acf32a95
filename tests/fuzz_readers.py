#!/usr/bin/env python3
"""Read files with all kinds of errors in them, and count the outcomes:

    python3 tests/fuzz_readers.py --cases 1000

Each case has a seed: `--kinds cdf --first 47 --cases 1 --show` shows that one. Cases are read in processes of their own
with little memory and little time for each, so that a library that crashes or hangs costs one case.
"""

import argparse
import collections
import contextlib
import importlib
import os
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
from pathlib import Path
from random import Random

KINDS = {"mat": ".mat", "cdf": ".cdf", "video": ".mp4"}
GOOD, REFUSED, CRASHED, HUNG = "good", "refused", "library crashed", "hung"
NOT_WRITTEN = "not written"  # the library cannot write this case, so it does not count
READING = "reading: "
SECONDS_FOR_A_CASE = 20
# Added to what the imported libraries need. A video is decoded in some tens of megabytes, all else in less.
MEGABYTES_FOR_A_CASE = 512


def fuzz(kind: str, first: int, cases: int) -> dict[int, str]:
    """Read cases of a kind of file; return how each ended by its seed: one of the four words above, or an exception."""
    ended: dict[int, str] = {}
    while len(ended) < cases:
        options = ["--kinds", kind, "--first", str(first + len(ended)), "--cases", str(cases - len(ended))]
        command = [sys.executable, __file__, "--child", *options]
        child = subprocess.run(command, capture_output=True, text=True, check=False)
        *lines, begun = child.stdout.split("\n")
        for line in lines:
            ended[first + len(ended)] = line.removeprefix(READING)
        if child.returncode > 0:
            raise RuntimeError(f"the fuzzer itself failed for {kind}, seed {first + len(ended)}: {child.stderr}")
        if child.returncode and len(ended) < cases:
            name = signal.Signals(-child.returncode).name
            how = HUNG if name == "SIGALRM" else f"{CRASHED} ({name})"
            ended[first + len(ended)] = how if begun == READING else f"{NOT_WRITTEN}: {how}"
    return ended


def counts(ended: dict[int, str]) -> collections.Counter:
    return collections.Counter(ended.values())


def read_cases(kind: str, first: int, cases: int, show: bool) -> None:
    """Read cases in this process, and print a line for each as soon as it has ended."""
    sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]
    module = importlib.import_module(f"helpers.fuzz_{kind}")
    with tempfile.TemporaryDirectory(prefix="h36m-fuzz-") as folder:
        file = Path(folder) / f"case{KINDS[kind]}"
        module.write_case(file, Random(0))  # imports and files that are made once do not count
        with contextlib.suppress(AssertionError):
            module.read_case(file)
        file.unlink()
        limit_memory()
        for seed in range(first, first + cases):
            print(read_one(module, file, seed, show), flush=True)


def limit_memory() -> None:
    import resource  # not on Windows

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * os.sysconf("SC_PAGE_SIZE") + MEGABYTES_FOR_A_CASE * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**26, 2**26))  # whatever a case claims


def read_one(module, file: Path, seed: int, show: bool) -> str:
    try:
        what = module.write_case(file, Random(seed))
    except Exception as error:
        file.unlink(missing_ok=True)
        return f"{NOT_WRITTEN}: {type(error).__name__}: {' '.join(str(error).split())[:100]}"
    print(f"{what}\n" if show else "", end=READING, flush=True)
    signal.alarm(SECONDS_FOR_A_CASE)  # which ends this process
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a user would see them among the errors
            return GOOD if module.read_case(file) else REFUSED
    except Exception as error:
        if show:
            traceback.print_exc()
        return f"{type(error).__name__}: {' '.join(str(error).split())[:100]}"
    finally:
        signal.alarm(0)
        file.unlink(missing_ok=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--first", type=int, default=0, help="seed")
    parser.add_argument("--cases", type=int, default=100, help="of each kind")
    parser.add_argument("--show", action="store_true", help="show what is in each case, and tracebacks")
    parser.add_argument("--child", action="store_true", help="read in this process, a line for each case")
    arguments = parser.parse_args()
    for kind in arguments.kinds:
        if arguments.child or arguments.show:
            read_cases(kind, arguments.first, arguments.cases, arguments.show)
            continue
        ended = fuzz(kind, arguments.first, arguments.cases)
        print(f"{kind}: {len(ended)} cases: " + ", ".join(f"{n} {how}" for how, n in counts(ended).most_common()))
        odd = {seed: how for seed, how in ended.items() if how not in (GOOD, REFUSED) and NOT_WRITTEN not in how}
        for seed, how in list(odd.items())[:30]:
            print(f"  seed {seed}: {how}")


if __name__ == "__main__":
    main()
