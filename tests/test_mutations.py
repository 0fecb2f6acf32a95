"""tests/mutations.py: each of its faults is noticed, and it reports one that is not."""

import subprocess
import sys

import mutations
import pytest
from helpers.scripts import PROJECT


@pytest.mark.slow
def test_each_small_fault_is_noticed():
    command = [sys.executable, PROJECT / "tests" / "mutations.py"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=1200)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_each_fault_can_be_applied_to_the_code_as_it_is():
    assert len(mutations.FAULTS) >= 30 and len({fault.name for fault in mutations.FAULTS}) == len(mutations.FAULTS)
    for fault in mutations.FAULTS:
        assert mutations.text_with(fault) != (PROJECT / fault.file).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"old": "no such text"}, "found 0 times"),
        ({"old": "    "}, "found "),
        ({"file": "h36m/no_such_file.py"}, "found 0 times"),
    ],
    ids=["text", "indentation", "file"],
)
def test_fault_that_does_not_fit_any_more_exits_2(monkeypatch, capsys, change, words):
    monkeypatch.setattr(mutations, "FAULTS", [mutations.FAULTS[0]._replace(**change)])
    assert mutations.main([]) == 2
    assert words in capsys.readouterr().out


@pytest.mark.slow
def test_fault_that_no_test_notices_exits_1(monkeypatch, capsys):
    """The first fault, and tests that have nothing to do with it."""
    fault = mutations.FAULTS[0]._replace(tests="unit/test_cli.py::test_quiet_speaker_prints_nothing")
    monkeypatch.setattr(mutations, "FAULTS", [fault])
    assert mutations.main([]) == 1
    assert capsys.readouterr().out.startswith(f"not noticed: {fault.name}")


@pytest.mark.slow
def test_fault_whose_test_does_not_exist_exits_2(monkeypatch, capsys):
    fault = mutations.FAULTS[0]._replace(tests="unit/test_cli.py::test_no_such_test")
    monkeypatch.setattr(mutations, "FAULTS", [fault])
    assert mutations.main([]) == 2
    assert "must pass without a fault" in capsys.readouterr().out
