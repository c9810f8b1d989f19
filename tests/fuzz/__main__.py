"""`python -m tests.fuzz [DOOR ...] --seconds 60` knocks at each door for that time and prints what breaks the rule."""

from __future__ import annotations

import faulthandler
import sys
import time

import click
from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz.doors import DOORS
from tests.fuzz.harness import PATIENCE, Door, TooSlow, assert_rule

_BATCH = 200  # inputs between two looks at the clock


@click.command(epilog=f"Doors: {', '.join(DOORS)}.")
@click.argument("names", nargs=-1, metavar="[DOOR]...", type=click.Choice(list(DOORS)))
@click.option("--seconds", type=float, default=60.0, show_default=True, help="Time at each door.")
@click.option("--seed", "first_seed", type=int, default=0, show_default=True, help="Another one: other inputs.")
def main(names: tuple[str, ...], seconds: float, first_seed: int) -> None:
    """Knock at each DOOR, all of them by default, with hostile inputs."""
    broken = [name for name in names or DOORS if not _held(DOORS[name], seconds, first_seed)]
    sys.exit(f"the rule is broken at: {', '.join(broken)}" if broken else 0)


def _held(door: Door, seconds: float, first_seed: int) -> bool:
    """Whether the rule held at the door for all inputs of this time."""
    knocks, rounds, end = 0, 0, time.monotonic() + seconds

    @settings(
        max_examples=_BATCH, deadline=None, database=None,
        phases=(Phase.generate, Phase.shrink), suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(door.inputs)
    def knocked(value: object) -> None:
        nonlocal knocks
        if time.monotonic() > end:
            return
        knocks += 1
        # A loop inside a library, which no signal interrupts, ends the process with its stack.
        faulthandler.dump_traceback_later(2 * PATIENCE, exit=True)
        try:
            assert_rule(door, value)
        except TooSlow as error:
            error.add_note(f"input: {value!r:.2000}")
            raise
        finally:
            faulthandler.cancel_dump_traceback_later()

    try:
        while time.monotonic() < end:
            seed(first_seed + rounds)(knocked)()
            rounds += 1
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        notes = "\n".join(getattr(error, "__notes__", ()))
        click.echo(f"{door.name}: broken after {knocks} inputs: {type(error).__name__}: {error}\n{notes}")
        return False
    click.echo(f"{door.name}: held for {knocks} inputs")
    return True


if __name__ == "__main__":
    main()
