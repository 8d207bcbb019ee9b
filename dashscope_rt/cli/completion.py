"""``completion``: the script that a shell wants."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

_WHERE = {
    "bash": "echo 'eval \"$(dashscope-rt completion bash)\"' >> ~/.bashrc",
    "zsh": "echo 'eval \"$(dashscope-rt completion zsh)\"' >> ~/.zshrc",
    "fish": "dashscope-rt completion fish > ~/.config/fish/completions/dashscope-rt.fish",
}


@click.command(epilog="\b\n" + "\n".join(["To have it in every shell:", *(f"  {line}" for line in _WHERE.values())]))
@click.argument("shell", type=click.Choice(list(_WHERE)))
def completion(shell: str) -> None:
    """Print the completion script for your shell."""
    from .main import group

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"there is no completion for {shell}")
    click.echo(kind(group, {}, "dashscope-rt", "_DASHSCOPE_RT_COMPLETE").source())
