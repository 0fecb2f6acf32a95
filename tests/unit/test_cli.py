"""h36m/cli.py function by function: numbers in messages, options, and the exit status of a script."""

import argparse
import errno
import io
import signal
import sys
from pathlib import Path

import pytest
from helpers.processes import SLEEP
from helpers.scripts import PROJECT, finish, start_script

from h36m.cli import STOP_SIGNALS, argument_parser, positive_integer, run
from h36m.dataset import SUBJECTS_WITH_GROUND_TRUTH
from h36m.errors import TaskError, UsageError
from h36m.progress import count_of, is_or_are, speaker


@pytest.mark.parametrize(
    ("count", "text", "verb"), [(0, "0 archives", "are"), (1, "1 archive", "is"), (2, "2 archives", "are")]
)
def test_counts_have_their_noun_and_verb_in_the_right_number(count, text, verb):
    assert (count_of(count, "archive"), is_or_are(count)) == (text, verb)


@pytest.mark.parametrize(("text", "number"), [("1", 1), ("007", 7), ("12345678901234567890", 12345678901234567890)])
def test_positive_integers_are_read(text, number):
    assert positive_integer(text) == number


@pytest.mark.parametrize("text", ["", "0", "00", "-1", "1.0", "1e3", " 1", "²"])
def test_other_texts_are_no_positive_integers(text):
    with pytest.raises(argparse.ArgumentTypeError):
        positive_integer(text)


def test_quiet_speaker_prints_nothing(capsys):
    speaker(quiet=True)("a line")
    assert capsys.readouterr() == ("", "")
    speaker(quiet=False)("a line")
    assert capsys.readouterr() == ("a line\n", "")


def test_path_that_the_terminal_cannot_show_is_printed(status_of, monkeypatch):
    """As in LC_ALL=C, or where a folder's name is not UTF-8."""
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    assert status_of(lambda arguments: speaker(quiet=False)("donn\xe9es \udce9") or []) == 0
    assert terminal.buffer.getvalue() == b"donn\\xe9es \\udce9\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_full_disk_of_a_log_is_no_error_of_the_run(status_of, monkeypatch):
    with Path("/dev/full").open("w") as log:
        monkeypatch.setattr(sys, "stdout", log)
        assert status_of(lambda arguments: speaker(quiet=False)("a line") or []) == 0


def test_options_that_all_scripts_take_have_their_defaults():
    arguments = argument_parser("words").parse_args([])
    assert arguments.subjects == list(SUBJECTS_WITH_GROUND_TRUTH) and str(arguments.root) == "."
    assert not arguments.quiet and not arguments.debug


@pytest.fixture
def status_of(monkeypatch, tmp_path):
    """A function that runs a `main` as a script does, and returns its exit status."""
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}

    def status_of(main, *options):
        monkeypatch.setattr(sys, "argv", ["a_script.py", "--root", str(tmp_path), *options])
        with pytest.raises(SystemExit) as ended:
            run(main, argument_parser("words"))
        return ended.value.code

    yield status_of
    for number, handler in before.items():
        signal.signal(number, handler)


def raising(error):
    def main(arguments):
        raise error

    return main


def test_problems_exit_1_and_are_the_last_lines(status_of, capsys):
    assert status_of(lambda arguments: ["one problem", "another"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(": ")[2] for line in lines] == ["one problem", "another"]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UsageError("words"), 2),
        (TaskError("words"), 1),
        (OSError("words"), 1),
        (KeyboardInterrupt(), 130),
    ],
    ids=repr,
)
def test_errors_exit_with_their_status_in_one_line(status_of, capsys, error, status):
    assert status_of(raising(error)) == status
    output, errors = capsys.readouterr()
    assert output == "" and errors.count("\n") == 1 and "Traceback" not in errors
    assert isinstance(error, KeyboardInterrupt) or "words" in errors


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (RuntimeError("can't start new thread"), "can't start new thread"),
        (MemoryError(), "out of memory"),
        (MemoryError("Unable to allocate 3. GiB"), "Unable to allocate 3. GiB"),
        (OSError(errno.EMFILE, "Too many open files", "a/b"), "a/b: Too many open files"),
        (OSError(errno.ENFILE, "Too many open files in system"), "Too many open files in system"),
    ],
    ids=repr,
)
def test_limit_of_the_machine_is_one_line_with_its_remedy(status_of, capsys, error, cause):
    assert status_of(raising(error)) == 1
    line = f"a_script.py: {cause}; end other programs or raise the limits (ulimit -a)\n"
    assert capsys.readouterr() == ("", line)


def test_other_runtime_errors_are_bugs(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["a_script.py"])
    with pytest.raises(RuntimeError, match="words"):
        run(raising(RuntimeError("words")), argument_parser("words"))


def test_debug_shows_the_traceback_and_ends_with_the_line(status_of, capsys):
    assert status_of(raising(TaskError("words")), "--debug") == 1
    errors = capsys.readouterr().err
    assert errors.startswith("Traceback") and errors.splitlines()[-1].endswith(": words")


def test_root_that_does_not_exist_exits_2_before_anything_is_done(status_of, tmp_path, capsys):
    main = raising(AssertionError("main was called"))
    assert status_of(main, "--root", str(tmp_path / "nowhere")) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_other_stops_end_a_run_as_ctrl_c_does(status_of, name):
    assert status_of(lambda arguments: signal.raise_signal(signal.Signals[name])) == 130


SCRIPT = f"""
import atexit, sys
sys.path.insert(0, {str(PROJECT)!r})
from h36m.cli import argument_parser, run

def sleep(arguments=None):
    {SLEEP}
    return []

"""
RUN_SLEEPS = 'run(sleep, argument_parser("words"))'
PYTHON_SLEEPS_AT_ITS_END = 'atexit.register(sleep)\nrun(lambda arguments: ["a problem"], argument_parser("words"))'


@pytest.mark.parametrize(
    ("code", "number", "status", "errors"),
    [
        (RUN_SLEEPS, signal.SIGINT, 130, "a_script.py: interrupted; run again to resume\n"),
        (RUN_SLEEPS, signal.SIGTERM, 130, "a_script.py: interrupted; run again to resume\n"),
        (PYTHON_SLEEPS_AT_ITS_END, signal.SIGINT, -signal.SIGINT, "a_script.py: a problem\n"),
    ],
)
def test_a_stop_ends_a_run_without_a_traceback(tmp_path, code, number, status, errors):
    script = tmp_path / "a_script.py"
    script.write_text(SCRIPT + code)
    process = start_script(script)
    assert process.stdout.readline() == "sleeps\n"
    process.send_signal(number)
    ended = finish(process, 20)
    assert (ended.returncode, ended.stderr) == (status, errors)


@pytest.mark.parametrize("name", ["SIGHUP", "SIGINT"])
def test_run_started_with_a_stop_ignored_goes_on(status_of, name):
    """As under nohup, and in the background of a shell script."""
    signal.signal(signal.Signals[name], signal.SIG_IGN)
    assert status_of(lambda arguments: signal.raise_signal(signal.Signals[name]) or []) == 0
