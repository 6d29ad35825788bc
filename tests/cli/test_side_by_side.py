"""Steps side by side: their order, the time that is left, and what happens when one fails or a person stops them."""

from __future__ import annotations

import sys

import pytest

from fairbench.cli import side_by_side
from fairbench.cli.side_by_side import Command, Step, StepFailed, run_side_by_side


class Fake:
    """A command that takes some seconds of a clock that only `wait` moves."""

    def __init__(self, until, clock, step, code=0):
        self.until, self.clock, self.step, self.code, self.stopped = until, clock, step, code, False

    def poll(self):
        if self.clock["now"] < self.until:
            return None
        if self.code == 0:
            self.step.product.touch()
        return self.code

    def said(self):
        return "epoch 3 of 9" if self.code == 0 else "fairbench: the disk is full."

    def stop(self):
        self.stopped = True


def play(todo, seconds, workers, codes=None):
    clock, events, commands = {"now": 0.0}, [], []

    def launch(step):
        events.append((round(clock["now"]), step.name))
        commands.append(Fake(clock["now"] + seconds[step.name], clock, step, (codes or {}).get(step.name, 0)))
        return commands[-1]

    def wait(pause):
        clock["now"] += 1.0

    try:
        run_side_by_side(todo, launch, workers=workers, now=lambda: clock["now"], wait=wait)
    except StepFailed as error:
        return events, commands, error
    return events, commands, None


def story(tmp_path):
    """a and b are independent; c needs a; d needs b and c and is always made."""
    a, b, c, d = (tmp_path / name for name in "abcd")
    return [
        Step("a", ["a"], 10, a),
        Step("b", ["b"], 30, b),
        Step("c", ["c"], 10, c, (a,)),
        Step("d", ["d"], 5, d, (b, c), always=True),
    ]


def test_each_begins_when_what_it_needs_is_there_and_a_worker_is_free(tmp_path):
    events, _, error = play(story(tmp_path), {"a": 20, "b": 60, "c": 20, "d": 5}, workers=2)
    assert error is None
    assert events == [(0, "b"), (0, "a"), (20, "c"), (60, "d")]
    for step in story(tmp_path):
        step.product.unlink()
    events, _, _ = play(story(tmp_path), {"a": 20, "b": 60, "c": 20, "d": 5}, workers=1)
    assert events == [(0, "b"), (60, "a"), (80, "c"), (100, "d")]


def test_what_most_waits_for_begins_first(tmp_path):
    """The chain a, b (20 and 30 seconds) is longer than c (40): a begins first, though it is short and stands last."""
    a, b, c, d = (tmp_path / name for name in "abcd")
    todo = [Step("d", ["d"], 5, d), Step("c", ["c"], 40, c), Step("a", ["a"], 20, a), Step("b", ["b"], 30, b, (a,))]
    events, _, _ = play(todo, {"a": 20, "b": 30, "c": 40, "d": 5}, workers=1)
    assert events == [(0, "a"), (20, "c"), (60, "b"), (90, "d")]


def test_what_is_finished_is_not_run_again(tmp_path, capsys):
    for name in "abd":
        (tmp_path / name).touch()
    events, _, _ = play(story(tmp_path), {"c": 4, "d": 4}, workers=2)
    assert events == [(0, "c"), (4, "d")]
    assert capsys.readouterr().err.splitlines()[0] == "2 of 4 steps were finished before"


def test_the_time_left_is_that_of_the_waiting_and_running_work_at_the_speed_so_far(tmp_path, capsys):
    """a has weight 10 and takes 20 s: everything takes twice its weight.

    Then b (30) has run 20 of its 60 s, c (10) and d (5) wait: (40 + 20 + 10) / 2 workers = 35 s, but b alone needs 40.
    Ten seconds later b needs 30 s, c 10, d 10: 25 s on two workers, and b alone 30.
    """
    play(story(tmp_path), {"a": 20, "b": 60, "c": 20, "d": 5}, workers=2)
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "[2/4] estimating the time left: fairbench b"
    assert told[1] == "[1/4] estimating the time left: fairbench a"
    assert told[2] == "estimating the time left (b: epoch 3 of 9; a: epoch 3 of 9)"
    assert "[3/4] about 0:40 left: fairbench c" in told
    assert "about 0:30 left (b: epoch 3 of 9; c: epoch 3 of 9)" in told


def test_the_first_failure_stops_the_others_and_is_told_in_its_own_words(tmp_path):
    events, commands, error = play(story(tmp_path), {"a": 5, "b": 60, "c": 5}, workers=2, codes={"a": 74})
    assert events == [(0, "b"), (0, "a")]
    assert error is not None
    assert str(error) == "the disk is full."
    assert error.exit_code == 74
    assert [command.stopped for command in commands] == [True, False]


def test_an_interruption_stops_what_runs(tmp_path):
    started = []

    def launch(step):
        started.append(Fake(100, {"now": 0.0}, step))
        return started[-1]

    def press(pause):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_side_by_side(story(tmp_path), launch, workers=2, wait=press)
    assert [command.stopped for command in started] == [True, True]


def test_a_command_is_a_process_with_one_thread_whose_last_line_is_known(tmp_path, monkeypatch):
    program = "import os, sys; print('first\\nthreads', os.environ['OMP_NUM_THREADS'], file=sys.stderr); sys.exit(3)"
    real = side_by_side.subprocess.Popen
    monkeypatch.setattr(
        side_by_side.subprocess, "Popen", lambda command, **options: real([sys.executable, "-c", program], **options)
    )
    command = Command(["list"], tmp_path / "log")
    while command.poll() is None:
        pass
    assert command.poll() == 3
    assert command.said() == "threads 1"
    command.stop()
