"""The command line: one file per command, no arithmetic, errors as one sentence with the exit codes of the design.

0 ok; 1 only from `gate` (regression), `check` (flagged) and `eval --worst-below` (it is below); 2 usage or bad input,
not comparable, or a table that `verify` disproves; 70 an internal error; 74 a write that failed later; 130 interrupted;
141 nobody reads stdout any more.
`bench` ends with the highest code of the trainings that failed. stdout carries the result, stderr the progress.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback

import click

from fairbench import __version__
from fairbench.allocator import keep_freed_memory
from fairbench.errors import FairbenchError, OtherProcessEnded
from fairbench.own_processes import LIFELINE

#: command -> module that defines it; imported only when the command is used, so that --help takes no time.
COMMANDS = {
    "quickstart": ("fairbench.cli.quickstart", "The whole story on embedded digits: teacher, students, report."),
    "train": ("fairbench.cli.train", "Train a model with a named method; the last line printed is the checkpoint."),
    "bench": ("fairbench.cli.bench", "Train and compare every method of a suite, with several seeds; resumes."),
    "eval": ("fairbench.cli.eval", "Attack a checkpoint and write its per-class run; resumes by itself."),
    "check": ("fairbench.cli.check", "Look for masked gradients and broken evaluation; exit 1 when flagged."),
    "verify": ("fairbench.cli.verify", "Rebuild a run's table from its adversarial examples, without an attack."),
    "reproduce": ("fairbench.cli.reproduce", "Run again what run.json says and list the verdicts that flipped."),
    "report": ("fairbench.cli.report", "Write one HTML report, plots and tables for one or several runs."),
    "compare": ("fairbench.cli.compare", "Compare two runs class by class on the same images."),
    "diagnose": ("fairbench.cli.diagnose", "Say why these classes: where samples go, what goes along, how sure."),
    "mitigate": ("fairbench.cli.mitigate", "Raise weak classes by offsets of the logits, fitted on validation images."),
    "gate": ("fairbench.cli.gate", "Exit 1 when a run is worse than its baseline, or when an evaluation drifted."),
    "leaderboard": ("fairbench.cli.leaderboard", "Write leaderboard.json and .md from run folders."),
    "list": ("fairbench.cli.list", "List data sets, models, methods or attacks."),
    "completion": ("fairbench.cli.completion", "Print the line that switches shell completion on."),
}
_SENTENCE_LIMIT = 600


class _InterruptedByPerson(Exception):
    """Ctrl-C."""


class _ReaderLeft(Exception):
    """Whoever read our stdout is gone (| head)."""


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(COMMANDS[cmd_name][0]).command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS:
            from fairbench.errors import unknown

            raise click.UsageError(str(unknown("command", args[0], COMMANDS)), ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            raise _InterruptedByPerson from stop  # click would print an empty line for it
        except BrokenPipeError as stop:
            raise _ReaderLeft from stop  # click would end with 1, which is a verdict here

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="fairbench")
def cli() -> None:
    """Show and train how robust an image classifier is for each class, not only on average."""


def run(args: list[str] | None = None) -> int:
    """Run the command line and return its exit code; every error ends in one sentence on stderr."""
    try:
        words = [*(sys.argv[1:] if args is None else args)]
        code = cli.main(args=words, prog_name="fairbench", standalone_mode=False, obj=words)
        return code if isinstance(code, int) else 0
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except (_InterruptedByPerson, click.exceptions.Abort, KeyboardInterrupt):
        if sys.stderr.isatty():
            click.echo("\r\x1b[K", nl=False, err=True)  # the terminal may stand behind its own "^C"
        return _say("interrupted; the same command goes on where this one stopped.", 130)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        hint = f" Try '{context.command_path} --help'." if context is not None else ""
        return _say(error.format_message() + hint, error.exit_code if error.exit_code != 1 else 2)
    except OtherProcessEnded as error:
        # Under --processes the one that watches repeats what the other said.
        return error.exit_code if LIFELINE in os.environ else _say(str(error), error.exit_code)
    except FairbenchError as error:
        return _say(str(error), error.exit_code)
    except _ReaderLeft:
        sys.stdout = None  # nothing more can be written there
        return 128 + 13  # as a shell says of any program that SIGPIPE ends: no verdict, neither good nor bad
    except Exception:
        traceback.print_exc()
        return _say(
            "internal error: a bug in fairbench, please report the lines above; unless they end in a file of your own "
            "(--model FILE.py), which must take every image in [0, 1].", 70,
        )  # fmt: skip


def _say(sentence: str, code: int) -> int:
    text = " ".join(sentence.split())
    if len(text) > _SENTENCE_LIMIT:
        text = text[: _SENTENCE_LIMIT - 20] + " ..."
    click.echo(f"fairbench: {text}", err=True)
    return code


def main() -> None:
    """Run the command line and exit with its code."""
    keep_freed_memory()
    sys.exit(run())
