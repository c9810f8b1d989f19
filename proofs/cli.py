"""The commands that prove, refute and check."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from gpsym.files import write_text
from gpsym.verdicts import Undecided
from proofs import (
    bijection,
    calculus,
    correlation,
    curvature,
    existence,
    fold,
    instability,
    marginality,
    residual,
    scale,
    shape,
    stability,
)
from proofs.checker import Rejected, check, digest, statements
from proofs.falsehoods import falsehoods
from proofs.logic.certificate import agrees, certificate
from proofs.logic.refute import Refuted
from proofs.logic.theorem import Proved, Result, Theorem, Verdict, settle

__all__ = ["CERTIFICATES", "THEOREMS", "main", "prove"]

THEOREMS = {
    module.THEOREM.name: module.THEOREM
    for module in (
        calculus,
        marginality,
        instability,
        existence,
        stability,
        bijection,
        shape,
        correlation,
        scale,
        fold,
        curvature,
        residual,
    )
}
CERTIFICATES = Path(__file__).parent / "certificates"


class _ProveByDefault(click.Group):
    """`prove` is meant where no command is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        named = bool(args) and (args[0] in self.commands or args[0] == "--help")
        return super().parse_args(ctx, args if named else ["prove", *args])


@click.group(cls=_ProveByDefault, epilog=f"Theorems: {', '.join(THEOREMS)}.")
def main() -> None:
    """Prove theorems about variance maps, and check the certificates of their proofs."""


@main.command()
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--falsehoods", "false", is_flag=True, help="In place of theorems: plausible falsehoods, to be refuted.")
@click.option("--certificates", type=click.Path(path_type=Path), help="Folder to write certificates into.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def prove(
    context: click.Context, names: tuple[str, ...], false: bool, certificates: Path | None, as_json: bool
) -> None:
    """Prove the theorems of these names, all of them by default; exit 1 if a verdict is not Proved.

    With --falsehoods, exit 1 if a verdict is not Refuted.
    """
    known = {theorem.name: theorem for theorem in falsehoods()} if false else THEOREMS
    results = []
    for theorem in _chosen(known, names):
        found = tuple(settle(theorem))
        results += found
        if not as_json:
            _print(theorem, found)
        if certificates is not None and all(isinstance(result.verdict, Proved) for result in found):
            _write(certificates, theorem, found)
    if as_json:
        click.echo(json.dumps({"theorems": [_fields(result) for result in results]}, indent=2))
    wanted = Refuted if false else Proved
    context.exit(0 if all(isinstance(result.verdict, wanted) for result in results) else 1)


@main.command("check")
@click.argument("files", metavar="[FILE]...", nargs=-1, type=click.Path(path_type=Path))
@click.pass_context
def check_command(context: click.Context, files: tuple[Path, ...]) -> None:
    """Check certificates, those of all theorems by default; exit 1 if one is rejected."""
    paths = files or tuple(CERTIFICATES / f"{name}.json" for name in THEOREMS)
    verdicts = [_checked(path) for path in paths]
    for path, verdict in zip(paths, verdicts, strict=True):
        click.echo(f"{path.name:<20}{'accepted' if verdict is None else f'rejected: {verdict}'}")
    context.exit(0 if not any(verdicts) else 1)


def _chosen(known: dict[str, Theorem], names: Sequence[str]) -> list[Theorem]:
    for name in names:
        if name not in known:
            raise ValueError(f"prove: need names among {', '.join(known)}, got {name}; choose of these.")
    return [known[name] for name in names or known]


def _print(theorem: Theorem, results: Sequence[Result]) -> None:
    click.echo(f"{theorem.name}: {theorem.words}")
    for result in results:
        fields = _fields(result)
        place = f"{fields['activation']}: {fields['domain']}"
        click.echo(f"  {place:<60}{fields['verdict']:<10}{fields['method']}")


def _fields(result: Result) -> dict[str, Any]:
    return {
        "theorem": result.theorem.name,
        "activation": result.row.activation,
        "domain": result.row.domain,
        "verdict": type(result.verdict).__name__,
        "method": _method(result.verdict),
        "seconds": round(result.seconds, 3),
    }


def _method(verdict: Verdict) -> str:
    """The rules of a proof, a witness, or what stopped the proof."""
    return verdict.why if isinstance(verdict, Undecided) else verdict.method


def _write(folder: Path, theorem: Theorem, results: Sequence[Result]) -> None:
    found = certificate(theorem, results)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / f"{theorem.name}.json", json.dumps({**found, "digest": digest(found)}, indent=1) + "\n")


def _checked(path: Path) -> str | None:
    """None, or why the certificate is rejected: its proofs do not hold, or are not of what the theorem states."""
    try:
        found = json.loads(path.read_text())
        check(found)
    except (Rejected, json.JSONDecodeError) as rejection:
        return str(rejection)
    theorem = THEOREMS.get(found["theorem"])
    if theorem is None:
        return f"there is no theorem {found['theorem']}"
    claimed = {(row.activation, label): s for row in theorem.rows() for label, s in row.statements.items()}
    proved = statements(found)
    if claimed.keys() != proved.keys():
        return f"it speaks of {proved.keys() ^ claimed.keys()} and the theorem does not, or the reverse"
    return next(
        (f"{key} is not as the theorem states it" for key in claimed if not agrees(claimed[key], proved[key])), None
    )
