"""Imports: what the user's settings change, and Ctrl-C and errors meanwhile."""

import ast
import os
import shutil
import signal
import subprocess
import sys

import pytest
from helpers.marks import needs_proc
from helpers.processes import SLEEP
from helpers.scripts import PROJECT, environment_without_settings, finish, start_script

SCRIPTS = sorted(path.name for path in PROJECT.glob("*.py"))
# What a notebook, a cluster or a wrong setting may leave in the environment.
VARIABLES = {"MPLBACKEND": "module://no.such", "SPACEPY": "/dev/null/x", "CDF_LIB": "/no/such", "CDF_TMP": "/no/such"}


def test_cdf_library_is_spacepys_and_matplotlib_is_not_imported():
    """Whatever the user's variables say; they are as before when it is imported."""
    script = (
        "import os, sys; before = dict(os.environ); from h36m.files.cdf import pycdf\n"
        "changed = {name for name in {*before, *os.environ} if before.get(name) != os.environ.get(name)}\n"
        "print(changed, 'matplotlib' in sys.modules, 'site-packages' in pycdf.lib.libpath)"
    )
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        cwd=PROJECT,
        env=dict(os.environ) | VARIABLES,
        capture_output=True,
        text=True,
    )
    assert (ended.stdout, ended.stderr) == ("{'CDF_TMP'} False True\n", "")


@needs_proc
@pytest.mark.parametrize("module", ["process_all", "export_all"])
def test_importing_starts_no_thread_of_numpys(module):
    code = f"import {module}, os, sys; print('numpy' in sys.modules, len(os.listdir('/proc/self/task')))"
    environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True)
    assert ended.stdout == "True 1\n", ended.stderr


@pytest.mark.parametrize("script", SCRIPTS)
def test_ctrl_c_during_imports_is_one_line(tmp_path, script):
    (tmp_path / "tqdm.py").write_text(SLEEP)
    process = start_script(script, environment={"PYTHONPATH": str(tmp_path)})
    assert process.stdout.readline() == "sleeps\n"
    process.send_signal(signal.SIGINT)
    ended = finish(process)
    assert (ended.returncode, ended.stderr) == (-signal.SIGINT, f"{script}: interrupted\n")  # 130 in a shell


@pytest.mark.parametrize("script", SCRIPTS)
def test_missing_package_is_one_line_with_its_remedy(tmp_path, script):
    """Python without its site has none of the packages, as when the virtual environment is not activated."""
    shutil.copytree(PROJECT / "h36m", tmp_path / "h36m")
    copy = shutil.copy(PROJECT / script, tmp_path)
    for remedy in ("run pip install -r requirements.lock, ", f"activate the virtual environment: . {tmp_path}/.venv/"):
        command = [sys.executable, "-S", copy]
        ended = subprocess.run(command, env=environment_without_settings(), capture_output=True, text=True)
        assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1), ended.stderr
        assert ended.stderr.startswith(f"{script}: No module named ") and f"; {remedy}" in ended.stderr
        (tmp_path / ".venv").mkdir(exist_ok=True)


@pytest.mark.parametrize("script", SCRIPTS)
def test_old_python_is_one_line(script):
    """The script and the package can be parsed by Python 3.6, and the package is imported before anything else."""
    for file in (PROJECT / script, PROJECT / "h36m" / "__init__.py"):
        parsed = ast.parse(file.read_text(encoding="utf-8"), feature_version=(3, 6))
        first = next(node for node in parsed.body if isinstance(node, ast.Import | ast.ImportFrom))
        assert file.stem == "__init__" or ast.unparse(first) == "import h36m"
    code = "import runpy, sys; sys.version_info = (3, 9); runpy.run_path(sys.argv[1], run_name='__main__')"
    ended = subprocess.run([sys.executable, "-c", code, PROJECT / script], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1), ended.stderr
    assert ended.stderr.startswith(f"{script}: Python ") and "use Python 3.10 or newer" in ended.stderr


def test_other_errors_during_imports_have_their_traceback(tmp_path):
    (tmp_path / "tqdm.py").write_text("1 / 0")
    ended = finish(start_script("process_all.py", environment={"PYTHONPATH": str(tmp_path)}))
    assert ended.returncode == 1 and ended.stderr.startswith("Traceback") and "ZeroDivisionError" in ended.stderr
