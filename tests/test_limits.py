"""The scripts where the system gives few threads or open files, and under Python's profiler."""

import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.archives import small_release
from helpers.downloads import Downloads
from helpers.faulty_site import faulty_site
from helpers.scripts import PROJECT, environment_without_settings, finish, run_script, start_script

from h36m.dataset import BOXES, PART_LABELS

DOWNLOAD = "download_seg_mat_gt_pl.py"
NAMES = ("Segments_mat_gt_bb_S1", "Segments_mat_gt_pl_S1")
ONE_VIEW = ("--subjects", "S1", "--actions", "Walking-1", "--cameras", "54138969", "--no-segments", "--jobs", "2")
REMEDY = "; end other programs or raise the limits (ulimit -a)"

# pthread_create() fails as it does at a limit of threads or memory, while as many threads as THREADS says run.
FEW_THREADS = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
static int running;
struct call { void *(*work)(void *); void *argument; };
static void *run(void *given) {
    struct call call = *(struct call *)given;
    free(given);
    void *result = call.work(call.argument);
    __sync_fetch_and_sub(&running, 1);
    return result;
}
int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*work)(void *), void *argument) {
    int (*create)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *) = dlsym(RTLD_NEXT, "pthread_create");
    if (__sync_add_and_fetch(&running, 1) > atoi(getenv("THREADS"))) {
        __sync_fetch_and_sub(&running, 1);
        return EAGAIN;
    }
    struct call *call = malloc(sizeof *call);
    call->work = work;
    call->argument = argument;
    return create(thread, attributes, run, call);
}
"""


@pytest.fixture(scope="module")
def few_threads(tmp_path_factory) -> Path:
    """The library of FEW_THREADS, to be preloaded."""
    if sys.platform != "linux" or not shutil.which("gcc"):
        pytest.skip("no library can be compiled and preloaded here")
    folder = tmp_path_factory.mktemp("library")
    (folder / "few_threads.c").write_text(FEW_THREADS)
    command = ["gcc", "-shared", "-fPIC", "-o", "few_threads.so", "few_threads.c", "-ldl"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder / "few_threads.so"


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> Path:
    """Archives that several connections download."""
    folder = tmp_path_factory.mktemp("site")
    return small_release(folder, kinds=[BOXES, PART_LABELS], subjects=["S1"], size=3_000_000)


def assert_limit_is_named(ended, cause: str) -> None:
    assert ended.returncode == 1 and "Traceback" not in ended.text and "check BaseURL" not in ended.text, ended.text
    assert cause in ended.stderr.splitlines()[-1].lower(), ended.text


@pytest.mark.parametrize("threads", [0, 1])
def test_download_without_the_threads_it_needs_is_one_line(tmp_path, release, few_threads, threads):
    with faulty_site(release) as site:
        downloads = Downloads(tmp_path / "root", site)
        variables = {"LD_PRELOAD": str(few_threads), "THREADS": str(threads)}
        ended = downloads.run("--subjects", "S1", script=DOWNLOAD, **variables)
        assert_limit_is_named(ended, f"can't start new thread{REMEDY}")


@pytest.mark.parametrize("threads", [0, 1])
def test_unpacking_without_the_threads_it_needs_is_one_line(tmp_path, release, few_threads, threads):
    shutil.copytree(release, tmp_path / "archives")
    variables = {"LD_PRELOAD": str(few_threads), "THREADS": str(threads)}
    options = ("--root", tmp_path, "--subjects", "S1", "--kinds", BOXES, PART_LABELS, "--jobs", "4")
    ended = run_script("extract_all.py", *options, environment=variables)
    assert_limit_is_named(ended, f"can't start new thread{REMEDY}")


@pytest.mark.parametrize("threads", [0, 1])
def test_processing_without_the_threads_it_needs_is_one_line(root, few_threads, threads):
    variables = {"LD_PRELOAD": str(few_threads), "THREADS": str(threads)}
    ended = run_script("process_all.py", "--root", root, *ONE_VIEW, environment=variables)
    assert_limit_is_named(ended, f"s1 walking-1: can't start new thread{REMEDY}")
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize("limit", [8, 9, 10, 11])
def test_download_with_few_open_files_is_right_or_names_the_limit(tmp_path, release, limit):
    def set_limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

    with faulty_site(release) as site:
        downloads = Downloads(tmp_path / "root", site)
        options = downloads.options("--root", downloads.root, "--config", downloads.config, "--subjects", "S1")
        ended = finish(
            start_script(DOWNLOAD, *options, environment={"H36M_RETRY_SECONDS": "0.01"}, preexec_fn=set_limit)
        )
        if ended.returncode:
            assert_limit_is_named(ended, "too many open files")
        else:
            assert all(downloads.is_right(name) for name in NAMES)
        assert "check BaseURL" not in ended.text, "the site is not to blame"


# -- python -m cProfile ------------------------------------------------------------------------------------------------


def profiled(script: str, *options) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "cProfile", "-o", "/dev/null", PROJECT / script, *options]
    return subprocess.run(
        command, env=environment_without_settings(), capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.parametrize("script", [path.name for path in PROJECT.glob("*_*.py")])
def test_help_is_printed_under_the_profiler(script):
    ended = profiled(script, "--help")
    assert ended.stdout.startswith(f"usage: {script} ") and ended.stderr == ""


def test_scripts_run_under_the_profiler(root, release, tmp_path):
    options = ("--root", tmp_path, "--subjects", "S1", "--kinds", BOXES, PART_LABELS)
    with faulty_site(release) as site:
        downloads = Downloads(tmp_path, site)
        ended = profiled(DOWNLOAD, *downloads.options("--config", downloads.config, *options))
    assert ended.stderr == "" and "2 archives: 2 downloaded; " in ended.stdout
    ended = profiled("extract_all.py", *options)
    assert ended.stderr == "" and "2 of 2 archives unpacked" in ended.stdout
    ended = profiled("export_all.py", "videopose3d", "--root", root, "--subjects", "S1")
    assert "2 files (" in ended.stdout and "Traceback" not in ended.stderr


def test_workers_run_under_the_profiler(root):
    """They run functions of the script, which is not the main module that Python knows then."""
    ended = profiled("process_all.py", "--root", root, *ONE_VIEW)
    assert ended.stderr == "" and "frames of 1 view written" in ended.stdout
