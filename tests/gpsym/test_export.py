import json
import math
import subprocess
import sys

import pytest
import torch
from torch import nn

import gpsym.torch as gt
from gpsym import Activation, CriticalInit, edge_of_chaos
from gpsym.export import export_text

DESIGNS = [
    edge_of_chaos("relu"),
    edge_of_chaos("relu-tau", sparsity=0.85),
    edge_of_chaos("st", sparsity=0.85, q_star=2.0),
    edge_of_chaos("crelu", sparsity=0.85, slope=0.7),
    edge_of_chaos("cst", sparsity=0.0, slope=0.5),
    edge_of_chaos(Activation((-1, 1), (("1/2", "1/2"), (), (-2, 2)), name="bent")),
    edge_of_chaos("leaky-relu"),
    edge_of_chaos("hard-tanh"),
    edge_of_chaos("squared-relu"),
    edge_of_chaos("hard-swish"),
    edge_of_chaos(Activation((-1, 0, 2), (("3/2",), (0, "-3/2"), (0, "1/3", 0, "1/5"), ("34/15",)), name="cubic")),
]

# Run apart from gpsym: draws a network with each exported file and saves its weights, outputs and gradients.
SCRIPT = """
import importlib
import sys
sys.modules["gpsym"] = None
import torch
from torch import nn
for k in range(int(sys.argv[1])):
    exported = importlib.import_module(f"exported{k}")
    model = nn.Sequential(nn.Conv2d(2, 4, 3), exported.Activation(), nn.Flatten(), nn.Linear(36, 7),
                          exported.Activation(), nn.Linear(7, 3))
    exported.init_(model, input_mean_square=2.0, generator=torch.Generator().manual_seed(5))
    x = torch.linspace(-9, 9, 50).reshape(1, 2, 5, 5)
    edges = torch.tensor([-3.5, -0.5, 0.25, 1.5, 2.5, 7, float("inf"), -float("inf")], dtype=torch.float64)
    y = exported.Activation()(edges.requires_grad_())
    torch.save([*model.parameters(), model(x), exported.Activation()(x), y, *torch.autograd.grad(y.sum(), edges)],
               f"out{k}.pt")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The exported files, and what they draw."""
    folder = tmp_path_factory.mktemp("exported")
    for k, design in enumerate(DESIGNS):
        (folder / f"exported{k}.py").write_text(export_text(design, "torch"))
    subprocess.run([sys.executable, "-c", SCRIPT, str(len(DESIGNS))], cwd=folder, check=True)
    return folder


def here(design):
    """The same network from gpsym."""
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3), gt.activation_module(design), nn.Flatten(),
        nn.Linear(36, 7), gt.activation_module(design), nn.Linear(7, 3),
    )  # fmt: skip
    gt.init_(model, design, input_mean_square=2.0, generator=torch.Generator().manual_seed(5))
    x = torch.linspace(-9, 9, 50).reshape(1, 2, 5, 5)
    edges = torch.tensor([-3.5, -0.5, 0.25, 1.5, 2.5, 7, math.inf, -math.inf], dtype=torch.float64, requires_grad=True)
    y = gt.activation_module(design)(edges)
    return [*model.parameters(), model(x), gt.activation_module(design)(x), y, *torch.autograd.grad(y.sum(), edges)]


@pytest.mark.parametrize("k", range(len(DESIGNS)), ids=lambda k: DESIGNS[k].activation)
def test_the_exported_file_draws_the_same_network_without_gpsym(k, folder):
    theirs = torch.load(folder / f"out{k}.pt")
    assert all(a.equal(b) for a, b in zip(theirs, here(DESIGNS[k]), strict=True))


@pytest.mark.parametrize("design", DESIGNS, ids=lambda d: d.activation)
def test_the_exported_file_shows_its_formulas(design):
    text = export_text(design, "torch")
    assert "import gpsym" not in text
    docstring = text.split('"""')[1]
    for shown in (str(design).splitlines()[3], "E[phi'(sqrt(q) Z)^2] = ", "sigma_b2 = q - sigma_w2"):
        assert shown in docstring


def test_the_exported_files_are_clean_python(folder):
    subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--isolated", "--line-length=120", "."], cwd=folder, check=True
    )


@pytest.mark.parametrize("design", DESIGNS, ids=lambda d: d.activation)
def test_json_is_the_design(design):
    text = export_text(design, "json")
    assert CriticalInit.from_json(text) == design
    assert json.loads(text)["activation"] == design.activation


def test_unknown_framework():
    with pytest.raises(ValueError, match="unknown framework 'jax'; choose from torch, json"):
        export_text(DESIGNS[0], "jax")
