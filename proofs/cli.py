"""The commands that prove, refute and check."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import click

from gpsym.cli.options import folder_option, force_option
from gpsym.files import Output
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
from proofs.checker import MOST_BYTES, Rejected, check, claims, digest, quoted, read
from proofs.falsehoods import falsehoods
from proofs.logic.certificate import certificate
from proofs.logic.certificate import claims as theorem_claims
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
@folder_option("--certificates", help="Folder to write certificates into; in place of older ones.")
@force_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def prove(
    context: click.Context,
    names: tuple[str, ...],
    false: bool,
    certificates: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Prove the theorems of these names, all of them by default; exit 1 if a verdict is not Proved.

    With --falsehoods, exit 1 if a verdict is not Refuted.
    """
    known = {theorem.name: theorem for theorem in falsehoods()} if false else THEOREMS
    chosen, results = _chosen(known, names), []
    to = {} if certificates is None else {theorem: _output(certificates, theorem, force) for theorem in chosen}
    for theorem in chosen:
        found = tuple(settle(theorem))
        results += found
        if not as_json:
            _print(theorem, found)
        if theorem in to and all(isinstance(result.verdict, Proved) for result in found):
            _write(to[theorem], theorem, found)
    if as_json:
        click.echo(json.dumps({"theorems": [_fields(result) for result in results]}, indent=2))
    wanted = Refuted if false else Proved
    context.exit(0 if all(isinstance(result.verdict, wanted) for result in results) else 1)


@main.command("check")
@click.argument("paths", metavar="[FILE | FOLDER]...", nargs=-1, type=click.Path(path_type=Path, exists=True))
@click.pass_context
def check_command(context: click.Context, paths: tuple[Path, ...]) -> None:
    """Check certificates: files, or folders with those of all theorems and nothing else, by default the one here.

    A certificate is accepted if its proofs hold, and are of all that the theorem of its file's name states here: the
    same words, rows, statements and versions.  Exit 0 if all are accepted, 1 if one is rejected or missing, 2 if a
    path cannot be read.
    """
    files = [file for path in paths or (CERTIFICATES,) for file in (_whole_set(path) if path.is_dir() else (path,))]
    verdicts = {file: _checked(file) for file in files}
    for file, verdict in verdicts.items():
        click.echo(f"{_sentence(file.name):<20}{'accepted' if verdict is None else f'rejected: {_sentence(verdict)}'}")
    context.exit(0 if not any(verdicts.values()) else 1)


def _whole_set(folder: Path) -> list[Path]:
    """The certificates of all theorems, there or not, and whatever else lies in the folder."""
    own = [folder / f"{name}.json" for name in THEOREMS]
    return own + sorted(set(folder.iterdir()) - set(own))


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


def _output(folder: Path, theorem: Theorem, force: bool) -> Output:
    """The file of the theorem's certificate.  Raises ValueError where something else is there."""
    path = folder / f"{theorem.name}.json"
    output = Output(folder, force=force or _is_certificate(path)).inside(path.name)
    output.require_free()
    return output


def _is_certificate(path: Path) -> bool:
    """Whether the file is a certificate as it was written, by its digest."""
    try:
        with path.open("rb") as file:
            found = read(file.read(MOST_BYTES + 1))
        return found.get("digest") == digest(found)
    except (OSError, Rejected):
        return False


def _write(output: Output, theorem: Theorem, results: Sequence[Result]) -> None:
    found = certificate(theorem, results)
    output.write_text(json.dumps({**found, "digest": digest(found)}, indent=1) + "\n")


def _checked(path: Path) -> str | None:
    """None, or why the certificate is rejected: its proofs do not hold, or are not of what the theorem states."""
    theorem = THEOREMS.get(path.stem) if path.suffix == ".json" else None
    if theorem is None:
        return f"need the name of a theorem and .json as its file's name, one of {', '.join(THEOREMS)}"
    if not path.exists():
        return "it is missing; make prove writes it"
    if not path.is_file():
        return "it is not a file"
    try:
        with path.open("rb") as file:
            found = read(file.read(MOST_BYTES + 1))
        check(found)
    except Rejected as rejection:
        return str(rejection)
    return _difference(_claims(theorem.name), claims(found))


@cache
def _claims(name: str) -> dict[str, Any]:
    return theorem_claims(THEOREMS[name])


def _difference(stated: Any, found: Any, place: str = "it") -> str | None:
    """The first place where what a certificate claims is not what the theorem states; None if there is none."""
    if stated == found:
        return None
    if isinstance(stated, dict) and stated.keys() == found.keys():
        return next(filter(None, (_difference(stated[key], found[key], f"{place}, {key}") for key in stated)))
    if isinstance(stated, list) and len(stated) == len(found):
        rows = zip(stated, found, strict=True)
        return next(filter(None, (_difference(*pair, f"{place} {k + 1}") for k, pair in enumerate(rows))))
    return f"{place} is not as the theorem states it: need {quoted(stated)}, got {quoted(found)}"


def _sentence(text: str) -> str:
    """The text in one line that any terminal can show."""
    shown = " ".join(text.split()).encode("ascii", "backslashreplace").decode()
    return shown if len(shown) <= 600 else f"{shown[:600]}..."
