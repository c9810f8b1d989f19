"""The README is true: its Python runs, its commands print what it shows."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

README = Path(__file__).parents[1] / "README.md"
PROOFS = README.parent / "proofs" / "README.md"
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)

EXAMPLES = [block for language, block in BLOCKS if language == "python"]

# (command, what the README shows below it)
COMMANDS = [
    (match[1], match[2])
    for language, block in BLOCKS
    if language == "console"
    for match in re.finditer(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)
    if not match[1].startswith("pip ")
]


def test_the_readme_has_an_example_and_commands():
    assert len(EXAMPLES) == 2
    assert len(COMMANDS) >= 6


def test_the_examples_run(capsys):
    """The first builds a network of the design; the second breaks it and prints what its comments show."""
    example, after = EXAMPLES
    namespace = {}
    exec(example, namespace)
    model, design = namespace["model"], namespace["design"]
    x = namespace["torch"].randn(200, 64)
    hidden = model[:8](x)
    assert hidden.eq(0).float().mean().item() == pytest.approx(design.sparsity, abs=0.05)
    assert len([line for line in example.splitlines() if line]) <= 12
    exec(after, namespace)
    shown = [line.removeprefix("# ") for line in after.splitlines() if line.startswith("# ")]
    assert shown == capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(("command", "shown"), COMMANDS, ids=[command for command, _ in COMMANDS])
def test_commands_print_what_is_shown(command, shown, tmp_path):
    program, *arguments = shlex.split(command)
    module = ["-m", "gpsym.cli"] if program == "gpsym" else []
    if program == "python":
        arguments[-1] = str(tmp_path / "run")  # its --output
    np.save(tmp_path / "x.npy", np.ones((2, 3)))  # a reader's data
    done = subprocess.run(
        [sys.executable, *module, *arguments],
        cwd=tmp_path if program == "gpsym" else README.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    if shown:
        assert done.stdout == shown
