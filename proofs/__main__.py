"""`python -m proofs`: every theorem, one row for each activation that it speaks of."""

from __future__ import annotations

import json
import time

import click

from gpsym.cli import run
from proofs import instability, marginality, stability
from proofs.decide import Proved

THEOREMS = (marginality, instability, stability)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def main(context: click.Context, as_json: bool) -> None:
    """Prove the theorems; exit 1 if a verdict is not Proved."""
    rows = []
    for theorem in THEOREMS:
        for activation, domain in theorem.DOMAINS.items():
            started = time.perf_counter()
            verdict = theorem.prove(activation)
            rows.append(
                {
                    "theorem": theorem.TITLE,
                    "activation": activation,
                    "domain": domain,
                    "verdict": type(verdict).__name__,
                    "method": verdict.method if isinstance(verdict, Proved) else verdict.why,
                    "seconds": round(time.perf_counter() - started, 3),
                }
            )
    if as_json:
        click.echo(json.dumps({"theorems": rows}, indent=2))
    else:
        for theorem in THEOREMS:
            click.echo(f"{theorem.TITLE}: {theorem.CLAIM}")
        for row in rows:
            click.echo(
                f"{row['theorem']:<14}{row['activation']:<24}{row['domain']:<26}{row['verdict']:<11}{row['method']}"
            )
    context.exit(0 if all(row["verdict"] == "Proved" for row in rows) else 1)


if __name__ == "__main__":
    run(main, "python -m proofs")
