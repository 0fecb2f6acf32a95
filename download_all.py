#!/usr/bin/env python3
"""Download the poses and videos of Human3.6M into archives/ and verify them.

    python3 download_all.py
    python3 download_all.py --subjects S1 S9 --root /data/h36m

Log in with the account in config.ini, or with H36M_USERNAME and H36M_PASSWORD,
or enter it at the prompt. Run it again to resume where an earlier run stopped.
"""

import h36m  # noqa: F401, I001  (first, see there)

import argparse

from h36m.cli import run
from h36m.dataset import kinds_of_script
from h36m.download.run import download, download_parser

KINDS = kinds_of_script("download_all.py")


def build_parser() -> argparse.ArgumentParser:
    return download_parser(__doc__, KINDS)


def main(arguments: argparse.Namespace) -> list[str]:
    return download(arguments, KINDS)


if __name__ == "__main__":
    run(main, build_parser())
