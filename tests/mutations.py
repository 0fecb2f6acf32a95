"""Do the tests notice? Apply small faults to the project, one at a time, and list those that no test noticed.

    python tests/mutations.py
    python tests/mutations.py "a lock" "a box"

runs all of the faults, or those whose name contains one of the words. Each is applied to a copy of the project, where
the tests run that should notice it. Exit status: 0 each was noticed; 1 some were not; 2 the table is out of date.

To add a fault, add a row to FAULTS: the old text must occur exactly once in its file.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

PROJECT = Path(__file__).resolve().parent.parent
NOT_COPIED = (".*", "__pycache__", "archives", "extracted", "processed", "exported", "demo-run", "config.ini")
SECONDS_FOR_TESTS = 300  # they take 2; a fault may make them wait for something that does not happen any more

# Exit statuses of pytest, and one that it does not use.
PASSED, FAILED, TIMED_OUT = 0, 1, -1


class FaultTableError(Exception):
    """A row of the table does not fit the project any more; the message says which and why."""


class Fault(NamedTuple):
    """A small change that makes the project wrong."""

    name: str
    file: str
    old: str  # occurs once in the file
    new: str
    tests: str  # that should notice it, below `tests/`, separated by blanks


FAULTS = (
    # -- requirements.txt and Makefile
    Fault(
        "an imported package is not required",
        "requirements.txt",
        "urllib3>=2.0.2\n",
        "",
        "unit/test_requirements.py::test_every_import_is_in_the_requirements",
    ),
    Fault(
        "the locked releases are older than what is required",
        "requirements.txt",
        "av>=17.0 ",
        "av>=99 ",
        "unit/test_requirements.py::test_lock_has_one_release_of_every_requirement",
    ),
    Fault(
        "the lock is for other Pythons than the Makefile says",
        "Makefile",
        "PYTHONS = 3.10 ",
        "PYTHONS = ",
        "unit/test_requirements.py::test_lock_was_made_for_the_pythons_of_the_makefile",
    ),
    # -- h36m/locks.py
    Fault(
        "a lock never holds",
        "h36m/locks.py",
        "fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)",
        "pass",
        "unit/test_locks.py::test_second_run_in_a_folder_says_so_and_waits_for_the_first",
    ),
    Fault(
        "a file system without locks is an error",
        "h36m/locks.py",
        "if error.errno in NO_LOCKS_ERRNOS:",
        "if False:",
        "unit/test_locks.py::test_run_without_locks_says_so_once_and_goes_on",
    ),
    Fault(
        "another user's lock file is an error",
        "h36m/locks.py",
        "return os.open(path, os.O_RDONLY)",
        "raise",
        "unit/test_locks.py::test_lock_file_that_only_its_owner_may_write_is_locked",
    ),
    # -- h36m/storage.py
    Fault(
        "a record ignores the time stamp",
        "h36m/storage.py",
        '(entry["size"], entry["mtime_ns"]) != (stat.st_size, stat.st_mtime_ns)',
        'entry["size"] != stat.st_size',
        "unit/test_storage.py::test_record_does_not_hold_an_archive_of_another_time",
    ),
    Fault(
        "a record ignores the size",
        "h36m/storage.py",
        '(entry["size"], entry["mtime_ns"]) != (stat.st_size, stat.st_mtime_ns)',
        'entry["mtime_ns"] != stat.st_mtime_ns',
        "unit/test_storage.py::test_record_does_not_hold_an_archive_of_another_size",
    ),
    Fault(
        "a record ignores the MD5",
        "h36m/storage.py",
        'return md5 is None or entry["md5"] == md5',
        "return True",
        "unit/test_storage.py::test_record_holds_an_added_archive_with_its_md5",
    ),
    Fault(
        "a file is written in place",
        "h36m/storage.py",
        'temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")',
        "temporary = path",
        "unit/test_storage.py::test_failed_write_keeps_the_old_file_and_leaves_no_other",
    ),
    Fault(
        "a failed write leaves its temporary file",
        "h36m/storage.py",
        "temporary.unlink()",
        "pass",
        "unit/test_storage.py::test_failed_write_keeps_the_old_file_and_leaves_no_other",
    ),
    Fault(
        "a private file is readable by everybody",
        "h36m/storage.py",
        "os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)",
        "os.O_CREAT | os.O_EXCL | os.O_WRONLY, FOR_EVERYBODY)",
        "unit/test_storage.py::test_written_file_has_the_mode_that_was_asked_for",
    ),
    Fault(
        "an exceeded quota is no full disk",
        "h36m/storage.py",
        "(errno.ENOSPC, errno.EDQUOT)",
        "(errno.ENOSPC,)",
        "unit/test_storage.py::test_errors_of_full_and_read_only_disks_differ",
    ),
    Fault(
        "a file is renamed before its bytes are on the disk",
        "h36m/storage.py",
        "    sync(source)\n",
        "",
        "unit/test_storage.py::test_renamed_file_is_synced_first_and_its_folder_last",
    ),
    Fault(
        "an archive is recorded before it is on the disk",
        "h36m/storage.py",
        "        sync(archive)\n",
        "",
        "unit/test_storage.py::test_archive_is_synced_before_its_record",
    ),
    # -- what surrounds the scripts
    Fault(
        "matplotlib is imported, and reads MPLBACKEND",
        "h36m/files/cdf.py",
        'NOT_NEEDED = ("matplotlib", "astropy")',
        "NOT_NEEDED = ()",
        "unit/test_imports.py::test_cdf_library_is_spacepys_and_matplotlib_is_not_imported",
    ),
    Fault(
        "Ctrl-C during imports prints a traceback",
        "h36m/import_path.py",
        "sys.excepthook = _print_without_traceback\n",
        "",
        "unit/test_imports.py::test_ctrl_c_during_imports_is_one_line",
    ),
    Fault(
        "a module in the current folder hides a library",
        "h36m/import_path.py",
        "os.path.realpath(folder) in own",
        "False",
        "unit/test_imports.py::test_own_folders_come_last_and_once",
    ),
    Fault(
        "HDF5 locks its files",
        "h36m/files/hdf5.py",
        'h5py.File(file, "w", locking=False)',
        'h5py.File(file, "w")',
        "unit/test_locks.py::test_hdf5_files_are_written_and_read_without_locks",
    ),
    Fault(
        "the fork server's death has a traceback",
        "h36m/parallel/workers.py",
        "except (EOFError, ConnectionError):",
        "except ZeroDivisionError:",
        "test_surroundings.py::test_death_of_the_fork_server_is_one_error_and_ends_its_workers",
    ),
    Fault(
        "a log on a full disk ends a run",
        "h36m/cli.py",
        "with contextlib.suppress(OSError):",
        "if True:",
        "unit/test_cli.py::test_full_disk_of_a_log_is_no_error_of_the_run",
    ),
    # -- h36m/export
    Fault(
        "an export of mmpose has R as it is",
        "h36m/export/mmpose.py",
        '"R": camera.rotation.T,',
        '"R": camera.rotation,',
        "test_exports.py::test_mmpose_cameras test_exports.py::test_mmpose_geometry",
    ),
    Fault(
        "an export of 3dmppe has the camera's centre for t",
        "h36m/export/moon.py",
        '"t": camera.translation.tolist(),',
        '"t": (-camera.rotation.T @ camera.translation).tolist(),',
        "test_exports.py::test_3dmppe_cameras",
    ),
    Fault(
        "an export of 3dmppe has boxes half a pixel off",
        "h36m/export/moon.py",
        "center = (low + high) / 2",
        "center = low + size / 2",
        "test_exports.py::test_3dmppe_images_and_annotations",
    ),
    Fault(
        "an export of learnable-triangulation has p2 before p1",
        "h36m/export/learnable_triangulation.py",
        "camera.calibration, camera.distortion",
        "camera.calibration, camera.distortion[[0, 1, 3, 2, 4]]",
        "test_exports_images.py::test_learnable_triangulation_cameras",
    ),
    Fault(
        "an export of videopose3d is in mm",
        "h36m/export/videopose3d.py",
        "(world / MM_PER_M)",
        "(world / 1)",
        "test_exports.py::test_videopose3d_world_poses",
    ),
    Fault(
        "an export of videopose3d has three views of a sequence",
        "h36m/export/videopose3d.py",
        "len(views) < len(cameras)",
        "not views",
        "test_exports.py::test_videopose3d_leaves_a_sequence_without_a_view_out_of_both",
    ),
    Fault(
        "an export of mmpose counts images from 0",
        "h36m/export/mmpose.py",
        'f"{beginning}{frame + 1:06d}.jpg" for frame',
        'f"{beginning}{frame:06d}.jpg" for frame',
        "test_exports.py::test_mmpose_rows",
    ),
    Fault(
        "an export of mmpose shifts the rows after a short view",
        "h36m/export/mmpose.py",
        "if len(pose_2d) != len(pose_3d):",
        "if False:",
        "test_exports.py::test_mmpose_leaves_a_view_out_of_all_five_arrays",
    ),
    Fault(
        "an export is pickled for numpy 2 only",
        "h36m/export/pickles.py",
        "if not isinstance(value, np.ndarray):",
        "if not isinstance(value, np.ndarray) or not value.dtype.hasobject:",
        "test_exports.py::test_mmpose_cameras",
    ),
    Fault(
        "the pickler keeps a copy of every array until the end",
        "h36m/export/pickles.py",
        "self.fast = True",
        "self.fast = False",
        "test_export_memory.py",
    ),
    # -- h36m/cli.py, h36m/dataset.py
    Fault(
        "problems exit with status 0",
        "h36m/cli.py",
        "return 1 if problems else 0, problems",
        "return 0, problems",
        "unit/test_cli.py::test_problems_exit_1_and_are_the_last_lines",
    ),
    Fault(
        "wrong use exits with status 1",
        "h36m/cli.py",
        "2 if isinstance(error, UsageError) else 1",
        "1",
        "unit/test_cli.py::test_errors_exit_with_their_status_in_one_line",
    ),
    Fault(
        "--quiet prints",
        "h36m/cli.py",
        "        if not quiet:\n",
        "        if True:\n",
        "unit/test_cli.py::test_quiet_speaker_prints_nothing",
    ),
    Fault(
        "a subject or kind that is named twice is two",
        "h36m/cli.py",
        "list(dict.fromkeys(values))",
        "values",
        "unit/test_scripts.py::test_subject_named_twice_is_one_subject",
    ),
    Fault(
        "--kinds of a download script changes nothing",
        "h36m/download/run.py",
        "for kind in arguments.kinds or kinds]",
        "for kind in kinds]",
        "unit/test_downloading.py::test_one_archive_is_and_two_are_there",
    ),
    Fault(
        "0 is a positive integer",
        "h36m/cli.py",
        "int(text) < 1",
        "int(text) < 0",
        "unit/test_cli.py::test_other_texts_are_no_positive_integers",
    ),
    Fault(
        "image numbers count from 0",
        "h36m/dataset.py",
        "{index + 1:06d}",
        "{index:06d}",
        "unit/test_dataset.py::test_number_in_an_images_name_is_the_frames_index_plus_1",
    ),
    Fault(
        "the folder of a subject is not found in another folder",
        "h36m/dataset.py",
        "re.search(",
        "re.match(",
        "unit/test_dataset.py::test_subject_of_a_member_is_its_outermost_folder",
    ),
    # -- h36m/cameras.py, h36m/metadata.py
    Fault(
        "a rotation is transposed",
        "h36m/cameras.py",
        "points @ camera.rotation.T",
        "points @ camera.rotation",
        "unit/test_poses.py::test_world_point_in_camera_coordinates_is_r_x_plus_t",
    ),
    Fault(
        "rotations are applied in the opposite order",
        "h36m/cameras.py",
        "rotate_x @ rotate_y @ rotate_z",
        "rotate_z @ rotate_y @ rotate_x",
        "unit/test_poses.py::test_rotation_turns_about_z_first_then_y_then_x",
    ),
    Fault(
        "p1 and p2 are swapped",
        "h36m/cameras.py",
        "p1, p2 = camera.tangential",
        "p2, p1 = camera.tangential",
        "unit/test_poses.py::test_projection_is_human36ms_formula",
    ),
    Fault(
        "the tangential term inside the bracket is missing",
        "h36m/cameras.py",
        "bracket = bracket + p1 * normalized[..., 1:] + p2 * normalized[..., :1]",
        "",
        "unit/test_poses.py::test_projection_is_human36ms_formula",
    ),
    Fault(
        "distortion is not in OpenCV's order",
        "h36m/cameras.py",
        "[k1, k2, *self.tangential, k3]",
        "[k1, k2, k3, *self.tangential]",
        "unit/test_poses.py::test_calibration_and_distortion_have_opencvs_order",
    ),
    Fault(
        "the rows of the calibration are those of other cameras",
        "h36m/metadata.py",
        "extrinsics.reshape(len(camera_ids), SUBJECTS_WITH_CALIBRATION, NUMBERS_OF_EXTRINSICS)",
        "extrinsics.reshape(SUBJECTS_WITH_CALIBRATION, len(camera_ids), NUMBERS_OF_EXTRINSICS).swapaxes(0, 1)",
        "test_metadata.py",
    ),
    Fault(
        "a camera's place is taken for its translation",
        "h36m/metadata.py",
        "translation=-rotation @ np.array([x, y, z])",
        "translation=np.array([x, y, z])",
        "test_metadata.py",
    ),
    # -- h36m/files/poses.py, h36m/files/segments.py
    Fault(
        "the fitted intrinsics are in another order",
        "h36m/files/poses.py",
        "np.column_stack([pose_3d[..., axis].ravel(), depth])",
        "np.column_stack([depth, pose_3d[..., axis].ravel()])",
        "unit/test_poses.py::test_fit_recovers_a_camera_without_distortion",
    ),
    Fault(
        "poses that are no numbers are accepted",
        "h36m/files/poses.py",
        "if len(broken):",
        "if False:",
        "unit/test_poses.py::test_poses_that_are_no_numbers_are_counted",
    ),
    Fault(
        "poses are read joint after joint of one coordinate",
        "h36m/files/poses.py",
        ".reshape(-1, JOINTS, coordinates)",
        ".reshape(-1, coordinates, JOINTS).swapaxes(1, 2)",
        "unit/test_poses.py::test_poses_are_read_frame_by_frame_and_joint_by_joint",
    ),
    Fault(
        "a mask is not transposed",
        "h36m/files/segments.py",
        "stored[...].T",
        "stored[...].reshape(size)",
        "unit/test_segments_reading.py::test_cells_are_upright_and_those_of_the_wanted_frames",
    ),
    Fault(
        "left and right of a box are swapped",
        "h36m/files/segments.py",
        "return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1",
        "return int(columns[-1]) + 1, int(rows[0]), int(columns[0]), int(rows[-1]) + 1",
        "unit/test_segments_reading.py::test_box_of_a_mask_is_the_box_that_was_drawn",
    ),
    Fault(
        "the bottom of a box is inclusive",
        "h36m/files/segments.py",
        "int(rows[-1]) + 1",
        "int(rows[-1])",
        "unit/test_segments_reading.py::test_box_of_a_mask_is_the_box_that_was_drawn",
    ),
    Fault(
        "cells are read however many the file claims",
        "h36m/files/segments.py",
        "or cells.size > MOST_FRAMES:",
        "or False:",
        "unit/test_segments_reading.py::test_object_in_the_place_of_the_cells_is_named",
    ),
    Fault(
        "a mask is read from another file",
        "h36m/files/segments.py",
        "if found.external or found.is_virtual:",
        "if False:",
        "unit/test_segments_reading.py::test_object_in_the_place_of_a_mask_costs_that_frame_only",
    ),
    Fault(
        "texts and dates are taken for poses",
        "h36m/files/poses.py",
        "if type_name not in FLOATING_TYPES:",
        "if False:",
        "unit/test_poses.py::test_poses_of_another_type_are_an_error_with_that_type",
    ),
    Fault(
        "a missing cell is taken for an error",
        "h36m/files/segments.py",
        'notice="an empty cell"',
        'problem="an empty cell"',
        "unit/test_segments_reading.py::test_cell_that_is_no_array_of_that_size_says_why",
    ),
    # -- h36m/archives/gzip_stream.py, h36m/archives/content.py, h36m/archives/members.py, h36m/extract/, extract_all.py
    Fault(
        "a gzip file that is cut off is accepted",
        "h36m/archives/gzip_stream.py",
        "if member is not None or file.tell() == 0:",
        "if file.tell() == 0:",
        "unit/test_extracting.py::test_gzip_file_that_is_cut_off_anywhere_is_refused",
    ),
    Fault(
        "a gzip file that is damaged ends without an error",
        "h36m/archives/gzip_stream.py",
        'raise BadArchiveError("is damaged: the CRC of its gzip stream does not match") from None',
        "return",
        "unit/test_extracting.py::test_gzip_file_with_a_flipped_bit_is_refused",
    ),
    Fault(
        "the trailer of an archive is not read",
        "h36m/archives/content.py",
        "for _ in pieces:",
        "for _ in ():",
        "unit/test_extracting.py::test_trailer_far_behind_the_last_member_is_read_too",
    ),
    Fault(
        "a member may lie outside of its folder",
        "h36m/archives/members.py",
        'or ".." in as_windows_reads_it.parts ',
        "",
        "unit/test_extracting.py::test_paths_outside_of_the_folder_are_refused",
    ),
    Fault(
        "drive letters and backslashes are not seen",
        "h36m/archives/members.py",
        "PureWindowsPath(name)",
        "PurePosixPath(name)",
        "unit/test_extracting.py::test_paths_outside_of_the_folder_are_refused",
    ),
    Fault(
        "another subject's files are unpacked",
        "h36m/archives/members.py",
        "if found not in (None, subject):",
        "if False:",
        "unit/test_extracting.py::test_archive_with_a_harmful_or_strange_member_is_refused",
    ),
    Fault(
        "a member overwrites another",
        "h36m/extract/unpack.py",
        'target.open("xb")',
        'target.open("wb")',
        "unit/test_extracting.py::test_file_is_never_written_over",
    ),
    Fault(
        "an archive with two members of one name is accepted",
        "h36m/archives/content.py",
        "if path in folders or any(each in files or each in links for each in (path, *path.parents)):",
        "if False:",
        "unit/test_archive_content.py::test_download_and_extract_judge_a_file_alike",
    ),
    Fault(
        "another kind's archive is accepted",
        "h36m/archives/members.py",
        "    if folder:\n",
        "    if False:\n",
        "unit/test_archive_content.py::test_member_of_another_kind_is_a_fault",
    ),
    Fault(
        "bytes behind a cut tar are ignored",
        "h36m/archives/gzip_stream.py",
        "if last_bytes == TAR_END:",
        "if True:",
        "unit/test_archive_content.py::test_download_and_extract_judge_a_file_alike",
    ),
    Fault(
        "files are left in the folders that the archive has around them",
        "h36m/archives/members.py",
        "places = without_shared | beside | wanted",
        "places = without_shared",
        "unit/test_extracting.py::test_files_are_unpacked_to_where_processing_looks",
    ),
    Fault(
        "an archive without a file of its kind is accepted",
        "h36m/archives/members.py",
        "    if not wanted:",
        "    if False:",
        "unit/test_extracting.py::test_archive_without_a_place_for_its_files_is_refused",
    ),
    Fault(
        "strays are unpacked",
        "h36m/archives/members.py",
        "return any(map(_STRAY.match, path.parts))",
        "return False",
        "unit/test_extracting.py::test_stray_is_skipped_wherever_it_is",
    ),
    Fault(
        "a folder without its files counts as unpacked",
        "extract_all.py",
        "task.folder.is_dir() and is_in_place(task.folder, kind, subject)",
        "task.folder.is_dir()",
        "unit/test_extracting.py::test_plan_notices_a_folder_without_its_files",
    ),
    Fault(
        "sizes beyond 4 GiB are taken for small ones",
        "h36m/extract/unpack.py",
        "length += -(-missing // LENGTH_MODULUS) * LENGTH_MODULUS",
        "length += 0",
        "unit/test_extracting.py::test_unpacked_size_beyond_4_gib_is_made_up_for",
    ),
    Fault(
        "an absent kind that was asked for is no problem",
        "extract_all.py",
        "facts.is_optional and kind not in asked_for and",
        "facts.is_optional and",
        "unit/test_extracting.py::test_with_kinds_nothing_else_is_unpacked_named_or_deleted",
    ),
    Fault(
        "an archive that has changed is not unpacked again",
        "extract_all.py",
        "(is_unpacked and not lost and record.holds(task.archive))",
        "(is_unpacked and not lost)",
        "unit/test_extracting.py::test_plan_takes_an_archive_that_has_changed",
    ),
    Fault(
        "a folder is named before its files are on the disk",
        "extract_all.py",
        "            sync_tree(complete)\n",
        "",
        "unit/test_extracting.py::test_files_and_name_are_on_the_disk_before_the_record",
    ),
    Fault(
        "a folder is recorded before its name is on the disk",
        "extract_all.py",
        "            sync_parents(task.folder)\n",
        "",
        "unit/test_extracting.py::test_files_and_name_are_on_the_disk_before_the_record",
    ),
    Fault(
        "empty files of a folder are believed",
        "h36m/extract/contents.py",
        "size == 0 and name.endswith(extension)",
        "False",
        "unit/test_extracting.py::test_folder_with_an_empty_file_is_unpacked_again",
    ),
    Fault(
        "shorter files of a folder are believed",
        "h36m/extract/contents.py",
        "if sizes.get(name, -1) < size",
        "if name not in sizes",
        "unit/test_extracting.py::test_cut_file_may_be_the_users_and_is_kept_aside",
    ),
    # -- h36m/process/
    Fault(
        "every frame is kept",
        "h36m/process/selection.py",
        "return np.array(chosen, dtype=np.int64)",
        "return np.arange(len(poses))",
        "unit/test_selection.py::test_movement_counts_from_the_last_kept_frame",
    ),
    Fault(
        "movement by exactly the distance is not kept",
        "h36m/process/selection.py",
        "squared_movement >= millimetres**2",
        "squared_movement > millimetres**2",
        "unit/test_selection.py::test_movement_by_exactly_the_distance_is_kept",
    ),
    Fault(
        "movement is counted from the frame before",
        "h36m/process/selection.py",
        "block - poses[chosen[-1]]",
        "block - poses[start - 1]",
        "unit/test_selection.py::test_movement_adds_up_over_blocks",
    ),
    Fault(
        "the frame after a block is left out",
        "h36m/process/selection.py",
        "start += len(block)",
        "start += len(block) + 1",
        "unit/test_selection.py::test_movement_is_found_wherever_a_block_ends",
    ),
    Fault(
        "an edited rule may choose negative frames",
        "h36m/process/selection.py",
        "if first < 0 or last >= len(poses):",
        "if last >= len(poses):",
        "unit/test_selection.py::test_wrong_result_of_an_edited_rule_is_an_error_in_one_line",
    ),
    Fault(
        "S9 is shifted the other way",
        "h36m/process/s9.py",
        "[-200.0, 0.0, 0.0]",
        "[200.0, 0.0, 0.0]",
        "unit/test_sequence.py::test_correction_moves_poses_by_minus_200_mm_along_x",
    ),
    Fault(
        "boxes are cut at the wrong edges",
        "h36m/process/s9.py",
        "[width, height, width, height]",
        "[height, width, height, width]",
        "unit/test_sequence.py::test_boxes_are_cut_at_the_images_edges_and_vanish_beyond",
    ),
    Fault(
        "--correct-s9 is not in the settings",
        "h36m/process/resume.py",
        '        "correct_s9": options.correct_s9 and is_shifted(sequence),\n',
        "",
        "unit/test_resume.py::test_sequence_processed_with_other_options_is_to_be_done",
    ),
    Fault(
        "--cameras is not in the settings",
        "h36m/process/resume.py",
        '        "cameras": list(options.cameras),\n',
        "",
        "unit/test_resume.py::test_sequence_processed_with_other_options_is_to_be_done",
    ),
    Fault(
        "missing images are not seen",
        "h36m/process/resume.py",
        "images.get(name, 0)",
        "images.get(name, 1_000_000)",
        "unit/test_resume.py::test_sequence_with_something_missing_is_to_be_done",
    ),
    Fault(
        "cut images are not seen",
        "h36m/process/resume.py",
        'sum(sizes) >= attributes.get("image_bytes", 0)',
        "True",
        "unit/test_resume.py::test_empty_or_cut_image_is_to_be_done",
    ),
    Fault(
        "changed inputs are not seen",
        "h36m/process/resume.py",
        'attributes["inputs"].get(name, [])[:compared] != state[:compared]',
        "False",
        "unit/test_resume.py::test_sequence_with_a_changed_input_is_to_be_done",
    ),
    Fault(
        "a copied tree is processed again",
        "h36m/process/resume.py",
        'compared = 3 if len(attributes["problems"]) else 2',
        "compared = 3",
        "unit/test_resume.py::test_change_of_state_counts_only_where_there_was_a_problem",
    ),
    Fault(
        "a rule that was compared is compared in each run",
        "h36m/process/resume.py",
        "        write_atomically(record, compared)\n",
        "        pass\n",
        "unit/test_resume.py::test_rule_with_the_same_frames_reads_poses_once",
    ),
    Fault(
        "a rule that was compared is taken for the rule of any annot.h5",
        "h36m/process/resume.py",
        " {state.st_size} {state.st_mtime_ns}",
        "",
        "unit/test_resume.py::test_recorded_rule_is_compared_again_with_other_annotations",
    ),
    Fault(
        "an unfinished sequence is taken for done",
        "h36m/process/resume.py",
        "if (folder / UNFINISHED_SEQUENCE).exists():",
        "if False:",
        "unit/test_resume.py::test_sequence_that_a_run_is_at_work_on_is_to_be_done",
    ),
    Fault(
        "frame numbers count from 0",
        "h36m/process/sequence.py",
        "np.concatenate([view.frames for view in views]) + 1",
        "np.concatenate([view.frames for view in views])",
        "unit/test_sequence.py::test_rows_are_one_view_after_the_other_in_order",
    ),
    Fault(
        "a missing box is at 0, 0",
        "h36m/process/sequence.py",
        "np.full((count, 4), NO_BOX, dtype=np.int32)",
        "np.zeros((count, 4), dtype=np.int32)",
        "unit/test_sequence.py::test_view_without_boxes_has_no_box_in_each_row",
    ),
    Fault(
        "a stop comes between the moves of a sequence",
        "h36m/process/sequence.py",
        "    with deferred_stops():  # a stop in between would cost both results\n",
        "    with contextlib.nullcontext():\n",
        "test_process_faults.py::test_a_stop_leaves_no_sequence_half_in_place",
    ),
    Fault(
        "annot.h5 appears before its images",
        "h36m/process/sequence.py",
        "            if (unfinished / name).exists():\n                (unfinished / name).rename(folder / name)\n",
        "        for name in (ANNOTATIONS_FILE, IMAGES, PART_LABEL_IMAGES, PREVIEW_FILE):\n"
        "            if (unfinished / name).exists():\n                (unfinished / name).rename(folder / name)\n",
        "unit/test_sequence.py::test_annotations_are_never_seen_without_their_images",
    ),
    Fault(
        "annot.h5 is named before its images are on the disk",
        "h36m/process/sequence.py",
        "    sync_tree(unfinished)\n",
        "",
        "unit/test_sequence.py::test_images_are_on_the_disk_before_their_annotations",
    ),
    Fault(
        "corrected poses are not projected again",
        "h36m/process/sequence.py",
        "pose_2d=project(pose_3d, camera),",
        "pose_2d=view.pose_2d,",
        "unit/test_sequence.py::test_corrected_view_has_its_poses_projected_again",
    ),
    Fault(
        "frames of annot.h5 are read as their numbers",
        "h36m/process/annotations.py",
        "numbers[cameras == camera] - 1",
        "numbers[cameras == camera]",
        "unit/test_sequence.py::test_frames_and_images_of_annotations_are_read_by_camera",
    ),
    Fault(
        "frames are numbered in the order of the file",
        "h36m/process/packets.py",
        "key=lambda position: packets[position].time,",
        "key=lambda position: position,",
        "unit/test_packets.py::test_frames_are_numbered_in_the_order_of_presentation",
    ),
    Fault(
        "hidden frames are numbered, too",
        "h36m/process/packets.py",
        "if not packet.is_hidden)",
        "if True)",
        "unit/test_packets.py::test_frames_are_numbered_in_the_order_of_presentation",
    ),
    Fault(
        "decoding starts within an open group",
        "h36m/process/packets.py",
        "packets[start].is_random_access_point and packets[start].time <= packets[position].time",
        "packets[start].is_random_access_point",
        "unit/test_packets.py::test_decoding_starts_where_it_can_and_ends_at_the_wanted_frame",
    ),
    Fault(
        "wanted frames that no other needs are not decoded",
        "h36m/process/video.py",
        '"DEFAULT" if position in wanted else "NONREF"',
        '"NONREF"',
        "unit/test_packets.py::test_wanted_frames_are_those_of_a_full_decode",
    ),
    Fault(
        "settings that change within a video are passed over",
        "h36m/process/packets.py",
        'raise NoPlanError("a packet holds other settings")',
        "pass",
        "unit/test_packets.py::test_unknown_mpeg4_gives_no_plan",
    ),
    Fault(
        "a video too short for its poses is accepted where its chosen frames exist",
        "h36m/process/video.py",
        "at_least = max(poses, wanted[-1] + 1)",
        "at_least = wanted[-1] + 1",
        "test_video_faults.py::test_video_shorter_than_its_poses_is_an_error_whatever_is_wanted",
    ),
    Fault(
        "a video of another size is accepted",
        "h36m/process/video.py",
        "if size is None and sizes and (frame.height, frame.width) not in sizes:",
        "if False:",
        "test_video_faults.py::test_video_of_another_size_names_both",
    ),
    Fault(
        "images are named by the frame after theirs",
        "h36m/process/video.py",
        "image = folder / image_name(index)",
        "image = folder / image_name(index + 1)",
        "unit/test_packets.py::test_images_are_named_by_their_frame_and_show_it",
    ),
    Fault(
        "the range of JPEG is not expanded",
        "h36m/process/jpeg.py",
        "(FULL_RANGE_LUMA, FULL_RANGE_CHROMA, FULL_RANGE_CHROMA)",
        "(None, None, None)",
        "unit/test_packets.py::test_video_range_becomes_the_full_range_of_jpeg",
    ),
    # -- process_all.py
    Fault(
        "a long look at what is done uses one core",
        "process_all.py",
        "if jobs > 1 and time.monotonic() - started >= SECONDS_ALONE:",
        "if False:",
        "unit/test_scripts.py::test_plan_divides_a_long_look_between_processes",
    ),
    Fault(
        "more processes look at what is done than there are cores",
        "process_all.py",
        "min(jobs or cores, cores)",
        "jobs or cores",
        "unit/test_scripts.py::test_plan_of_one_job_or_one_core_starts_no_process",
    ),
    Fault(
        "sequences are handed out in the order of their names",
        "process_all.py",
        "longest_first = sorted(plan.to_do, key=plan.to_do.__getitem__, reverse=True)",
        "longest_first = list(plan.to_do)",
        "test_slices.py::test_longest_sequence_is_processed_first",
    ),
    Fault(
        "shares overlap",
        "h36m/sequences.py",
        "[which - 1 :: count]",
        "[which - 1 :]",
        "unit/test_scripts.py::test_shares_make_up_the_whole_and_do_not_overlap",
    ),
    Fault(
        "shares depend on the order of the sequences",
        "h36m/sequences.py",
        "sorted(sequences)[which",
        "sequences[which",
        "unit/test_scripts.py::test_share_depends_on_the_names_and_not_on_their_order",
    ),
    Fault(
        "problems of a view are not reported",
        "process_all.py",
        "problems += outcome.problems",
        "pass",
        "unit/test_scripts.py::test_report_adds_up_and_returns_what_failed",
    ),
    # -- h36m/download/
    Fault(
        "every archive is good",
        "h36m/download/verify.py",
        "    fault = beginning_fault(path, kind, subject)\n",
        "    return Verdict(None, expected_md5, is_whole=True)\n",
        "unit/test_downloading.py::test_an_archive_is_judged_by_its_md5_or_its_gzip_stream",
    ),
    Fault(
        "every MD5 is the published one",
        "h36m/download/verify.py",
        "if md5 == expected_md5:",
        "if md5:",
        "unit/test_downloading.py::test_an_archive_is_judged_by_its_md5_or_its_gzip_stream",
    ),
    Fault(
        "the first bytes of an archive with the right MD5 are not looked at",
        "h36m/download/verify.py",
        "    if fault:\n        return Verdict(fault)\n",
        "",
        "unit/test_downloading.py::test_an_archive_is_judged_by_its_md5_or_its_gzip_stream",
    ),
    Fault(
        "the cookie is sent to hosts whose name begins like the site's",
        "h36m/download/site.py",
        "urlsplit(url)[:2] == urlsplit(self.base_url)[:2]",
        "urlsplit(url).netloc.startswith(urlsplit(self.base_url).netloc)",
        "unit/test_secrets.py::test_cookie_may_go_to_the_sites_own_host_only",
    ),
    Fault(
        "requests sends passwords of ~/.netrc",
        "h36m/download/request.py",
        "auth=_without_password, ",
        "",
        "unit/test_proxies.py::test_no_request_has_a_password_of_netrc",
    ),
    Fault(
        "axel gets the user's proxies",
        "h36m/download/axel.py",
        "env=axel_environment(os.environ),",
        "env=os.environ,",
        "unit/test_proxies.py::test_axel_runs_without_proxy_in_that_environment",
    ),
    Fault(
        "the cookie is sent before a redirect to https is known",
        "h36m/download/site.py",
        'if self.base_url.startswith("http://"):',
        "if False:",
        "unit/test_proxies.py::test_first_request_to_a_plain_site_has_no_cookie",
    ),
    Fault(
        "an error shows the password of a proxy",
        "h36m/download/proxies.py",
        'rest.rpartition("@")[2]',
        "rest",
        "unit/test_proxies.py::test_proxy_is_the_one_that_requests_takes",
    ),
    Fault(
        "an error quotes the line that holds the password",
        "h36m/download/config.py",
        "{where} is neither KEY = VALUE nor a comment",
        "{where} {line.before!r} is neither KEY = VALUE nor a comment",
        "unit/test_secrets.py::test_error_about_the_configuration_does_not_quote_it",
    ),
    Fault(
        "config.ini with the session is readable by everybody",
        "h36m/download/config.py",
        "write_atomically(path, text, PRIVATE)",
        "write_atomically(path, text)",
        "unit/test_configuration.py::test_session_is_saved_and_all_else_is_kept",
    ),
    Fault(
        "a semicolon within a line of config.ini begins a comment",
        "h36m/download/config.py",
        "line.value.decode()",
        'line.value.partition(b";")[0].decode()',
        "unit/test_configuration.py::test_password_is_used_unchanged",
    ),
    Fault(
        "a saved session is put into the first section that has one",
        "h36m/download/config.py",
        "enumerate(lines) if line.section == SECTION]",
        "enumerate(lines) if line.section]",
        "unit/test_configuration.py::test_session_is_saved_and_all_else_is_kept",
    ),
    Fault(
        "an error shows the password in BaseURL",
        "h36m/download/config.py",
        'raise wrong("BaseURL", reason)',
        'raise wrong_value("BaseURL", reason)',
        "unit/test_configuration.py::test_wrong_base_url_is_refused_and_not_shown",
    ),
    # -- several connections, expired sessions
    Fault(
        "refused connections are opened again and again",
        "h36m/download/ranges.py",
        "            limit.count = max(1, others)\n",
        "",
        "test_download_ranges.py::test_refused_connections_leave_their_ranges_to_the_others",
    ),
    Fault(
        "a connection writes beyond the part that another has taken over",
        "h36m/download/ranges.py",
        "    largest.end = middle\n",
        "",
        "unit/test_ranges.py::test_half_of_the_largest_rest_is_taken_over",
    ),
    Fault(
        "a quiet connection is replaced again and again",
        "h36m/download/ranges.py",
        " and not each.is_second_try\n",
        "\n",
        "unit/test_ranges.py::test_quiet_connection_is_replaced_once",
    ),
    Fault(
        "silence is no reason to ask about the session",
        "h36m/download/ranges.py",
        "        if now - active_at >= QUIET_SECONDS:\n",
        "        if False:\n",
        "test_download_sessions.py::test_session_expired_during_a_silent_download_is_renewed",
    ),
    Fault(
        "silence before the first byte is no reason to ask about the session",
        "h36m/download/complete.py",
        "            if time.monotonic() - asked_at >= QUIET_SECONDS:\n",
        "            if False:\n",
        "test_download_sessions.py::test_session_expired_between_archives_is_renewed",
    ),
    Fault(
        "a login page with status 200 is a valid session",
        "h36m/download/site.py",
        "            return page != self._file_browser(None, seconds)\n",
        "            return True\n",
        "unit/test_ranges.py::test_expired_session_differs_from_a_valid_one",
    ),
    Fault(
        "bytes are dropped for a page that honours ranges",
        "h36m/download/complete.py",
        "        _require_other_version(transfer, response)\n",
        "",
        "test_download_sessions.py::test_page_in_the_middle_costs_no_downloaded_byte",
    ),
    Fault(
        "a page in place of a range is written into the archive",
        "h36m/download/response.py",
        " if start == 0 else page_fault(first)\n",
        " if start == 0 else None\n",
        "test_download_sessions.py::test_page_in_the_middle_costs_no_downloaded_byte",
    ),
    Fault(
        "one response without ranges drops what several brought",
        "h36m/download/complete.py",
        "    elif outcome is Outcome.NO_RANGES and transfer.has_seen_ranges:\n",
        "    elif False:\n",
        "test_download_ranges.py::test_one_response_without_ranges_drops_nothing",
    ),
    # -- h36m/download/partial.py, h36m/parallel
    Fault(
        "missing ranges are not split",
        "h36m/download/partial.py",
        "            while sum(parts) < count:\n",
        "            while False:\n",
        "unit/test_partial.py::test_missing_ranges_are_cut_evenly",
    ),
    Fault(
        "a truncated partial download keeps its claims",
        "h36m/download/partial.py",
        "if claimed_end <= length:",
        "if True:",
        "unit/test_partial.py::test_a_file_cut_off_under_its_state_lacks_its_end",
    ),
    Fault(
        "an adopted file has its name before its state",
        "h36m/download/adopting.py",
        "    own_state_path = path.with_name(path.name + STATE_EXTENSION)\n",
        "    own_state_path = path.with_name(path.name + STATE_EXTENSION)\n    unfinished.rename(path)\n",
        "unit/test_adopting.py::test_a_kill_at_each_step_of_adopting_leads_to_the_same",
    ),
    Fault(
        "our own partial download is a near miss",
        "h36m/archives/near_misses.py",
        "rest.startswith(our_extensions)",
        "False",
        "unit/test_near_misses.py::test_our_own_and_other_files_are_no_near_misses",
    ),
    Fault(
        "a hole is not noted",
        "h36m/download/partial.py",
        "if position > missing[0][0] and not self._is_noted:",
        "if False:",
        "unit/test_partial.py::test_a_hole_is_noted_before_it_is_there",
    ),
    Fault(
        "a state claims bytes that are not on the disk",
        "h36m/download/partial.py",
        "            if self.path.exists():\n                sync(self.path)\n            write_atomically",
        "            write_atomically",
        "unit/test_partial.py::test_bytes_are_synced_before_a_state_claims_them",
    ),
    Fault(
        "an orphan sleeps on",
        "h36m/stop_signals.py",
        "signal.pthread_kill(threading.main_thread().ident, number)",
        "pass",
        "unit/test_parallel.py::test_a_task_whose_worker_is_gone_is_interrupted_in_its_sleep",
    ),
    Fault(
        "a worker in a destructor works on",
        "h36m/stop_signals.py",
        "            handle_all()  # a stop",
        "            pass  # a stop",
        "unit/test_parallel.py::test_a_task_is_stopped_without_a_word",
    ),
    Fault(
        "a run in a destructor goes on",
        "h36m/stop_signals.py",
        "            timer.start()\n",
        "",
        "unit/test_cli.py::test_a_stop_ends_a_run_in_one_line",
    ),
    Fault(
        "a stop prints what half-made objects do not have",
        "h36m/stop_signals.py",
        "is_stopping = is_raised = True",
        "is_raised = True",
        "unit/test_cli.py::test_a_stop_ends_a_run_in_one_line",
    ),
    Fault(
        "a stop that is repeated too early is lost",
        "h36m/stop_signals.py",
        "if frame.f_code is repeat_or_print.__code__:",
        "if False:",
        "unit/test_cli.py::test_a_stop_ends_a_run_in_one_line",
    ),
    Fault(
        "a worker whose sleep begins with the stop sleeps on",
        "h36m/stop_signals.py",
        "            if is_raised:\n                return",
        "            return",
        "unit/test_parallel.py::test_a_task_whose_worker_is_gone_is_interrupted_in_its_sleep",
    ),
    Fault(
        "Ctrl-C ends a run in the background of a shell script",
        "h36m/cli.py",
        "each == signal.SIGTERM or signal.getsignal(each) != signal.SIG_IGN",
        "True",
        "unit/test_cli.py::test_run_started_with_a_stop_ignored_goes_on",
    ),
    Fault(
        "a killed process is not said to be killed",
        "h36m/parallel/workers.py",
        'if exitcode == -getattr(signal, "SIGKILL", 9):',
        "if exitcode == 9:",
        "unit/test_parallel.py::test_only_a_killed_process_is_said_to_be_out_of_memory",
    ),
    # -- h36m/export
    Fault(
        "an export ignores changed inputs",
        "h36m/export/record.py",
        "return before == now and is_complete(record, out)",
        "return is_complete(record, out)",
        "test_export_runs.py::test_change_is_noticed",
    ),
    Fault(
        "an export ignores its own links",
        "h36m/export/record.py",
        "count_names(out / folder) == count for",
        "count_names(out / folder) >= 0 for",
        "test_export_runs.py::test_change_is_noticed",
    ),
    Fault(
        "links to removed frames stay",
        "h36m/export/links.py",
        "        image.unlink(missing_ok=True)",
        "        pass",
        "test_export_runs.py::test_removed_frames_lose_their_links",
    ),
    Fault(
        "links are relative to where a linked folder seems to be",
        "h36m/export/links.py",
        "os.path.relpath(target, os.path.realpath(folder))",
        "os.path.relpath(target, folder)",
        "test_export_runs.py::test_links_hold_where_a_folder_is_a_link_to_another_disk",
    ),
    Fault(
        "a folder of other origin is not recognized",
        "h36m/export/links.py",
        "if link.is_dir() and not is_link and not was_copied:",
        "if False:",
        "test_export_runs.py::test_a_folder_in_place_of_a_link_is_named_and_stays",
    ),
)


def main(words: list[str]) -> int:
    faults = [fault for fault in FAULTS if not words or any(word in fault.name for word in words)]
    if not faults:
        print("no fault has such a name")
        return 2
    try:
        with tempfile.TemporaryDirectory(prefix="h36m-mutations-") as folder:
            project = copy_that_passes(faults, Path(folder))
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                noticed = list(pool.map(partial(is_noticed, project), faults))
    except FaultTableError as error:
        print(error)
        return 2
    survivors = [fault for fault, was_noticed in zip(faults, noticed, strict=True) if not was_noticed]
    for fault in survivors:
        print(f"not noticed: {fault.name} ({fault.file}); expected to be noticed by {fault.tests}")
    print(f"{len(faults) - len(survivors)} of {len(faults)} faults noticed")
    return 1 if survivors else 0


def copy_that_passes(faults: list[Fault], folder: Path) -> Path:
    """Copy the project to a folder, run all the tests there, and return the copy.

    Raises:
        FaultTableError: a fault cannot be applied; or a test does not exist, or fails without any fault.
    """
    for fault in faults:
        text_with(fault)
    project = folder / "project"
    shutil.copytree(PROJECT, project, ignore=shutil.ignore_patterns(*NOT_COPIED))
    status, output = run_tests([test for fault in faults for test in fault.tests.split()], project)
    if status != PASSED:
        raise FaultTableError(f"the tests must pass without a fault, but pytest ended with {status}:\n{output}")
    return project


def is_noticed(project: Path, fault: Fault) -> bool:
    """Apply a fault to a copy of the project and return whether its tests fail there.

    Raises:
        FaultTableError: the tests do not run to a result.
    """
    copy = project.with_name(f"{FAULTS.index(fault)}")
    shutil.copytree(project, copy)  # with what Python has compiled there
    (copy / fault.file).write_text(text_with(fault), encoding="utf-8")
    status, output = run_tests(fault.tests.split(), copy)
    if status not in (PASSED, FAILED):
        raise FaultTableError(f"{fault.name}: pytest ended with {status}:\n{output}")
    shutil.rmtree(copy)
    return status == FAILED


def text_with(fault: Fault) -> str:
    """Return the text of a fault's file with the fault in it.

    Raises:
        FaultTableError: the file or its old text is gone, or occurs several times.
    """
    file = PROJECT / fault.file
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    if text.count(fault.old) != 1:
        raise FaultTableError(
            f"{fault.name}: expected once in {fault.file}, found {text.count(fault.old)} times: {fault.old}"
        )
    return text.replace(fault.old, fault.new)


def run_tests(tests: list[str], project: Path) -> tuple[int, str]:
    """Run tests, named by their paths below `tests/`, in a copy of the project; return pytest's exit status and output.

    A run that takes too long counts as one without a result.
    """
    paths = dict.fromkeys(f"tests/{test}" for test in tests)
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *paths],
            cwd=project,
            env={name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "PYTHON"))},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS_FOR_TESTS,
        )
    except subprocess.TimeoutExpired:
        return TIMED_OUT, f"no result after {SECONDS_FOR_TESTS} s"
    return ended.returncode, ended.stdout + ended.stderr


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
