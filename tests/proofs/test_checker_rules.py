"""Each rule of the checker on statements that follow, and on false ones that a rule without a condition would take."""

import pytest

from proofs.checker import Rejected, check
from tests.proofs.steps import certificate_of

LINE = {"x": "(0, oo)"}


def node(claim, expression, domain, rule, premises=(), data=None, **more):
    fields = {"claim": claim, "expression": expression, "domain": domain, "rule": rule, "premises": list(premises)}
    return {**fields, "data": data or {}, **more}


def assert_follows(*nodes):
    check(certificate_of(*nodes))


def assert_rejected(*nodes, why):
    with pytest.raises(Rejected, match=rf"(?s)^node {len(nodes) - 1} \('{nodes[-1]['rule']}'\): .*(?:{why})"):
        check(certificate_of(*nodes))


def by_form(expression, domain, rest=None):
    return combination(expression, domain, rest=expression if rest is None else rest)


def combination(expression, domain, premises=(), coefficients=(), rest="0"):
    data = {"rest": rest, "coefficients": list(coefficients)}
    return node("positive", expression, domain, "combination", premises, data)


def equal(left, right, domain):
    fields = {"claim": "equal", "left": left, "right": right, "domain": domain}
    return {**fields, "rule": "identity", "premises": [], "data": {}}


def instance(claim, expression, domain, values, premise=0):
    return node(claim, expression, domain, "instance", [premise], {"values": values})


def vanishing(expression, domain, end, variable="x"):
    return node("vanishing", expression, domain, "vanishes", variable=variable, end=end)


def from_end(expression, domain, end, limit, premises=(0,), variable="x"):
    data = {"variable": variable, "end": end, "limit": limit}
    return node("positive", expression, domain, "from_end", premises, data)


def increasing(expression, domain, variable="x"):
    return node("crossing", expression, domain, "increasing", [0], variable=variable)


def multiple(expression, domain, factor, premise=1, variable="x"):
    return node("crossing", expression, domain, "multiple", [premise], {"factor": factor}, variable=variable)


def shape(rule, expression, domain, end, limit, premises=(1,)):
    return node("crossing", expression, domain, rule, premises, {"end": end, "limit": limit}, variable="x")


def ridge(expression, domain, end, limit, start, premises):
    data = {"variable": "x", "end": end, "limit": limit, "start": start}
    return node("positive", expression, domain, "ridge", premises, data)


def line(expression, domain):
    """Nodes 0 and 1: an expression that is linear in x crosses."""
    slope = {"2*x - 1": "2", "x - 1": "1", "x - 3": "1"}[expression]
    return by_form(slope, domain), increasing(expression, domain)


# identity


def test_identity():
    assert_follows(equal("exp(x)*erfc(-x) + exp(x)*erfc(x)", "2*exp(x)", {"x": "(-oo, oo)"}))
    assert_follows(equal("sqrt(x**2)", "x", {"x": "[0, oo)"}))


@pytest.mark.parametrize(
    ("left", "right", "domain", "why"),
    [
        ("x", "x*(1 + 1/10**40)", "(0, oo)", "= 0 was not seen"),
        ("sqrt(x**2)", "x", "(-oo, oo)", "= 0 was not seen"),
        ("sqrt(x)**2 + exp(x)*exp(-x)", "x + 1", "(-oo, oo)", "may leave"),
        ("x + 1", "(x**2 - 1)/(x - 1)", "(0, oo)", "may leave"),
        ("x/x + x**2", "x*(x + 1/x)", "[0, oo)", "may leave"),
        ("y*exp(x)*exp(-x)", "y", "(0, oo)", "y has no interval"),
        ("x", "y*(y + 1) - y**2 - y + x", "(0, oo)", "y has no interval"),
        ("erfc(-x)", "2 + erfc(x)", "(0, oo)", "= 0 was not seen"),
        ("erfc(-x)", "erfc(x)", "(0, oo)", "= 0 was not seen"),
    ],
)
def test_identity_fails(left, right, domain, why):
    assert_rejected(equal(left, right, {"x": domain}), why=why)


# combination


def test_combination():
    assert_follows(by_form("x + x**2*exp(-x)", LINE))
    assert_follows(
        by_form("x", LINE),
        by_form("exp(x) - 1", {"x": "(0, 5)"}),
        combination("2*x + exp(x)/3 - 1/3", {"x": "(1, 2)"}, [0, 1], ["2", "1/3"]),
    )
    assert_follows(by_form("x", LINE), combination("x*y + 1", {"x": "(0, oo)", "y": "[0, 1]"}, [0], ["y"], "1"))


def test_combination_fails():
    assert_rejected(by_form("x", {"x": "[0, oo)"}), why="none of the rest")
    assert_rejected(by_form("x", {"x": "(-1, oo)"}), why=">= 0 was not seen")
    assert_rejected(by_form("exp(-1/x)", {"x": "[0, oo)"}), why="may leave")
    assert_rejected(by_form("x", LINE, rest="x + 1/10**30"), why="= 0 was not seen")
    assert_rejected(combination("x", LINE, rest="x*y/y"), why="y has no interval")
    assert_rejected(combination("1", LINE, rest="(x - 2)/(x - 2)"), why="may leave")
    positive = by_form("x", {"x": "(0, 1)"})
    assert_rejected(positive, combination("x", LINE, [0], ["1"]), why="not covered")
    assert_rejected(positive, combination("x", {"x": "(0, 1]"}, [0], ["1"]), why="not covered")
    assert_rejected(positive, combination("-x", {"x": "(0, 1)"}, [0], ["-1"]), why=">= 0 was not seen")
    assert_rejected(positive, combination("x*y", {"x": "(0, 1)", "y": "[0, 1]"}, [0], ["y"]), why="none of the rest")
    assert_rejected(positive, combination("x", {"x": "(0, 1)"}, [0], []), why="need 1 coefficients")
    assert_rejected(
        positive, combination("1 + x", {"y": "(0, 1)", "x": "(0, 1)"}, [0], ["y/y"], "2"), why="= 0 was not"
    )
    known = equal("exp(x)*exp(-x)", "1", LINE)
    assert_rejected(known, combination("1", LINE, [0], ["1"], "1"), why="claims positive, got equal")


def test_combination_needs_an_interval_of_every_symbol_of_a_premise():
    nodes = by_form("x", LINE), combination("x + 1", {"y": "(0, 1)"}, [0], ["1"], "1")
    assert_rejected(*nodes, why="x has no interval")


# instance


def test_instance():
    lemma = by_form("exp(x) - 1", LINE)
    assert_follows(lemma, instance("positive", "exp(y**2 + 1) - 1", {"y": "(-oo, oo)"}, {"x": "y**2 + 1"}))
    swapped = {"x": "(0, oo)", "y": "[1, oo)"}
    lemma = by_form("x + (y - 1)**2", swapped)
    assert_follows(
        lemma, instance("positive", "y + (x - 1)**2", {"y": "(0, oo)", "x": "[1, oo)"}, {"x": "y", "y": "x"})
    )


def test_instance_fails():
    lemma, unit = by_form("exp(x) - 1", LINE), {"y": "[0, oo)"}
    assert_rejected(lemma, instance("positive", "exp(y) - 1", unit, {"x": "y"}), why="lies in the premise's interval")
    assert_rejected(
        lemma, instance("positive", "exp(x) - 1", {"x": "[0, 1)"}, {}), why="lies in the premise's interval"
    )
    assert_rejected(lemma, instance("positive", "exp(y + 1)", unit, {"x": "y + 1"}), why="= 0 was not seen")
    assert_rejected(lemma, instance("positive", "exp(y + 1) - 1", unit, {"x": "y + 1", "z": "1"}), why="need values")
    assert_rejected(lemma, instance("positive", "exp(1) - 1", {}, {}), why="x has no interval")
    known = equal("exp(x)*exp(-x)", "1", LINE)
    assert_rejected(known, instance("positive", "exp(y + 1)", unit, {"x": "y + 1"}), why="claims positive, got equal")


def test_an_instance_has_real_values():
    """x^2 + 1 > 0 for all real x; with sqrt(z) for x it is z + 1, which is not for z = -2."""
    lemma = by_form("x**2 + 1", {"x": "(-oo, oo)"})
    assert_rejected(lemma, instance("positive", "z + 1", {"z": "(-oo, oo)"}, {"x": "sqrt(z)"}), why="may leave")
    assert_follows(lemma, instance("positive", "z + 1", {"z": "[0, oo)"}, {"x": "sqrt(z)"}))
    assert_rejected(lemma, instance("positive", "1 + z**(-2)", {"z": "[0, oo)"}, {"x": "1/z"}), why="may leave")


# vanishes


def test_vanishes():
    assert_follows(vanishing("x**3*exp(-x) + 1/x", LINE, "oo"))
    assert_follows(vanishing("tau*erfc(tau/sqrt(x))", {"x": "(0, 1]", "tau": "[0, oo)"}, "0"))


@pytest.mark.parametrize(
    ("expression", "domain", "end", "why"),
    [
        ("exp(-1/x)", "(-oo, 0)", "0", "at 0 from above"),
        ("exp(-x)", "(2, 3)", "oo", "does not tend to oo"),
        ("x - 1", "(0, oo)", "1", "at 0 from above"),
        ("exp(x**2)*exp(-x)", "(0, oo)", "oo", "was not seen to vanish"),
        ("erfc(-x)", "(0, oo)", "oo", "was not seen to vanish"),
        ("1/10**50 + exp(-x)", "(0, oo)", "oo", "was not seen to vanish"),
        ("m*exp(-x)", "(0, oo)", "oo", "m has no interval"),
        ("sqrt(x - 1)*exp(-x)", "(0, oo)", "oo", "may leave"),
    ],
)
def test_vanishes_fails(expression, domain, end, why):
    assert_rejected(vanishing(expression, {"x": domain}, end), why=why)


# from_end


def test_from_end():
    assert_follows(by_form("1", LINE), from_end("x", LINE, "0", "0"))
    closed = {"x": "[0, 1]"}
    assert_follows(by_form("1", closed), from_end("x + 1", closed, "0", "1"))
    assert_follows(by_form("1", {"x": "(0, 1)"}), from_end("x + 1", closed, "0", "1"))  # the slope is needed inside
    assert_follows(by_form("1", {"x": "[0, 1)"}), from_end("1 - x", {"x": "[0, 1)"}, "1", "0"))
    assert_follows(by_form("exp(-x)", LINE), from_end("exp(-x)", LINE, "oo", "0"))
    gaussian = by_form("2*exp(-x**2)/sqrt(pi)", {"x": "(-oo, oo)"})
    boundary = vanishing("erfc(x)", {"x": "(-oo, oo)"}, "oo")
    assert_follows(gaussian, boundary, from_end("2 + erfc(x)", {"x": "(-oo, oo)"}, "oo", "2", (0, 1)))


def test_from_end_fails():
    half, one = {"x": "[0, oo)"}, by_form("1", {"x": "[0, oo)"})
    assert_rejected(one, from_end("x", half, "0", "0"), why="may have another sign")  # it is 0 at the closed end
    assert_rejected(one, from_end("x - 1", LINE, "0", "-1"), why="may have another sign")
    assert_rejected(one, from_end("x - 1", LINE, "0", "0"), why="= 0 was not seen")
    assert_rejected(one, from_end("x", LINE, "1", "1"), why="is no end")
    assert_rejected(one, from_end("x", LINE, "oo", "0"), why="= 0 was not seen")  # it falls towards 0
    assert_rejected(one, from_end("2*x", LINE, "0", "0"), why="= 0 was not seen")
    assert_rejected(one, from_end("x + m", {**LINE, "m": "[-1, 0]"}, "0", "m"), why="may have another sign")
    assert_rejected(one, from_end("x", LINE, "0", "x"), why="x has no interval")
    assert_rejected(by_form("1", {"x": "(1, oo)"}), from_end("x", LINE, "0", "0"), why="not covered")
    assert_rejected(by_form("x**(-2)", LINE), from_end("-1/x", LINE, "0", "0"), why="may leave")
    assert_rejected(one, from_end("x + sqrt(x - 1) - sqrt(x - 1)", LINE, "0", "0"), why="may leave")
    falling = by_form("exp(-x)", LINE)
    assert_rejected(falling, from_end("exp(-x) - 1", LINE, "oo", "0"), why="was not seen to vanish")


def test_from_end_does_not_pass_a_pole():
    """1/(1 - x) rises on both sides of 1, from 1 at 0, and is negative beyond."""
    sides = by_form("(1 - x)**(-2)", {"x": "[0, 1)"})
    assert_follows(sides, from_end("1/(1 - x)", {"x": "[0, 1)"}, "0", "1"))
    assert_rejected(by_form("(1 - x)**(-2)", LINE), why="may leave")
    assert_rejected(sides, from_end("1/(1 - x)", LINE, "0", "1"), why="may leave")


def test_the_boundary_of_from_end_is_the_right_limit():
    both, slope = {"x": "(0, oo)", "m": "(0, oo)"}, by_form("exp(-x)", LINE)
    good = vanishing("exp(-x)", LINE, "oo")
    assert_follows(slope, good, from_end("exp(-x) + m", both, "oo", "m", (0, 1)))
    assert_rejected(slope, good, from_end("exp(-x) - m", both, "oo", "-m", (0, 1)), why="another sign")
    assert_rejected(slope, good, from_end("exp(-x) - m", both, "oo", "0", (0, 1)), why="= 0 was not seen")
    # x exp(-x) vanishes at 0 and falls beyond 1.
    nodes = by_form("exp(-x)*(x - 1)", {"x": "(1, oo)"}), vanishing("x*exp(-x)", LINE, "0")
    assert_rejected(*nodes, from_end("x*exp(-x)", {"x": "(1, oo)"}, "oo", "0", (0, 1)), why="not the one at the high")
    nodes = by_form("exp(-x)", both), vanishing("exp(-m)", {"m": "(0, oo)", "x": "(0, oo)"}, "oo", variable="m")
    assert_rejected(*nodes, from_end("exp(-x) - 1", both, "oo", "0", (0, 1)), why="vanishing along m, not x")
    narrow = vanishing("exp(-x)", {"x": "(1, oo)"}, "oo")
    assert_rejected(slope, narrow, from_end("exp(-x)", LINE, "oo", "0", (0, 1)), why="not covered")
    assert_rejected(slope, slope, from_end("exp(-x)", LINE, "oo", "0", (0, 1)), why="claims vanishing, got positive")


# increasing, multiple


def test_increasing_and_multiple():
    rising, crossing = line("x - 1", LINE)
    assert_follows(rising, crossing, multiple("x*exp(-x) - exp(-x)", LINE, "exp(-x)"))
    assert_follows(rising, crossing, multiple("3*x - 3", {"x": "(0, 5]", "y": "(0, 1)"}, "3"))


def test_increasing_and_multiple_fail():
    rising, crossing = line("x - 1", LINE)
    assert_rejected(rising, increasing("1 - x", LINE), why="= 0 was not seen")
    assert_rejected(rising, increasing("sqrt(x**2)", {"x": "(-oo, oo)"}), why="may leave|not covered")
    assert_rejected(by_form("1", {"x": "(0, 1)"}), increasing("x", LINE), why="not covered")
    everywhere = {"x": "(-oo, oo)"}
    assert_rejected(by_form("1", everywhere), increasing("x + sqrt(x**2) - sqrt(x**2)", everywhere), why="or smooth")
    assert_rejected(rising, crossing, multiple("1 - x", LINE, "-1"), why="> 0 was not seen")
    assert_rejected(rising, crossing, multiple("y*x - y", {**LINE, "y": "[0, 1]"}, "y"), why="> 0 was not seen")
    assert_rejected(rising, crossing, multiple("x - 2", LINE, "1"), why="= 0 was not seen")
    assert_rejected(rising, crossing, multiple("x - 1", {"x": "[0, oo)"}, "1"), why="not covered")
    assert_rejected(rising, multiple("1", LINE, "1", 0), why="claims crossing, got positive")
    plane = {"x": "(0, oo)", "y": "(0, oo)"}
    nodes = by_form("1", plane), increasing("y - x", plane, "y")
    assert_rejected(*nodes, multiple("y - x", plane, "1"), why="crossing along y, not x")


# valley, hump, ridge


def test_valley():
    assert_follows(*line("2*x - 1", LINE), shape("valley", "x**2 - x", LINE, "0", "0"))
    closed = {"x": "[0, oo)"}
    assert_follows(*line("2*x - 1", closed), shape("valley", "x**2 - x - 1", closed, "0", "-1"))


def test_valley_fails():
    closed = {"x": "[0, oo)"}
    steps = line("2*x - 1", LINE)
    assert_rejected(*line("2*x - 1", closed), shape("valley", "x**2 - x", closed, "0", "0"), why="another sign")
    assert_rejected(*steps, shape("valley", "x**2 - x + 1", LINE, "0", "1"), why="another sign")
    assert_rejected(*steps, shape("valley", "x - x**2", LINE, "0", "0"), why="= 0 was not seen")
    assert_rejected(*steps, shape("valley", "x**2 - x", LINE, "oo", "0"), why="is not the low end")
    assert_rejected(steps[0], shape("valley", "2*x", LINE, "0", "0", (0,)), why="claims crossing, got positive")


def test_hump():
    nodes = [*line("x - 3", LINE), multiple("(x - 3)*exp(-x)", LINE, "exp(-x)")]
    hump = shape("hump", "(x - 2)*exp(-x)", LINE, "oo", "0", (2,))
    assert_follows(*nodes, hump)
    boundary = vanishing("(x - 2)*exp(-x)", LINE, "oo")
    assert_follows(*nodes, boundary, shape("hump", "(x - 2)*exp(-x)", LINE, "oo", "0", (2, 3)))


def test_hump_fails():
    nodes = [*line("x - 3", LINE), multiple("(x - 3)*exp(-x)", LINE, "exp(-x)")]
    below = shape("hump", "(x - 2)*exp(-x) - 1", LINE, "oo", "-1", (2,))
    assert_rejected(*nodes, below, why="another sign")
    assert_rejected(*nodes, {**below, "data": {"end": "oo", "limit": "0"}}, why="was not seen to vanish")
    assert_rejected(*nodes, shape("hump", "(2 - x)*exp(-x)", LINE, "oo", "0", (2,)), why="= 0 was not seen")
    rises = by_form("2/x**3", LINE), increasing("-1/x**2", LINE)
    assert_follows(*rises, shape("hump", "-1/x", LINE, "oo", "0", (1,)))
    assert_rejected(*rises, shape("hump", "-1/x", {"x": "[0, oo)"}, "oo", "0", (1,)), why="may leave")
    other = vanishing("exp(-x)", LINE, "oo")
    assert_rejected(*nodes, other, shape("hump", "(x - 2)*exp(-x)", LINE, "oo", "0", (2, 3)), why="= 0 was not seen")
    closed = {"x": "[0, 1]"}
    steps = line("2*x - 1", closed)
    assert_rejected(*steps, shape("hump", "x - x**2", closed, "1", "0"), why="another sign")
    assert_rejected(*steps, shape("hump", "x - x**2", closed, "0", "0"), why="is not the high end")
    half_open = {"x": "[0, 1)"}
    assert_follows(*steps, shape("hump", "x - x**2", half_open, "1", "0"))


def test_ridge():
    nodes = [*line("x - 1", LINE), multiple("(x - 1)*exp(-x)", LINE, "exp(-x)")]
    assert_follows(*nodes, ridge("x*exp(-x)", LINE, "oo", "0", "0", (2,)))
    assert_follows(*line("2*x - 1", {"x": "[0, 1]"}), ridge("1 + x - x**2", {"x": "[0, 1]"}, "1", "1", "1", (1,)))


def test_ridge_fails():
    nodes = [*line("x - 3", LINE), multiple("(x - 3)*exp(-x)", LINE, "exp(-x)")]
    assert_rejected(*nodes, ridge("(x - 2)*exp(-x)", LINE, "oo", "0", "-2", (2,)), why="another sign")
    assert_rejected(*nodes, ridge("(x - 2)*exp(-x)", LINE, "oo", "0", "0", (2,)), why="= 0 was not seen")
    closed = line("2*x - 1", {"x": "[0, 1]"})
    for domain in ("[0, 1]", "(0, 1]", "[0, 1)"):
        assert_rejected(*closed, ridge("x - x**2", {"x": domain}, "1", "0", "0", (1,)), why="another sign")
    assert_follows(*closed, ridge("x - x**2", {"x": "(0, 1)"}, "1", "0", "0", (1,)))
    assert_rejected(*closed, ridge("x - x**2 - 1", {"x": "(0, 1)"}, "1", "-1", "-1", (1,)), why="another sign")


# on_boxes


def boxes(expression, domain, *rows):
    return node("positive", expression, domain, "on_boxes", [], {"boxes": list(rows)})


def test_on_boxes():
    assert_follows(
        boxes(
            "x**2",
            {"x": "[1, 3]"},
            {"x": ["1", "2"], "value": ["1", "4"]},
            {"x": ["2", "3"], "value": ["4", "9"]},
        )
    )
    # Of x**2 the ball by slopes is 121/4 +- 279/4: it reaches below 0, where roots have no bounded slope.
    assert_follows(boxes("sqrt(x**2 + 1)", {"x": "[1, 10]"}, {"x": ["1", "10"], "value": ["1", "11"]}))


def test_on_boxes_fails():
    row = {"x": ["1", "2"], "value": ["1", "2"]}
    closed = {"x": "[1, 2]"}
    assert_follows(boxes("x", closed, row))
    assert_rejected(boxes("x", closed), why="need|cover")
    assert_rejected(boxes("x", {"x": "[1, 3]"}, row), why="cover")
    assert_rejected(boxes("x", {"x": "[1, 3/2]"}, row), why="leaves the domain")
    for domain in ("(1, 2)", "[1, 2)", "[1, oo)", "[sqrt(1), 2]"):
        assert_rejected(boxes("x", {"x": domain}, row), why="need a closed interval|need rational ends")
    assert_rejected(boxes("x - 1", closed, {"x": ["1", "2"], "value": ["0", "1"]}), why="not above 0")
    assert_rejected(boxes("x - 3", closed, {"x": ["1", "2"], "value": ["-2", "-1"]}), why="not above 0")
    assert_rejected(boxes("x - 3/2", closed, {"x": ["1", "2"], "value": ["1/2", "3/2"]}), why="misses values")
    assert_rejected(boxes("x/(x - 1)", closed, row), why="need a base without 0")
    assert_rejected(boxes("sqrt(x - 3/2) + 1", closed, row), why="need a base >= 0")
    assert_rejected(boxes("y", closed, row), why="y has no interval")
    assert_rejected(boxes("x", {**closed, "y": "[0, 1]"}, row), why="need a box of x, y and value")
    assert_rejected(boxes("x", closed, {**row, "y": ["0", "1"]}), why="need a box of x and value")
    for value in (["1"], ["1", "2", "3"], ["x", "2"], [1, 2], "12", ["2", "1"], ["1/2", "2"], ["1", "3"], ["1", "3/2"]):
        why = "need two ends|need a rational|need a text|in order|misses values|wider"
        assert_rejected(boxes("x", closed, {**row, "value": value}), why=why)


# root


def root(equations, variable, domain):
    return node("root", equations, domain, "root", variable=variable)


def test_root():
    assert_follows(root("(x**2 - 2,)", "(x,)", {"x": "[1, 2]"}))
    assert_follows(root("(x**2 - 2,)", "(x,)", {"x": "[1414/1000, 1415/1000]"}))
    near = f"[{10**41 - 1}/{10**41}, {10**41 + 1}/{10**41}]"
    assert_follows(root("(x - 1,)", "(x,)", {"x": near}))
    assert_follows(root("(x**2 - a,)", "(x,)", {"x": "[1, 2]", "a": "[19/10, 21/10]"}))
    system = "(x + y - 3, erfc(x) - erfc(2*y))"
    assert_follows(root(system, "(x, y)", {"x": "[19/10, 21/10]", "y": "[9/10, 11/10]"}))


@pytest.mark.parametrize(
    ("equations", "variable", "domain", "why"),
    [
        ("(x**2 + 2,)", "(x,)", {"x": "[1, 2]"}, "no single root"),
        ("(x**2 - 9,)", "(x,)", {"x": "[1, 2]"}, "no single root"),
        ("(x**2 - 2,)", "(x,)", {"x": "[-2, 2]"}, "no single root"),
        ("((x - 1)**2,)", "(x,)", {"x": "[1/2, 3/2]"}, "no single root"),
        ("(x**3 - x,)", "(x,)", {"x": "[-2, 2]"}, "no single root"),  # three, and steep in the middle
        ("(x - 1,)", "(x,)", {"x": "[1, 2]"}, "no single root"),  # at an end
        ("(x**2 - a,)", "(x,)", {"x": "[1, 2]", "a": "[1/2, 3]"}, "no single root"),
        ("(x**2 - 2, x - y)", "(x,)", {"x": "[1, 2]", "y": "[1, 2]"}, "as many equations"),
        ("(x**2 - 2, x**2 - 2)", "(x, x)", {"x": "[1, 2]"}, "each once"),
        ("(x - 1, 2*x - 2)", "(x, y)", {"x": "[0, 2]", "y": "[0, 2]"}, "no single root"),
        ("(y**2 - 2,)", "(y,)", {"x": "[1, 2]"}, "need unknowns of the domain"),
        ("(x**2 - a,)", "(x,)", {"x": "[1, 2]"}, "a has no interval"),
        ("(x**2 - 2,)", "(x,)", {"x": "(1, 2)"}, "closed interval"),
        ("(x**2 - 2 + 0*a,)", "(x,)", {"x": "[1, 2]", "a": "(0, oo)"}, "closed interval"),
        ("(1/x - 1/2 + 1/x - 1/x,)", "(x,)", {"x": "[-1, 3]"}, "base without 0"),
        ("x**2 - 2", "(x,)", {"x": "[1, 2]"}, "need a tuple"),
        ("()", "()", {"x": "[1, 2]"}, "need a tuple"),
        ("(x**2 - 2,)", "(x + 1,)", {"x": "[1, 2]"}, "need a symbol's name"),
    ],
)
def test_root_fails(equations, variable, domain, why):
    assert_rejected(root(equations, variable, domain), why=why)


def test_a_root_is_no_premise():
    nodes = root("(x**2 - 2,)", "(x,)", {"x": "[1, 2]"}), combination("1", {"x": "[1, 2]"}, [0], ["1"], "1")
    assert_rejected(*nodes, why="claims positive, got root")
