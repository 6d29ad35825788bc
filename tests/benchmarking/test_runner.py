"""Running jobs: order, failures, other calls in the same folder, interruption. A tiny program stands for fairbench."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from fairbench.benchmarking.plan import Job
from fairbench.benchmarking.runner import Ending, Runner, worst_code
from fairbench.progress import Silent

#: NAME SECONDS CODE --device D: notes its start and end; code 70 has a traceback, -9 kills itself.
PROGRAM = """
import os, signal, sys, time
name, seconds, code = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
def note(word):
    with open("notes.txt", "a") as file:
        file.write(f"{word} {name} {sys.argv[5]} {os.environ['OMP_NUM_THREADS']}\\n")
note("begin")
try:
    time.sleep(seconds)
except KeyboardInterrupt:
    note("interrupted")
    sys.exit(130)
note("end")
if code == 70:
    print("Traceback", "ValueError: a wrong sign", "fairbench: internal error: report it.", sep="\\n", file=sys.stderr)
elif code == -9:
    os.kill(os.getpid(), signal.SIGKILL)
elif code:
    print("fairbench: the loss became nan.", file=sys.stderr)
sys.exit(code)
"""


def job(key, *, seconds=0.0, code=0, needs=()):
    return Job(key, ((key, str(seconds), str(code)),), tuple(needs))


@pytest.fixture
def runner(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "program.py").write_text(PROGRAM)

    def make(devices=("cpu",), done=()):
        command = (sys.executable, str(tmp_path / "program.py"))
        return Runner(tmp_path, lambda key: key in done, devices, Silent(), command)

    return make


def notes(tmp_path):
    path = tmp_path / "notes.txt"
    return [tuple(line.split()) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_failure_stops_those_that_need_it_and_no_other(runner, tmp_path):
    jobs = [
        job("teacher", code=2),
        job("student", needs=["teacher"]),
        job("sat"),
        job("bug", code=70),
        job("oom", code=-9),
    ]
    ended = runner().run(jobs)
    assert ended == {
        "teacher": Ending(2, "the loss became nan."),
        "student": Ending(2, "teacher failed: the loss became nan."),
        "sat": Ending(0),
        "bug": Ending(70, "internal error, ValueError: a wrong sign"),
        "oom": Ending(70, "its process was ended by signal 9"),
    }
    assert worst_code(list(ended.values())) == 70
    assert worst_code([Ending(0), Ending(0)]) == 0
    assert not [note for note in notes(tmp_path) if note[1] == "student"]
    assert "$ " in (tmp_path / "logs" / "sat.txt").read_text()


def test_a_student_waits_for_its_teacher_while_others_run(runner, tmp_path):
    jobs = [job("teacher", seconds=0.6), job("student", needs=["teacher"]), job("sat")]
    runner(["cuda:0", "cuda:1"]).run(jobs)
    words = [(word, name) for word, name, _, _ in notes(tmp_path)]
    assert words.index(("begin", "student")) > words.index(("end", "teacher")) > words.index(("begin", "sat"))
    assert {device for _, _, device, _ in notes(tmp_path)} == {"cuda:0", "cuda:1"}
    assert {threads for *_, threads in notes(tmp_path)} == {"1"}


def test_what_is_done_is_not_run(runner, tmp_path):
    assert runner(done=("sat",)).run([job("sat"), job("trades")]) == {"sat": Ending(0), "trades": Ending(0)}
    assert {name for _, name, _, _ in notes(tmp_path)} == {"trades"}


def test_a_job_that_another_call_holds_is_left_to_it(runner, tmp_path, monkeypatch):
    """Held at first, then finished by the other call: never run here; the other jobs do not wait for it."""
    monkeypatch.setattr("fairbench.benchmarking.runner._LOOK_AGAIN", 0.2)
    (tmp_path / "locks").mkdir()
    done = []
    with (tmp_path / "locks" / "sat.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        one = runner()
        one.is_done = lambda key: key in done
        thread = threading.Thread(target=one.run, args=([job("sat"), job("trades")],))
        thread.start()
        deadline = time.monotonic() + 30
        while "trades" not in one.ended and time.monotonic() < deadline:
            time.sleep(0.05)
        assert one.ended == {"trades": Ending(0)}
        done.append("sat")
    thread.join(30)
    assert one.ended["sat"] == Ending(0)
    assert {name for _, name, _, _ in notes(tmp_path)} == {"trades"}


def test_ctrl_c_reaches_every_process_and_starts_none(runner, tmp_path):
    code = (
        "import sys\nfrom pathlib import Path\nfrom fairbench.benchmarking.plan import Job\n"
        "from fairbench.benchmarking.runner import Runner\nfrom fairbench.progress import Silent\n"
        "jobs = [Job(k, ((k, '60', '0'),)) for k in 'abc']\n"
        "Runner(Path('.'), lambda key: False, ['cpu', 'cpu'], Silent(), (sys.executable, 'program.py')).run(jobs)\n"
    )
    runner()
    for number in (signal.SIGINT, signal.SIGTERM):
        (tmp_path / "notes.txt").unlink(missing_ok=True)
        whole = subprocess.Popen(
            [sys.executable, "-c", code], cwd=tmp_path, stderr=subprocess.PIPE, env=dict(os.environ)
        )
        deadline = time.monotonic() + 240
        while len(notes(tmp_path)) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        whole.send_signal(number)
        _, said = whole.communicate(timeout=240)
        assert b"KeyboardInterrupt" in said
        found = sorted((word, name) for word, name, _, _ in notes(tmp_path))
        assert found == [("begin", "a"), ("begin", "b"), ("interrupted", "a"), ("interrupted", "b")]


def test_an_error_of_the_runner_itself_is_not_swallowed(runner):
    def broken(key):
        raise OSError("the disk is gone")

    one = runner(["cpu", "cpu"])
    one.is_done = broken
    with pytest.raises(OSError, match="the disk is gone"):
        one.run([job("sat"), job("trades")])
