from __future__ import annotations

import errno
import os
import subprocess
import sys

import click
import pytest

import fairbench
from fairbench.cli import COMMANDS, _Commands, run
from fairbench.errors import NotComparable, Refused, WriteFailed


def test_version_and_module_entry_agree(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert fairbench.__version__ in capsys.readouterr().out
    out = subprocess.run([sys.executable, "-m", "fairbench", "--version"], capture_output=True, text=True, check=True)
    assert fairbench.__version__ in out.stdout


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([name, "--help"]) == 0
    assert "Usage" in capsys.readouterr().out


def test_an_unknown_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evall"]) == 2
    error = capsys.readouterr().err
    assert "Did you mean 'eval'?" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (NotComparable("runs a and b differ."), 2, "runs a and b differ."),
        (Refused("low-accuracy", "accuracy is 0.10."), 2, "--accept low-accuracy"),
        (WriteFailed(errno.ENOSPC, "no space"), 74, "no space"),
        (KeyboardInterrupt(), 130, "the same command goes on"),
        (ZeroDivisionError("bug"), 70, "ZeroDivisionError"),
    ],
)
def test_each_error_has_its_exit_code_and_sentence(
    error: BaseException, code: int, text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @click.command()
    def broken() -> None:
        raise error

    monkeypatch.setattr(_Commands, "get_command", lambda self, ctx, name: broken)
    assert run(["list"]) == code
    captured = capsys.readouterr()
    assert text in captured.err
    assert captured.out == ""
    assert ("Traceback" in captured.err) == (code == 70)
    assert code == 70 or captured.err.count("\n") == 1


def test_a_reader_that_leaves_is_no_verdict() -> None:
    """`fairbench gate ... | head` in a shell with pipefail: neither 0 nor 1."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "fairbench", "list", "attacks"], stdout=writing, stderr=subprocess.PIPE, timeout=60
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


def test_completion_prints_a_line_for_each_shell(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["completion", "bash"]) == 0
    assert "_FAIRBENCH_COMPLETE=bash_source" in capsys.readouterr().out
    assert run(["completion", "csh"]) == 2
