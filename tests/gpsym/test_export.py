import json
import math
import os
import subprocess
import sys
from fractions import Fraction
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import gpsym.torch as gt
from gpsym import Activation, CriticalInit, edge_of_chaos
from gpsym.export import export_text, json_schema
from gpsym.schema import require_schema

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
# Its polynomials have more digits than a line has room for.
RISE = (0, *(Fraction(1, n) for n in (3, 7, 11, 13, 17)))
LONG = edge_of_chaos(Activation((0, 1), ((), RISE, (sum(RISE),)), name="long"))

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


@pytest.fixture(scope="module")
def texts(folder):
    """The folder, with the files for the other frameworks as well."""
    for k, design in enumerate([*DESIGNS, LONG]):
        for framework in ("torch", "jax", "keras"):
            (folder / f"{framework}_{k}.py").write_text(export_text(design, framework))
    return folder


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]], ids=" ".join)
def test_the_exported_files_are_clean_python(command, texts):
    subprocess.run(
        [sys.executable, "-m", "ruff", *command, "--isolated", "--line-length=120", "."], cwd=texts, check=True
    )


def test_the_exported_files_hold_no_more_than_they_need():
    """Nothing of gpsym's is imported, and of its definitions only those that the activation needs are there."""
    for design, needed in zip(DESIGNS[1:6], ["relu_(", "softshrink", "hardtanh(", "softshrink", "TERMS"], strict=True):
        text = export_text(design, "torch")
        assert needed in text
        assert ("class _FromOutput" in text) == (design.activation not in ("shifted-relu", "bent"))
        assert ("# Elements from which on" in text) == ("LARGE = " in text)
        assert "import gpsym" not in text
        assert "from gpsym" not in text


# JAX and Keras, with numpy in the place of their arrays: values and variances; gradients need the real ones.


def stand_in(monkeypatch, framework):
    """Modules under the framework's names that hold numpy and record how initializers are asked for."""

    def recorded(name):
        return lambda *arguments, **options: (name, *arguments, *options.items())

    if framework == "jax":
        initializers = SimpleNamespace(variance_scaling=recorded("scaling"), normal=recorded("normal"))
        modules = {"jax": SimpleNamespace(numpy=np, nn=SimpleNamespace(initializers=initializers))}
    else:
        initializers = SimpleNamespace(VarianceScaling=recorded("scaling"), RandomNormal=recorded("normal"))
        modules = {"keras": SimpleNamespace(ops=np, initializers=initializers)}
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)


def load(framework, design, monkeypatch):
    stand_in(monkeypatch, framework)
    module = ModuleType("exported_for_another_framework")
    exec(export_text(design, framework), vars(module))
    return module


@pytest.mark.parametrize("design", DESIGNS, ids=lambda d: d.activation)
@pytest.mark.parametrize("framework", ["jax", "keras"])
def test_activations_for_jax_and_keras_are_the_activation(framework, design, monkeypatch):
    exported = load(framework, design, monkeypatch)
    knots = [float(t) + step for t in design.phi.knots for step in (-1e-4, 0.0, 1e-4)]
    x = np.array([*np.linspace(-9, 9, 289), *knots, math.nan, 1e3, -1e3])
    expected = gt.PiecewisePolynomial(design.phi)(torch.tensor(x)).numpy()
    # The same operations in the same order, up to a fused multiplication.
    np.testing.assert_allclose(exported.activation(x), expected, rtol=1e-15, atol=1e-15)
    assert np.array_equal(exported.activation(x) == 0, expected == 0)
    single = x.astype(np.float32)
    assert exported.activation(single).dtype == np.float32


def test_initializers_for_jax_and_keras_have_the_variances_of_init(monkeypatch):
    design = DESIGNS[3]
    first, bias = (design.q_star - design.sigma_b2) / 4, math.sqrt(design.sigma_b2)
    jax = load("jax", design, monkeypatch)
    assert jax.kernel_init("first", input_mean_square=4.0) == ("scaling", first, "fan_in", "normal")
    assert jax.kernel_init() == ("scaling", design.sigma_w2, "fan_in", "normal")
    assert jax.kernel_init("readout") == ("scaling", 1.0, "fan_in", "normal")
    assert [jax.bias_init(role) for role in jax.ROLES] == [("normal", bias), ("normal", bias), ("normal", 0.0)]
    keras = load("keras", design, monkeypatch)
    scaling = ("scaling", first, "fan_in", "untruncated_normal", ("seed", 7))
    assert keras.kernel_init("first", input_mean_square=4.0, seed=7) == scaling
    assert keras.kernel_init()[1:3] == (design.sigma_w2, "fan_in")
    assert keras.bias_init("readout", seed=3) == ("normal", 0.0, 0.0, ("seed", 3))
    for exported in (jax, keras):
        with pytest.raises(ValueError, match="need a role of first, hidden, readout, got 'last'"):
            exported.bias_init("last")
        with pytest.raises(ValueError, match="need input_mean_square > 0, got nan"):
            exported.kernel_init("first", input_mean_square=math.nan)


# Run by an interpreter that has the framework: values, gradients at knots and elsewhere, drawn variances.
REAL = {
    "jax": """
import jax, jax.numpy as np
grad = jax.vmap(jax.grad(exported.activation))
array = lambda x: np.asarray(x, np.float32)
draw = lambda make, shape: make(jax.random.PRNGKey(0), shape)
check_jit = jax.jit(exported.activation)(array(x))
""",
    "keras": """
import os
os.environ.setdefault("KERAS_BACKEND", "jax")
import jax, keras, jax.numpy as np
grad = jax.vmap(jax.grad(exported.activation))
array = lambda x: np.asarray(x, np.float32)
draw = lambda make, shape: make(shape)
dense = keras.layers.Dense(4, kernel_initializer=exported.kernel_init(seed=1), activation=exported.activation)
dense.build((None, 3))
check_jit = dense(np.ones((2, 3)))
""",
}
FRAME = """
import importlib, json, os, sys
os.environ.setdefault("KERAS_BACKEND", "jax")
exported = importlib.import_module(sys.argv[1])
x = json.loads(sys.argv[2])
{body}
kernel = draw(exported.kernel_init(), (3, 3, 20, 300))
bias = draw(exported.bias_init(), (100000,))
print(json.dumps([exported.activation(array(x)).tolist(), grad(array(x)).tolist(),
                  float((kernel**2).mean()) * 180, float((bias**2).mean())]))
"""


@pytest.mark.parametrize("framework", REAL)
@pytest.mark.parametrize("k", [0, 3, 4, 5, 6, 8, 10], ids=lambda k: DESIGNS[k].activation)
def test_jax_and_keras_themselves(framework, k, texts):
    python = os.environ.get(f"GPSYM_{framework.upper()}")
    if not python:
        pytest.skip(f"needs an interpreter with {framework}, named by GPSYM_{framework.upper()}")
    design = DESIGNS[k]
    x = [*(j / 8 + 1 / 32 for j in range(-40, 41)), *map(float, map(np.float32, map(float, design.phi.knots)))]
    done = subprocess.run(
        [python, "-c", FRAME.format(body=REAL[framework]), f"{framework}_{k}", json.dumps(x)],
        cwd=texts, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    values, gradients, weight, bias = json.loads(done.stdout)
    t = torch.tensor(x, requires_grad=True)
    y = gt.PiecewisePolynomial(design.phi)(t)
    torch.testing.assert_close(torch.tensor(values), y.detach(), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(torch.tensor(gradients), *torch.autograd.grad(y.sum(), t), rtol=1e-6, atol=1e-6)
    # The variance estimate of n normals has relative standard error sqrt(2 / n); four of them.
    assert weight == pytest.approx(design.sigma_w2, rel=4 * math.sqrt(2 / 54000))
    assert bias == pytest.approx(design.sigma_b2, rel=4 * math.sqrt(2 / 100000))


# JSON and its schema


@pytest.mark.parametrize("design", DESIGNS, ids=lambda d: d.activation)
def test_json_is_the_design_and_meets_its_schema(design):
    text = export_text(design, "json")
    assert CriticalInit.from_json(text) == design
    assert json.loads(text)["activation"] == design.activation
    require_schema("design", json.loads(text), json_schema())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sigma_w2": 0}, "need a number > 0 for 'sigma_w2', got 0"),
        ({"m": -1.0}, "need a number > 0 for 'm', got -1.0"),
        ({"sparsity": 1.5}, "need a number <= 1 for 'sparsity', got 1.5"),
        ({"tau": "1"}, "need a finite number or null for 'tau', got '1'"),
        ({"tau": 10**400}, "need a number <= 1.79.*e\\+308 for 'tau', got 1000"),
        ({"tau": 1e400}, "need a number <= 1.79.*e\\+308 for 'tau', got inf"),
        ({"tau": math.nan}, "need a finite number for 'tau', got nan"),
        ({"sigma_w2": True}, "need a finite number for 'sigma_w2', got True"),
        ({"more": 1}, "need fields of the schema only, got 'more'; leave it out"),
        ({"knots": ["0"]}, "need the field 'pieces', got activation, .*; add it"),
        ({"knots": ["0"], "pieces": None}, "need a list for 'pieces', got None"),
        ({"knots": "12", "pieces": [[]]}, "need a list for 'knots', got '12'"),
        ({"knots": ["0"], "pieces": [[1]]}, "need a text for 'pieces', got 1"),
        ({"knots": [["0"]], "pieces": [["0"]]}, "need a text for 'knots', got \\['0'\\]"),
        ({"knots": ["0"] * 65, "pieces": [[]]}, "need a list of at most 64 entries for 'knots'"),
        ({"knots": [], "pieces": [["1"] * 34]}, "need a list of at most 33 entries for 'pieces'"),
        ({"knots": ["1" * 2001], "pieces": [[], []]}, "need a text of at most 2000 characters for 'knots'"),
        ({"activation": ""}, "need a text of at least 1 characters for 'activation'"),
        ({"activation": 'x"""'}, "need a text that matches .* for 'activation'"),
        ({"activation": 5}, "need a text for 'activation', got 5"),
    ],
)
def test_the_schema_refuses_what_is_no_design(change, message):
    data = DESIGNS[3].to_dict()
    with pytest.raises(ValueError, match="^design: " + message):
        require_schema("design", data | change, json_schema())
    del data["q_star"]
    with pytest.raises(ValueError, match=r"^design: need the field 'q_star', got activation, tau, .*; add it"):
        require_schema("design", data, json_schema())


def test_the_schema_describes_every_field():
    assert set(json_schema()["properties"]) == {*DESIGNS[5].to_dict(), "stability"}  # `gpsym design --json` adds it
    assert json_schema()["required"] == list(DESIGNS[3].to_dict())


def test_unknown_framework():
    with pytest.raises(ValueError, match="unknown framework 'mxnet'; choose from torch, jax, keras, json"):
        export_text(DESIGNS[0], "mxnet")
