"""Fetch the boxes and part labels of Human3.6M into archives/, checked; go on where an earlier run stopped.

    python3 download_seg_mat_gt_pl.py
    python3 download_seg_mat_gt_pl.py --subjects S1 S9 --root /data/h36m

Log in with the account in config.ini, or with H36M_USERNAME and H36M_PASSWORD, or type it when asked.
"""

from h36m.archives import BOXES, PART_LABELS
from h36m.console import run
from h36m.fetch import download, download_parser

KINDS = (BOXES, PART_LABELS)

if __name__ == "__main__":
    run(lambda arguments: download(arguments, KINDS), download_parser(__doc__))
