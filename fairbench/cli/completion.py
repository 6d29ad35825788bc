"""`fairbench completion SHELL`: the line that switches shell completion on."""

from __future__ import annotations

import click

_LINES = {
    "bash": 'eval "$(_FAIRBENCH_COMPLETE=bash_source fairbench)"',
    "zsh": 'eval "$(_FAIRBENCH_COMPLETE=zsh_source fairbench)"',
    "fish": "_FAIRBENCH_COMPLETE=fish_source fairbench | source",
}


@click.command(name="completion")
@click.argument("shell", type=click.Choice(sorted(_LINES)))
def command(shell: str) -> None:
    """Print the line to add to your shell's start-up file (~/.bashrc, ~/.zshrc, config.fish)."""
    click.echo(_LINES[shell])
