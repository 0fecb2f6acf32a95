"""Run the whole pipeline on a small synthetic release, served by a fake server on loopback:

python -m demo FOLDER
"""

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from demo import release, site
from h36m.progress import Progress, time_text

SCRIPTS = Path(__file__).resolve().parent.parent
USERNAME, PASSWORD = "demo@example.org", "correct horse"


def main(folder: Path, recordings: Sequence[release.Recording] = release.DEMO) -> None:
    started = time.monotonic()
    root = folder / "data"  # the user's data folder
    if folder.exists() and not (folder / "release").is_dir() and any(folder.iterdir()):
        raise SystemExit(f"{folder} is not an earlier demo; choose another folder")
    shutil.rmtree(folder, ignore_errors=True)
    root.mkdir(parents=True)

    print("making a synthetic release: two subjects, four sequences, four cameras", flush=True)
    frames = release.VIEWS * sum(recording.frames for recording in recordings)
    with Progress("synthetic dataset", frames) as progress:
        release.make_release(folder / "release", recordings, on_frames=progress.update)

    with site.serve(folder / "release", USERNAME, PASSWORD) as server:
        config = root / "config.ini"
        config.write_text(
            f"[General]\nUsername = {USERNAME}\nPassword = {PASSWORD}\nBaseURL = {server.base_url}\n"
            "; The fake server uses plain http on this machine.\nConnections = 4\n"
        )
        download = ["--config", str(config), "--checksums", str(folder / "release" / "checksums.txt")]
        run_script("download_all.py", root, download)
        run_script("download_seg_mat_gt_pl.py", root, download)
    run_script("extract_all.py", root)
    actions = list(dict.fromkeys(recording.name for recording in recordings))
    run_script("process_all.py", root, ["--actions", *actions, "--preview"])

    images = list(root.glob("processed/*/*/imageSequence/*/*.jpg"))
    annotations = list(root.glob("processed/*/*/annot.h5"))
    picture = root / "processed" / "S1" / "Walking-1" / "preview.jpg"
    duration = time_text(time.monotonic() - started)
    print(f"\n{len(images)} images and {len(annotations)} annot.h5 in {root / 'processed'}, made in {duration}")
    print(f"look at {picture}")
    print("next: python3 download_all.py, for the real dataset (see README.md)")


def run_script(name: str, root: Path, options: Sequence[str] = ()) -> None:
    """Run one of the scripts as a user would; a failure ends the demo."""
    subjects = release.subjects(release.DEMO)
    command = [sys.executable, str(SCRIPTS / name), "--root", str(root), "--subjects", *subjects, *options]
    print(f"\n$ {name} {shlex.join(command[2:])}", flush=True)
    # The demo uses neither the user's account nor the user's proxy, which cannot reach the fake server.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("H36M_")}
    status = subprocess.run(command, env=environment | {"no_proxy": "127.0.0.1"}).returncode
    if status:
        raise SystemExit(f"{name} exited with status {status}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument(
        "folder",
        type=Path,
        nargs="?",
        default=Path("demo-run"),
        help="default: demo-run; an earlier demo there is deleted",
    )
    parser.add_argument("--short", action="store_true", help="make a quarter of the frames (for the tests)")
    options = parser.parse_args()
    main(options.folder.resolve(), release.SHORT_DEMO if options.short else release.DEMO)
