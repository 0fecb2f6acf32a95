"""Fetch the poses and videos of Human3.6M into archives/, checked; go on where an earlier run stopped.

    python3 download_all.py
    python3 download_all.py --subjects S1 S9 --root /data/h36m

Log in with the account in config.ini, or with H36M_USERNAME and H36M_PASSWORD, or type it when asked.
"""

from h36m.archives import POSES_2D, POSES_3D, POSES_3D_UNIVERSAL, POSES_3D_WORLD, VIDEOS
from h36m.console import run
from h36m.fetch import download, download_parser

KINDS = (POSES_2D, POSES_3D_WORLD, POSES_3D, POSES_3D_UNIVERSAL, VIDEOS)

if __name__ == "__main__":
    run(lambda arguments: download(arguments, KINDS), download_parser(__doc__))
