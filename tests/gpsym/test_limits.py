"""Numbers and text from outside: what they may be, and that no size of them makes anything hang."""

import re
import time
from decimal import Decimal
from fractions import Fraction

import mpmath
import numpy as np
import pytest
import sympy as sp
from click.testing import CliRunner
from hypothesis import given

from gpsym import Activation, CriticalInit, edge_of_chaos, equal, evaluate, from_sympy, maps, member, relu
from gpsym.cli import cli
from gpsym.expression import parse_activation
from gpsym.formula import X, exact
from gpsym.limits import budget, shown, spend
from gpsym.schema import read_json
from tests.fuzz.growing import GROWING
from tests.fuzz.harness import CANARY, SECONDS
from tests.fuzz.mutations import CODE, hostile_texts

NUMBERS = [
    (3, "3"), (0.1, Fraction(0.1)), (Fraction(1, 3), "1/3"), ("0.1", "1/10"), (" sqrt(2)/2 ", "sqrt(2)/2"),
    (np.int64(3), "3"), (np.float64(0.5), "1/2"), (np.float32(0.1), Fraction(float(np.float32(0.1)))),
    (mpmath.mpf(1) / 4, "1/4"), (sp.pi, "pi"), (sp.Float("0.5"), "1/2"), (5e-324, Fraction(5e-324)),
]  # fmt: skip


@pytest.mark.parametrize(("value", "meaning"), NUMBERS, ids=repr)
def test_numbers_are_what_they_say(value, meaning):
    assert exact(value) == sp.sympify(str(meaning))


HOSTILE = [
    None, True, np.True_, [], {}, [1], ["1"], [CODE], [[CODE]], {"a": CODE}, {CODE: 1}, (CODE,), {CODE}, b"1", CODE, 1j,
    float("nan"), float("inf"), np.array(1.0), np.array([1.0]), Decimal("0.1"), object(), sp.true, sp.oo, sp.nan, sp.I,
    sp.Matrix([1]), sp.Symbol("z"), 10**5000, sp.Integer(10) ** 5000, "x", "True", "", "1e999999999", "1e-999999999",
    "9" * 10**6, "9**9**9", "2**-9**9", "nan", "1 < 2", "lambda: 1", "sqrt(" * 300 + "2" + ")" * 300,
]  # fmt: skip

DOORS = {
    "exact": exact,
    "knot": lambda value: Activation((value,), ((0,), (1,))),
    "coefficient": lambda value: Activation((), ((value, 1),)),
    "argument": lambda value: relu()(value),
    "slope of affine": lambda value: relu().affine(value),
    "shift of affine": lambda value: relu().affine(1, value),
    "sum": lambda value: relu() + value,
    "parameter": lambda value: member("crelu", tau=1, m=[value]),
    "substitution": lambda value: member("crelu").subs({sp.Symbol("m", positive=True): value}),
    "sparsity": lambda value: edge_of_chaos("st", sparsity=value if value is not None else "x"),
    "tau": lambda value: edge_of_chaos("st", tau=value if value is not None else "x"),
    "q_star": lambda value: edge_of_chaos("relu", q_star=value),
    "evaluate": lambda value: evaluate(maps.second_moment(relu()), {"q": value}),
    "correlation": lambda value: maps.kernel(relu(), rho=value),
    "order": lambda value: maps.moment(relu(), value if isinstance(value, int | float | str) else 10**6),
    "from_sympy": lambda value: from_sympy([value] if isinstance(value, sp.Basic) else value),
    "assumption": lambda value: from_sympy(sp.Max(0, X), assume=[[value]]),
    "design": lambda value: CriticalInit.from_dict({**edge_of_chaos("st", tau=1).to_dict(), "tau": [value]}),
    "design's knot": lambda value: CriticalInit.from_dict(
        {**edge_of_chaos("relu").to_dict(), "activation": "bent", "knots": [value], "pieces": [[], ["1"]]}
    ),
    "equal": lambda value: equal([value] if isinstance(value, sp.Expr | int) else value, 0),
}  # fmt: skip


@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: f"{type(value).__name__} {shown(value)[:20]!r}")
@pytest.mark.parametrize("door", DOORS)
def test_what_is_no_number_is_refused_and_not_executed(door, value):
    start = time.process_time()
    with pytest.raises(ValueError, match=r"^[\w .-]+: .*need "):
        DOORS[door](value)
    assert time.process_time() - start < SECONDS
    assert not CANARY.exists()


@pytest.mark.parametrize("name", ['x"""\nimport os\n"""', "x\nimport os", "", "x" * 101, 5, None, "{0}", "x'"])
def test_names_cannot_break_out_of_the_code_that_holds_them(name):
    with pytest.raises(ValueError, match="need a name of up to 100 letters, digits, spaces, dots and hyphens"):
        relu().named(name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "need JSON, got an error"),
        ("[" * 10**5, "need JSON of moderate depth"),
        ("9" * 5000, "need JSON, got an error"),
        ("1" * (2**20 + 1), "need JSON of at most 1048576 characters, got 1048577"),
        (b"\xff\xfe\xfd", "need JSON, got an error"),
        ("[]", r"need a JSON object, got \[\]"),
    ],
)
def test_text_that_is_no_design_is_refused(text, message):
    with pytest.raises(ValueError, match="^CriticalInit: " + message):
        CriticalInit.from_json(text)


def test_json_is_read():
    assert read_json("door", '{"a": [1, 2.5, null]}') == {"a": [1, 2.5, None]}


def derived(text, quantity):
    """The result of the command, once its form and its time are checked."""
    start = time.process_time()
    result = CliRunner().invoke(cli, ["derive", f"--expr={text}", f"--quantity={quantity}"])
    assert time.process_time() - start < SECONDS
    if result.exit_code:
        assert isinstance(result.exception, ValueError)
        assert re.match(r"(activation|derive|pair_expectation): ", str(result.exception))
        assert len(str(result.exception)) < 800
    return result


@pytest.mark.parametrize("text", GROWING, ids=lambda text: shown(repr(text))[:40])
def test_text_is_answered_or_refused_in_time(text):
    derived(text, "variance")


@given(hostile_texts)
def test_any_text_is_answered_or_refused_in_time(text):
    derived(text, "slope")
    assert not CANARY.exists()


@pytest.mark.parametrize(
    ("text", "quantity"),
    [
        ("+".join(f"{k}*max(0, x - {k})**12" for k in range(1, 13)), "variance"),
        ("+".join(f"max(0, x - {k})" for k in range(12)), "kernel"),
        ("sign(x)*min(max(0, abs(x) - tau), m)", "sparsity"),
        ("max(0, x + tau + m)**12", "mean"),
    ],
)
def test_what_is_of_use_is_answered(text, quantity):
    arguments = ["derive", f"--expr={text}", "--assume=tau >= 0", "--assume=m > 0", f"--quantity={quantity}"]
    assert CliRunner().invoke(cli, arguments).exit_code == 0


@pytest.mark.parametrize("quantity", ["hermite-500", "moment-100000", "derivative-moment-1-65", "moment-" + "9" * 2000])
def test_orders_are_bounded(quantity):
    with pytest.raises(ValueError, match=r"need an order 0, 1, 2, ..., 64, got"):
        maps.derive(member("crelu"), quantity)


def test_a_budget_is_spent_by_steps():
    with budget("door", 10, "do less"):
        spend(10)
        with pytest.raises(ValueError, match=r"^door: need work of at most 10 steps, got more; do less.$"):
            spend(1)
    spend(10**9)  # no budget is open


def test_long_values_are_shown_by_their_beginning():
    assert shown("x" * 81) == "x" * 80 + "... (81 characters)"
    assert shown("x" * 80) == "x" * 80
    assert shown(10**5000) == "int of thousands of digits"


READ = [
    ("x*(x>0)", relu()),
    ("x if x > 0 else 0", relu()),
    ("relu(x)", relu()),
    ("where(x > 0, x, 0)", relu()),
    ("(x > 0)*x + True - 1", relu()),
    ("clip(x, -1, 1)", member("hard-tanh")),
    ("-1 if x < -1 else x if x < 1 else 1", member("hard-tanh")),
    ("x > 0", Activation((0,), ((), (1,)))),
    ("(x > 1) > (x > 2)", Activation((1, 2), ((), (1,), ()))),
]


@pytest.mark.parametrize(("text", "activation"), READ)
def test_the_words_of_arrays_and_of_python_are_read(text, activation):
    assert parse_activation(text) == activation


ADVICE = [
    ("max(0, z - 1)", "x for it", "max(0, x - 1)", ()),
    ("max(0, x - lambda)", "lambda_", "max(0, x - lambda_)", ()),
    ("x^2", r"\*\*", "x**2", ()),
    ("max(0, x - a) + max(0, x - b)", r"--assume 'a - b > 0'", "max(0, x - a) + max(0, x - b)", ("a - b > 0",)),
    ("min(max(0, x), a)", r"--assume 'a > 0'", "min(max(0, x), a)", ("a > 0",)),
    ("Heaviside(x)*sign(x)*sqrt(x)", r"got sqrt\(x\)", "Heaviside(x)*sign(x)", ()),
    ("x/a", "declare its symbols so that it is one, such as positive", "x/a", ("a > 0",)),
    ("Piecewise((x, x > 0))", r"end them with \(value, True\)", "Piecewise((x, x > 0), (0, True))", ()),
    ("Piecewise((1, x > 0 & x < 1), (x, True))", "in parentheses", "Piecewise((1, (x > 0) & (x < 1)), (x, True))", ()),
]


@pytest.mark.parametrize(("text", "advice", "better", "assume"), ADVICE)
def test_advice_is_given_and_works(text, advice, better, assume):
    with pytest.raises(ValueError, match="^activation: .*" + advice):
        parse_activation(text)
    assert parse_activation(better, assume).knots or better in ("x**2", "x/a")
