"""metadata.xml against the tables of facts, and the official file's shape of it."""

from xml.sax.saxutils import escape

import numpy as np
import pytest
from helpers.facts import FACTS, table

from h36m.cameras import to_camera
from h36m.dataset import SUBJECTS_WITH_GROUND_TRUTH
from h36m.errors import UsageError
from h36m.metadata import METADATA_FILE, load_metadata

CHANNELS = "channels_x_y_z"
ALL_SUBJECTS = [f"S{number}" for number in range(1, 12)]


def offset_of(row: dict[str, str], length: float = 1) -> list[str]:
    """Return the offset of a row of the skeleton of angles, with another length than 1."""
    return [str(length * float(row[f"offset_{axis}"])) for axis in "xyz"]


@pytest.fixture(scope="module")
def metadata():
    return load_metadata()


@pytest.fixture(scope="module")
def official_style(tmp_path_factory):
    """A file in the official one's shape, from the tables: more elements, rows after the 32, `<w0>` in one line."""
    rows = [list(row.values()) for row in table("sequences.tsv")]
    rows += [["17", "1", *["Calibration"] * 11], ["", "", *[""] * 11]]
    cells = [["", "", *ALL_SUBJECTS], *rows]
    mapping = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in cells)
    actions = "".join(f"<item>{row['name']}</item>" for row in table("actions.tsv"))
    cameras = "".join(f"<item>{camera}</item>" for camera in FACTS["cameras"])
    joints = "".join(
        f"<item><name>{row['name']}</name><color>1</color><id>{row['joint']}</id>"
        f"<parent>{int(row['parent']) + 1 if row['joint'] != '0' else 0}</parent></item>"
        for row in table("skeleton.tsv")
    )
    angles = "".join(
        f"<item><name>{row['name']}</name><id>{row['joint']}</id><offset>[{' '.join(offset_of(row, 12.5))}]</offset>"
        f"<axis>[0 0 0]</axis>{f'<rotInd>[{row[CHANNELS]}]</rotInd>' if row[CHANNELS] != '-' else '<rotInd/>'}</item>"
        for row in table("skeleton_angles.tsv")
    )
    numbers = []
    for camera in FACTS["cameras"]:
        for subject in ALL_SUBJECTS:
            numbers += FACTS["extrinsics"][subject][camera]["rotation"]
            numbers += FACTS["extrinsics"][subject][camera]["translation"]
    for camera in FACTS["cameras"]:
        numbers += [number for key in "fckp" for number in FACTS["intrinsics"][camera][key]]
    assert len(numbers) == 300
    file = tmp_path_factory.mktemp("official") / "metadata.xml"
    file.write_text(
        f"<?xml version='1.0'?><metadata><version>1.2</version><mapping>{mapping}</mapping>"
        f"<actionnames>{actions}</actionnames><subactionnames><item>1</item></subactionnames>"
        f"<dbcameras><w0>[{' '.join(map(repr, numbers))}]</w0><index2id>{cameras}</index2id></dbcameras>"
        f"<skel_pos><tree>{joints}</tree></skel_pos><skel_angles><tree>{angles}</tree></skel_angles></metadata>"
    )
    return load_metadata(file)


def test_every_sequence_of_all_eleven_subjects_reads_back(metadata):
    expected = {
        (subject, int(row["action"]), int(row["subaction"])): row[subject]
        for row in table("sequences.tsv")
        for subject in ALL_SUBJECTS
    }
    assert len(expected) == 32 * 11
    assert metadata.sequences == expected


def test_every_action_and_every_joint_reads_back(metadata):
    assert metadata.actions == {int(row["action"]): row["name"] for row in table("actions.tsv")}
    skeleton = table("skeleton.tsv")
    assert metadata.joint_names == tuple(row["name"] for row in skeleton)
    assert metadata.joint_parents == tuple(int(row["parent"]) for row in skeleton)
    assert [int(row["joint"]) for row in skeleton] == list(range(32))


def test_skeleton_of_the_angles_reads_back(metadata, official_style):
    """The lengths of the offsets belong to no subject; parents are those of the positions."""
    rows = table("skeleton_angles.tsv")
    assert [(row["name"], int(row["parent"])) for row in rows] == list(
        zip(metadata.joint_names, metadata.joint_parents, strict=True)
    )
    for found in (metadata, official_style):
        channels = [tuple(int(n) - 1 for n in row[CHANNELS].split()) if row[CHANNELS] != "-" else () for row in rows]
        assert found.angle_channels == tuple(channels)
        assert [list(map(str, direction)) for direction in found.bone_directions] == list(map(offset_of, rows))


def test_every_number_of_the_calibration_reads_back_for_all_44_cameras(metadata):
    assert metadata.camera_ids == tuple(FACTS["cameras"])
    assert set(metadata.cameras) == {(subject, camera) for subject in ALL_SUBJECTS for camera in FACTS["cameras"]}
    for (subject, camera_id), camera in metadata.cameras.items():
        intrinsics = FACTS["intrinsics"][camera_id]
        assert camera.focal_length.tolist() == intrinsics["f"]
        assert camera.principal_point.tolist() == intrinsics["c"]
        assert camera.radial.tolist() == intrinsics["k"]
        assert camera.tangential.tolist() == intrinsics["p"]
        k1, k2, k3, p1, p2 = *intrinsics["k"], *intrinsics["p"]
        assert camera.distortion.tolist() == [k1, k2, p1, p2, k3]
        extrinsics = FACTS["extrinsics"][subject][camera_id]
        # The camera is at T: that point is the origin of its coordinates.
        np.testing.assert_allclose(to_camera(np.array(extrinsics["translation"]), camera), 0, atol=1e-9)
        _, b, c = extrinsics["rotation"]
        # Row 0 of Rx(a) Ry(b) Rz(c), multiplied out by hand.
        row = [np.cos(b) * np.cos(c), -np.cos(b) * np.sin(c), np.sin(b)]
        np.testing.assert_allclose(camera.rotation[0], row, atol=1e-12)
        np.testing.assert_allclose(camera.rotation @ camera.rotation.T, np.eye(3), atol=1e-12)
        np.testing.assert_allclose(np.linalg.det(camera.rotation), 1)


def test_size_of_each_view_is_that_of_the_facts(metadata, official_style):
    """The official file has no sizes: then it is one of the two that the dataset's videos have."""
    for subject in ALL_SUBJECTS:
        for camera, size in zip(FACTS["cameras"], FACTS["image_sizes_hw"][subject], strict=True):
            assert metadata.sizes_of(subject, camera) == (tuple(size),)
            assert official_style.sizes_of(subject, camera) == ((1000, 1000), (1002, 1000))
    assert len(metadata.image_sizes) == 44 and official_style.image_sizes == {}


def test_the_published_check_value_of_the_calibration(metadata):
    extrinsics = metadata.cameras["S1", "54138969"].extrinsics
    np.testing.assert_allclose(extrinsics[0, :3], [-0.91536173, 0.40180837, 0.02574754], atol=5e-9)
    np.testing.assert_allclose(extrinsics[:, 3], [-346.0507814, 546.98077931, 5474.48108743], atol=5e-9)


def test_an_official_style_file_reads_the_same(metadata, official_style):
    assert official_style.sequences == metadata.sequences
    assert official_style.actions == metadata.actions
    assert official_style.camera_ids == metadata.camera_ids
    assert official_style.joint_names == metadata.joint_names
    assert official_style.joint_parents == metadata.joint_parents
    assert official_style.cameras.keys() == metadata.cameras.keys()
    for key, camera in metadata.cameras.items():
        for ours, theirs in zip(vars(camera).values(), vars(official_style.cameras[key]).values(), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_each_subject_has_thirty_sequences_without_all(metadata):
    for subject in SUBJECTS_WITH_GROUND_TRUTH:
        sequences = {sequence.name: sequence for sequence in metadata.sequences_of(subject)}
        assert len(sequences) == 30
        assert sequences["Walking-1"][:3] == (subject, 14, 1)
        assert not any(sequence.base.startswith("_ALL") for sequence in sequences.values())


def test_broken_or_missing_metadata_file_is_one_line(tmp_path):
    file = tmp_path / "metadata.xml"
    with pytest.raises(UsageError, match="no such file"):
        load_metadata(file)
    whole, size = METADATA_FILE.read_text(encoding="utf-8"), "<td>S1</td><td>1000 x 1002</td>"
    assert whole.count(size) == 1
    broken = [
        whole.replace(size, f"<td>S1</td><td>{cell}</td>") for cell in ("", "1000", "wide", "1 x 2</td><td>1 x 2")
    ]
    for text in (*broken, "", "<metadata/>", "no xml", "<metadata><mapping><tr><td/></tr></mapping></metadata>"):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(UsageError, match=r"metadata\.xml cannot be read") as raised:
            load_metadata(file)
        assert "\n" not in str(raised.value), text
