"""The synthetic release of benchmarks/rehearsal.py: videos of exact length, and masks that the scripts read."""

import av
import h5py
import numpy as np
import pytest
from helpers.scripts import PROJECT

from h36m.files.segments import BOX_VARIABLE, read_boxes
from h36m.process.video import decode_frames

PIECES = (8, 4, 2, 1)


@pytest.fixture(scope="module")
def release():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(PROJECT / "benchmarks"))
        import rehearsal_release

        patch.setattr(rehearsal_release, "PIECES", PIECES)
        yield rehearsal_release


def test_videos_have_the_wanted_frames_in_order(release, tmp_path):
    """A video of 8, 8, 4 and 1 frames is these pieces one after the other, and the plan of packets decodes it."""
    release.encode_film(tmp_path / "films", "H.264", 0)
    video = tmp_path / "video.mp4"
    release.write_video(video, tmp_path / "films", 1000, 0, 21)
    with av.open(str(video)) as container:
        decoded = [frame.to_ndarray() for frame in container.decode(video=0)]
    expected = []
    for length in (8, 8, 4, 1):
        with av.open(str(tmp_path / "films" / f"1000-0-{length}.mp4")) as container:
            expected += [frame.to_ndarray() for frame in container.decode(video=0)]
    assert len(decoded) == len(expected) == 21
    assert all(np.array_equal(*pair) for pair in zip(decoded, expected, strict=True))
    for index, frame in decode_frames(video, [0, 9, 20]):
        assert np.array_equal(frame.to_ndarray(), decoded[index])


def test_masks_have_the_boxes_of_their_arrays(release, tmp_path):
    arrays = [np.zeros((1000, 1000), np.uint8) for _ in range(2)]
    arrays[0][10:20, 30:50] = arrays[1][100:300, 40:60] = 1
    release.write_cells(tmp_path / "a.mat", BOX_VARIABLE, arrays, 5)
    boxes, problems, notices = read_boxes(tmp_path / "a.mat", np.arange(5), (1000, 1000))
    assert (problems, notices) == ([], [])
    assert boxes.tolist() == [[30, 10, 50, 20]] * 3 + [[40, 100, 60, 300]] * 2
    with h5py.File(tmp_path / "a.mat") as mat:
        assert mat[BOX_VARIABLE].shape == (5, 1)
