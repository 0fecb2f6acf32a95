"""README.md and docs/options.md match the code: the loader runs, and the options are those of the scripts."""

import fnmatch
import re
import resource

import h5py
import numpy as np
import pytest
from helpers.pages import OPTION, PARSERS
from helpers.releases import make_extracted
from helpers.scripts import PROJECT, process
from PIL import Image

from demo.release import DEMO

README = (PROJECT / "README.md").read_text(encoding="utf-8")
OPTIONS = (PROJECT / "docs" / "options.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    """Return a section of docs/options.md, from its heading to the next one of its level."""
    return re.search(rf"^## {re.escape(title)}$(.*?)(?=^## |\Z)", OPTIONS, re.MULTILINE | re.DOTALL)[1]


def test_readme_loader_is_ten_lines_and_yields_each_frame(demo_run):
    """Image, poses, camera and box; all at once with 64 open files (`ulimit -n 64`), so each image is closed."""
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "def load" in block]
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    names = {}
    exec(code, names)
    folder = demo_run / "data" / "processed" / "S1" / "Walking-1"
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    try:
        frames = list(names["load"](str(folder)))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    with h5py.File(folder / "annot.h5") as annotations:
        assert len(frames) == len(annotations["frame"]) > 64
        for row, (image, pose_2d, pose_3d, camera, box) in enumerate(frames):
            number, camera_id = annotations["frame"][row], annotations["camera"][row]
            with Image.open(folder / f"imageSequence/{camera_id}/img_{number:06d}.jpg") as expected:
                np.testing.assert_array_equal(np.asarray(image), np.asarray(expected))
            np.testing.assert_array_equal(pose_2d, annotations["pose/2d"][row])
            np.testing.assert_array_equal(pose_3d, annotations["pose/3d"][row])
            np.testing.assert_array_equal(box, annotations["bbox"][row])
            for values, dataset in zip(camera, ("extrinsics", "calibration", "distortion"), strict=False):
                np.testing.assert_array_equal(values, annotations[f"{dataset}/{camera_id}"][...])


def test_options_table_has_every_option_of_every_script():
    introduction, _, table = section("Options").partition("\n| ")
    common = set(OPTION.findall(introduction))
    documented = {script: set(common) for script in PARSERS}
    which = ""
    for row in table.splitlines():
        cells = [cell.strip() for cell in row.strip("| ").split("|")]
        if not row.startswith("|"):
            continue
        which = re.sub(r"`", "", cells[0]) if cells[0].startswith("`") and ".py" in cells[0] else which
        for script in fnmatch.filter(PARSERS, which):
            documented[script] |= set(OPTION.findall(row))
    assert documented == {script: set(OPTION.findall(parser.format_help())) for script, parser in PARSERS.items()}


@pytest.mark.slow
def test_readme_picture_is_what_the_demo_draws(tmp_path):
    """Make the sequence of the picture as the demo does, at its full length."""
    [walk] = [recording for recording in DEMO if recording[:2] == ("S1", "Walking-1")]
    root = make_extracted(tmp_path, [walk])
    ended = process(root, "--subjects", walk.subject, "--actions", walk.name, "--preview")
    assert ended.returncode == 0, ended.stderr
    (name,) = re.findall(r"!\[[^\]]+\]\(([^)]+\.jpg)\)", README)
    with Image.open(PROJECT / name) as shown, Image.open(root / "processed/S1/Walking-1/preview.jpg") as drawn:
        # Other releases of the encoders make other noise, but no other picture.
        difference = np.abs(np.asarray(shown, dtype=float) - np.asarray(drawn, dtype=float))
    assert difference.mean() < 5
