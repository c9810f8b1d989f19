"""The command line: a person reads it; with --json a program does.

Exit status: 0 done, 1 something was not verified, 2 bad input (one line on stderr, nothing on stdout).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

import gpsym
from gpsym.cli.designs import design_command, export, kernel, stability_command
from gpsym.cli.formulas import derive, maps_command, prove, verify
from gpsym.cli.pictures import plot, report
from gpsym.members import ALIASES, MEMBERS

__all__ = ["main", "run"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the `gpsym` command."""
    run(cli, "gpsym", arguments)


def run(command: click.Command, name: str, arguments: Sequence[str] | None = None) -> None:
    """Run a click command and exit; bad input becomes one line on stderr and status 2."""
    try:
        status = command.main(args=arguments, prog_name=name, standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else error.format_message(), err=True)
        sys.exit(2)
    except (click.ClickException, ValueError, OSError, ImportError) as error:
        message = error.format_message() if isinstance(error, click.ClickException) else str(error)
        if isinstance(error, click.UsageError) and error.ctx:
            message += f" See {error.ctx.command_path} --help."
        click.echo(f"{name}: {' '.join(message.split())}", err=True)
        sys.exit(2)
    except click.Abort:
        sys.exit(130)
    sys.exit(status if isinstance(status, int) else 0)


@click.group(epilog=f"Activations: {', '.join(MEMBERS)}; aliases {', '.join(ALIASES)}.")
@click.version_option(gpsym.__version__, prog_name="gpsym")
def cli() -> None:
    """Variance maps of sparse activations in closed form, and initializers at the edge of chaos."""


for command in (
    maps_command, derive, verify, prove, design_command, stability_command, export, kernel, plot, report,
):  # fmt: skip
    cli.add_command(command)
