"""Cookie and password: where they may appear, that they appear nowhere else, and where they are read from."""

import contextlib
import os
import select
import shlex
import stat
import subprocess
import sys
import threading
import time

import pytest
from helpers.archives import small_release
from helpers.downloads import QUICK, Downloads
from helpers.faulty_site import PASSWORD, USERNAME, faulty_site, made_certificate
from helpers.marks import BOTH, slow
from helpers.processes import command_lines
from helpers.scripts import PROJECT, environment_without_settings

from h36m.dataset import BOXES, PART_LABELS

SCRIPT = "download_seg_mat_gt_pl.py"
NAMES = ("Segments_mat_gt_bb_S1", "Segments_mat_gt_pl_S1")


@pytest.fixture
def release(tmp_path):
    return small_release(tmp_path / "site", kinds=[BOXES, PART_LABELS], subjects=["S1"], size=300_000)


def cookies(site) -> set[str]:
    """Return all cookies that were ever sent to a site."""
    return {request.cookie.removeprefix("PHPSESSID=") for request in site.requests if request.cookie}


@contextlib.contextmanager
def command_lines_seen():
    """Collect the command lines of all processes of the machine, as `ps` shows them, while the `with` block runs."""
    seen, is_over = set(), threading.Event()

    def look() -> None:
        while not is_over.is_set():
            seen.update(map(tuple, command_lines().values()))
            time.sleep(0.005)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        is_over.set()
        thread.join()


def assert_secrets_are_in_the_configuration_only(downloads: Downloads, secrets: set[str], text: str) -> None:
    """Neither what was printed nor any file has them, `config.ini` aside, which is its owner's alone."""
    assert len(secrets) > 1 and all(len(secret) > 5 for secret in secrets)
    assert [secret for secret in secrets if secret in text] == []
    for path in downloads.root.rglob("*"):
        if path.is_file() and any(secret.encode() in path.read_bytes() for secret in secrets):
            assert path == downloads.config and stat.S_IMODE(path.stat().st_mode) == 0o600, path


@BOTH
@pytest.mark.parametrize("ending", ["well", slow("badly")])
def test_cookie_and_password_are_seen_nowhere(tmp_path, release, downloader, ending):
    """In `ps` axel shows the cookie, for it takes none in another way; never the password."""

    def plan(request):
        if request.is_archive and request.number in (2, 5):
            return "session dies under it"
        if request.is_archive and ending == "badly":
            return "reset" if request.number < 5 else "500"
        return "slow" if request.is_archive else None

    with faulty_site(release, plan) as site, command_lines_seen() as lines:
        site.bytes_per_second = 1_000_000
        downloads = Downloads(tmp_path / "root", site, downloader, PHPSESSID="deadbeefdeadbeef")
        downloads.config.chmod(0o644)
        ended = downloads.run("--subjects", "S1", "--debug", script=SCRIPT)
        assert ended.returncode == (ending == "badly"), ended.text
        secrets = {PASSWORD, *cookies(site)}
        assert "deadbeefdeadbeef" in secrets and len(secrets) > 2
        assert_secrets_are_in_the_configuration_only(downloads, secrets, ended.text)
        shown = [words for words in lines if any(secret in " ".join(words) for secret in secrets)]
        assert all(words[0] == "axel" and PASSWORD not in " ".join(words) for words in shown)
        assert bool(shown) == (downloader == "axel")
        own = [words for words in lines if SCRIPT in " ".join(words) and str(release) in " ".join(words)]
        assert own, "the run's own command line was looked at"


@pytest.mark.parametrize(
    "configuration, fault",
    [
        ({"Password": "not the right one"}, None),
        ({"BaseURL": "https://no-such-host.invalid/"}, None),
        ({"BaseURL": "not an address"}, None),
        ({"PHPSESSID": "half a=cookie; path=/"}, None),
        ({}, "echo"),
        ({}, "disconnect"),
    ],
)
def test_no_error_shows_a_secret_not_even_with_debug(tmp_path, release, configuration, fault):
    with faulty_site(release, lambda request: fault) as site:
        downloads = Downloads(tmp_path / "root", site, **({"PHPSESSID": "deadbeefdeadbeef"} | configuration))
        secrets = {"deadbeefdeadbeef", PASSWORD, *configuration.values()} - {configuration.get("BaseURL")}
        ended = downloads.run("--subjects", "S1", "--debug", script=SCRIPT)
        secrets |= cookies(site)
        assert ended.returncode in (0, 1, 2)
        assert ended.returncode != 0 or "PHPSESSID" in configuration, "the fault has come about"
        assert_secrets_are_in_the_configuration_only(downloads, secrets, ended.text)


def test_page_of_the_site_that_quotes_a_secret_is_not_quoted(tmp_path, release, monkeypatch):
    """One page has the session, another one the password, within which the quotation ends."""

    def plan(request):
        return {f"{NAMES[0]}.tgz": "echo", f"{NAMES[1]}.tgz": "login page"}.get(request.archive)

    page = f"<html>{'x' * 50} {PASSWORD}</html>"
    monkeypatch.setattr("helpers.faulty_site.LOGIN_PAGE", page.encode())
    with faulty_site(release, plan) as site:
        ended = Downloads(tmp_path / "root", site).run("--subjects", "S1", script=SCRIPT)
        assert ended.returncode == 1 and ended.stderr.count("its text contains a secret") == 2, ended.text
        assert all(secret[:6] not in ended.text for secret in (PASSWORD, *cookies(site)))


@BOTH
@pytest.mark.parametrize("is_cut", [False, True], ids=["at once", "within an archive"])
def test_the_cookie_does_not_follow_a_redirect_to_another_host(tmp_path, release, downloader, is_cut):
    def plan(request):
        if not request.is_archive or (is_cut and request.is_by_axel != (downloader == "axel")):
            return None
        return "cut" if is_cut and request.number == 1 else "other host"

    with faulty_site(release, plan) as site, faulty_site(release) as other:
        site.other_host, other.needs_login = other.base_url, False
        downloads = Downloads(tmp_path / "root", site, downloader)
        ended = downloads.run("--subjects", "S1", script=SCRIPT)
        assert ended.returncode == 0 and all(downloads.is_right(name) for name in NAMES), ended.text
        assert sum(request.fault == "other host" for request in site.requests) >= 2
        assert is_cut or len(other.requests) >= 2
        assert cookies(site) and cookies(other) == set()
        assert all(PASSWORD not in request.body for request in other.requests)


def test_the_login_page_of_another_host_gets_no_password(tmp_path, release):
    def plan(request):
        return "other host" if request.page in ("checklogin.php", "") else None

    with faulty_site(release, plan) as site, faulty_site(release) as other:
        site.other_host = other.base_url
        downloads = Downloads(tmp_path / "root", site, PHPSESSID="deadbeefdeadbeef")
        ended = downloads.run("--subjects", "S1", script=SCRIPT)
        assert ended.returncode in (1, 2) and len(ended.stderr.splitlines()) == 1
        assert sum(request.fault == "other host" for request in site.requests) >= 1
        assert all((request.body, request.cookie) == ("", None) for request in other.requests)


@BOTH
def test_redirect_to_https_sends_secrets_encrypted_only(tmp_path, release, downloader):
    tls, certificate = made_certificate(tmp_path)
    with faulty_site(release, tls=tls) as site:
        plain = site.base_url.replace("https://", "http://")
        downloads = Downloads(tmp_path / "root", site, downloader, BaseURL=plain)
        ended = downloads.run("--subjects", "S1", script=SCRIPT, REQUESTS_CA_BUNDLE=str(certificate))
        assert ended.returncode == 0 and all(downloads.is_right(name) for name in NAMES), ended.text
        open_ones = [request for request in site.requests if not request.is_encrypted]
        assert len(open_ones) == 1 and (open_ones[0].body, open_ones[0].cookie) == ("", None)


# -- config.ini ------------------------------------------------------------------------------------------------------


def test_the_environment_goes_before_the_file(tmp_path, release):
    with faulty_site(release) as site:
        wrong = {"Username": "someone.else@example.org", "Password": "wrong", "PHPSESSID": "deadinthefile"}
        downloads = Downloads(tmp_path / "root", site, **wrong)
        live = site.log_in()
        ended = downloads.run("--subjects", "S1", script=SCRIPT, H36M_PHPSESSID=live)
        assert ended.returncode == 0 and cookies(site) == {live}, ended.text
        assert live not in downloads.config.read_text(), "a session of the environment is not written to the file"

        for name in NAMES:
            (downloads.archives / f"{name}.tgz").unlink()
        site.sessions.clear()
        site.requests.clear()
        variables = {"H36M_PHPSESSID": "deadinenvironment", "H36M_USERNAME": USERNAME, "H36M_PASSWORD": PASSWORD}
        ended = downloads.run("--subjects", "S1", script=SCRIPT, **variables)
        assert ended.returncode == 0, ended.text
        tried = list(dict.fromkeys(request.cookie for request in site.requests if request.cookie))
        assert tried[:2] == ["PHPSESSID=deadinenvironment", "PHPSESSID=deadinthefile"]
        assert PASSWORD not in downloads.config.read_text() and USERNAME not in downloads.config.read_text()
        assert tried[-1].replace("=", " = ") in downloads.config.read_text(), "the session is saved"


def test_without_user_name_and_terminal_the_run_exits_2(tmp_path, release):
    with faulty_site(release) as site:
        for missing in ("Username", "Password"):
            downloads = Downloads(tmp_path / missing, site, **{missing: ""})
            ended = downloads.run("--subjects", "S1", script=SCRIPT)
            assert ended.returncode == 2 and len(ended.stderr.splitlines()) == 1, ended.text
            assert "H36M_USERNAME" in ended.stderr and "config.ini" in ended.stderr
        assert all(request.page != "checklogin.php" for request in site.requests)


# Runs a command at a terminal of its own, whose screen is this process's standard output and whose keys are its input.
AT_A_TERMINAL = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"


class Terminal:
    """A script at a terminal."""

    def __init__(self, downloads: Downloads, script: str = SCRIPT, redirection: str = ""):
        words = [sys.executable, PROJECT / script, "--subjects", "S1", *downloads.options()]
        command = f"trap : INT; {shlex.join(map(str, words))}{redirection}; status=$?; stty -a; exit $status"
        self.process = subprocess.Popen(
            [sys.executable, "-c", AT_A_TERMINAL, "sh", "-c", command],
            cwd=downloads.root,
            env=environment_without_settings(**QUICK, TERM="dumb"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.screen = ""

    def wait_for(self, text: str) -> None:
        screen = self.process.stdout.fileno()
        while text not in self.screen:
            is_written_to, _, _ = select.select([screen], [], [], 30)
            piece = os.read(screen, 1024).decode() if is_written_to else ""
            if not piece:
                self.process.kill()  # closes the terminal, which ends the script
                pytest.fail(f"{text!r} did not appear:\n{self.screen}")
            self.screen += piece

    def type(self, text: str) -> None:
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def answer_both_questions(self) -> None:
        self.wait_for("E-mail registered with")
        self.type(f"{USERNAME}\n")
        self.wait_for("Password at")
        self.type(f"{PASSWORD}\n")

    def finish(self) -> int:
        output, _ = self.process.communicate(timeout=60)
        self.screen += output.decode()
        return self.process.returncode


def test_what_is_missing_is_asked_for_at_a_terminal_the_password_unseen(tmp_path, release):
    """Also where the output goes to a file."""
    with faulty_site(release) as site:
        downloads = Downloads(tmp_path / "root", site, Username="", Password="")
        terminal = Terminal(downloads, redirection=" > log.txt")
        terminal.answer_both_questions()
        assert terminal.finish() == 0, terminal.screen
        assert USERNAME in terminal.screen and PASSWORD not in terminal.screen
        assert "2 downloaded" in (downloads.root / "log.txt").read_text()
        assert PASSWORD not in downloads.config.read_text(), "what was typed is not kept; the session is"
        (session,) = site.sessions
        assert f"PHPSESSID = {session}" in downloads.config.read_text()


def test_only_the_password_is_asked_for_where_the_file_has_the_user_name(tmp_path, release):
    with faulty_site(release) as site:
        terminal = Terminal(Downloads(tmp_path / "root", site, Password=""))
        terminal.wait_for("Password at")
        assert "E-mail" not in terminal.screen
        for number in (1, 2, 3):  # asked for three times
            terminal.screen = terminal.screen.replace("Password at", "")
            terminal.type("the wrong one\n")
            terminal.wait_for("Password at" if number < 3 else "wrong user name or password; check")
        assert terminal.finish() == 2 and "the wrong one" not in terminal.screen


@pytest.mark.parametrize(
    "key, status, missing",
    [("\x04", 2, "Username"), ("\x03", 130, "Username"), ("\x03", 130, "Password")],
    ids=["Ctrl-D", "Ctrl-C", "Ctrl-C, unseen"],
)
def test_a_question_that_is_not_answered_ends_the_run_in_one_line(tmp_path, release, key, status, missing):
    with faulty_site(release) as site:
        terminal = Terminal(Downloads(tmp_path / "root", site, **{missing: ""}))
        terminal.wait_for("E-mail registered with" if missing == "Username" else "Password at")
        # Nobody answers faster. Python notices a Ctrl-C that comes just before input() reads only at the next key.
        time.sleep(0.3)
        terminal.type(key)
        assert terminal.finish() == status, terminal.screen
        assert "Traceback" not in terminal.screen and terminal.screen.count("download_seg_mat_gt_pl.py: ") == 1


def test_a_session_that_ends_meanwhile_is_asked_about_at_a_terminal(tmp_path, release):
    def plan(request):
        return "session ends" if request.archive == f"{NAMES[1]}.tgz" and request.number == 1 else None

    with faulty_site(release, plan) as site:
        downloads = Downloads(tmp_path / "root", site, Username="", Password="", PHPSESSID=site.log_in())
        terminal = Terminal(downloads)
        terminal.answer_both_questions()
        assert terminal.finish() == 0, terminal.screen
        assert all(downloads.is_right(name) for name in NAMES) and PASSWORD not in terminal.screen
        assert "you will be prompted for them when the session expires" in terminal.screen


@pytest.mark.slow
def test_ctrl_c_at_the_question_of_a_thread_restores_the_terminal(tmp_path, release):
    """The question is about a session that expired during the run."""

    def plan(request):
        return "session ends" if request.is_archive and request.number == 1 else None

    with faulty_site(release, plan) as site:
        downloads = Downloads(tmp_path / "root", site, Password="", PHPSESSID=site.log_in())
        terminal = Terminal(downloads)
        terminal.wait_for("Password at")
        terminal.type("\x03")
        assert terminal.finish() == 130, terminal.screen
        assert "Traceback" not in terminal.screen and "Fatal" not in terminal.screen
        # stty, which ran last, tells the speed first.
        assert " echo " in terminal.screen.partition("speed")[2], "what is typed next is seen again"
