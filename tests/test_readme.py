"""The README's Python runs, and its commands exist with the options that it shows."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from fairbench.cli import COMMANDS, _Commands, cli

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
WORKFLOW = (ROOT / "examples" / "github-actions-gate.yml").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
COMMAND_LINES = [
    line.strip().removeprefix("run: ").lstrip("# ")
    for line in re.sub(r"\\\n\s*#?", " ", README + WORKFLOW).splitlines()
    if re.match(r"\s*(#\s+)?(run: )?fairbench [a-z]+ ", line)
]


@pytest.mark.parametrize("number", range(len(PYTHON)))
def test_the_python_examples_run(
    number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    exec(compile(PYTHON[number], f"README block {number}", "exec"), {})
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("line", COMMAND_LINES)
def test_the_commands_have_the_options_shown(line: str) -> None:
    name, *arguments = shlex.split(line)[1:]
    assert isinstance(cli, _Commands)
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    command.make_context(name, list(arguments))


def test_every_command_stands_in_the_readme() -> None:
    for name in COMMANDS:
        assert f"`fairbench {name}" in README
