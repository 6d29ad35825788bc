"""The documents' Python runs, their commands exist with the options shown, and blocks marked "# here" run."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import click
import pytest
import yaml

import fairbench
from fairbench import metrics
from fairbench.cli import COMMANDS, _Commands, cli

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = {
    path.relative_to(ROOT).as_posix(): path.read_text() for path in [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]
}
WORKFLOW = (ROOT / "examples" / "github-actions-gate.yml").read_text()


def blocks(language: str) -> list[tuple[str, str]]:
    """(file and number, text) of every fenced block of a language."""
    return [
        (f"{name}-{number}", text)
        for name, document in DOCUMENTS.items()
        for number, text in enumerate(re.findall(rf"^```{language}\n(.*?)^```", document, re.DOTALL | re.MULTILINE))
    ]


def docstring_example(module: object) -> str:
    """The indented block of a module's docstring."""
    lines = (module.__doc__ or "").splitlines()
    return textwrap.dedent("\n".join(line for line in lines if line.startswith("    ")))


PYTHON = [
    *blocks("python"),
    ("fairbench.__doc__", docstring_example(fairbench)),
    ("fairbench.metrics.__doc__", docstring_example(metrics)),
]
HERE = [(name, text) for name, text in blocks("") if text.startswith("# here")]
COMMAND_LINES = [
    line.strip().removeprefix("run: ").lstrip("# ")
    for line in re.sub(r"\\\n\s*#?", " ", "\n".join([*DOCUMENTS.values(), WORKFLOW])).splitlines()
    if re.match(r"\s*(#\s+)?(run: )?fairbench [a-z]+ ", line)
]


@pytest.mark.parametrize(("name", "code"), PYTHON, ids=[name for name, _ in PYTHON])
def test_the_python_examples_run(
    name: str, code: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    assert "fairbench" in code
    exec(compile(code, name, "exec"), {})
    assert capsys.readouterr().out.strip() or name.endswith("__doc__")


@pytest.mark.parametrize("line", COMMAND_LINES)
def test_the_commands_have_the_options_shown(line: str) -> None:
    name, *arguments = shlex.split(line, comments=True)[1:]
    assert isinstance(cli, _Commands)
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    command.make_context(name, list(arguments))


def test_every_command_stands_in_the_readme() -> None:
    for name in COMMANDS:
        assert f"`fairbench {name}" in DOCUMENTS["README.md"]


def test_the_readmes_first_numbers_are_those_of_the_committed_run() -> None:
    pgd = metrics.summarize(fairbench.read_run(ROOT / "reports" / "digits-sat"))["attacks"]["pgd20"]
    worst, interval = pgd["worst_class"], pgd["interval"]["worst_class"]
    assert worst["name"] == "8"
    for words in (
        f"right on {100 * pgd['average']:.1f} % of 900",
        f"on {100 * worst['accuracy']:.1f} % of the\neights",
        f"({100 * interval[0]:.1f}\u2013{100 * interval[1]:.1f};",
        f"near {100 * pgd['if_equal']['worst_class']['expected']:.1f})",
    ):
        assert words in DOCUMENTS["README.md"]


def test_links_lead_somewhere() -> None:
    links = [(name, link) for name, text in DOCUMENTS.items() for link in re.findall(r"\]\(([^)#:]+)\)", text)]
    assert links
    for name, link in links:
        assert ((ROOT / name).parent / link).exists(), f"{name} links to {link}"


def test_the_workflow_is_yaml_and_evaluates_before_it_gates() -> None:
    steps = yaml.safe_load(WORKFLOW)["jobs"]["gate"]["steps"]
    assert all(("run" in step) != ("uses" in step) for step in steps)
    commands = " ".join(step.get("run", "") for step in steps)
    assert commands.index("pip install") < commands.index("fairbench eval") < commands.index("fairbench gate")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "block"), HERE, ids=[name for name, _ in HERE])
def test_blocks_marked_here_run_in_a_clone(name: str, block: str, tmp_path: Path) -> None:
    for folder in ("checkpoints", "reports"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    for line in block.splitlines()[1:]:
        command = [sys.executable, "-m", *shlex.split(line, comments=True)]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{line}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
