"""Texts of expressions that grow: each asks for work that is large for its length, or looks so."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import strategies as st

__all__ = ["GROWING", "growing_texts"]


def _nested(times: int, layer: Callable[[str, int], str], inner: str = "x") -> str:
    for k in range(times):
        inner = layer(inner, k)
    return inner


def _sum(count: int, term: str) -> str:
    return "+".join(term.format(k=k) for k in range(count))


def _product(count: int, factor: str) -> str:
    return "*".join(factor.format(k=k) for k in range(count))


def _list(count: int, entry: str) -> str:
    return ",".join(entry.format(k=k, square=k * k) for k in range(count))


def _case(inner: str, k: int) -> str:
    return f"Piecewise(({inner},x<{k}),({k}*x,True))"


def _condition(inner: str, k: int) -> str:
    return f"Piecewise((x,{inner}<{k + 1}),({k}-x,True))"


def _powers(count: int) -> str:
    return _nested(count, lambda inner, _: f"({inner})**64")


# Numbers.
_NUMBERS = (
    "9**9**9", "2**-9**9*x", "1e999999999*x", "1e-999999999*x", "9" * 2000, "x*" + "9" * 1200, "x*0." + "9" * 300,
    "x*9**400", "x*9**4000", "x*(1/3)**800", "x*pi**32", "x*pi**pi", "x*pi**100", "x*(pi+sqrt(2))**32", _powers(4),
    "x*2**(1/3)", "x*2**(1/1000003)", "x*(10**300+1)**(1/3)", "x*(2**1000)**(1/2)", "x*(" + "1/7+" * 300 + "1)",
    "x*" + "(1/3)*" * 300 + "1", "x*" + "(1/7+" * 40 + "1" + ")" * 40, "x*(" + _sum(250, "1/1{k}3") + ")",
    "x*sqrt(" + "sqrt(" * 44 + "2" + ")" * 45, "x*" + "sqrt(" * 4 + "2" + ")" * 4,
    "x*sqrt(pi+sqrt(pi+sqrt(pi)))", "(x+pi+sqrt(2))**16", "max(0,x-pi**30)*max(0,x-2**50)",
    "x*(-1)**0.5", "x*(-8)**(1/3)", "x*sqrt(sqrt(2)+sqrt(3)-sqrt(5+2*sqrt(6)))",
    "max(0,x-sqrt(2)-sqrt(3)-sqrt(5))", "max(0,x-sqrt(2)-sqrt(3)-sqrt(5)-sqrt(7))",
    "max(0,x-sqrt(2)-sqrt(3)-sqrt(5)-sqrt(7)-sqrt(11)-sqrt(13))", "max(0,x-sqrt(2)-sqrt(3),x-sqrt(5+2*sqrt(6)))",
)  # fmt: skip
# Powers and sums that grow when they are expanded.
_POWERS = (
    "x**100000", "max(0,x)**3000", "max(0,x)**32", "x**0.5**0.5", "x**x", "2**x", "(x+1)**32", "(x+1)**200",
    "(tau+m+1)**200", "(tau+m+1)**32*x", "x**-1", "1/(x+1)", "(a+b)**-32*x", "x*(a+b+c+d+e+f)**5", "x**1e5", "x**1e-5",
    "((x+1/3)**8+1/7)**4", "((((x+1)**2+1)**2+1)**2+1)**4", _product(12, "(x+a{k})"), _product(60, "(x+a{k})"),
    _product(10, "(a{k}+b{k})") + "*x", _sum(30, "a{k}*x**{k}"), _sum(100, "x**3*{k}/97"), _product(33, "max(0,x)"),
    _product(32, "(max(0,x)+1)"), _product(20, "(abs(x)+abs(x-1)+a)"), "(abs(x)+abs(x-1)+abs(x-2)+a)**20",
    "(abs(x)+abs(x-1)+abs(x-2)+abs(x-3)+abs(x-5)+a+b)**16", "abs((a+b+c+d)**8*x+1)", "max(0,x*(a**2+b**2+1)**8-1)",
    "max(0,x-(a+b+c+d+e+f)**4)", "max(0,x*(a+b+c+d)**6-(a-b+c-d)**6)", "abs((a*b+c*d+1)**9-(a*b-c*d)**9+x)",
)  # fmt: skip
# Knots.
_KNOTS = (
    _sum(180, "abs(x-{k})"), _sum(60, "abs(x-{k})"), _sum(30, "abs(x-{k})"), _product(30, "abs(x-{k})"),
    _product(30, "max(0,x-{k})"), f"max({_list(50, '{k}*x-{square}')})", f"max({_list(50, 'a{k}')},x)",
    f"max({_list(50, 'a{k}*x')})", f"Piecewise({_list(90, '(x**3+{k},x<{k})')},(x,True))",
    f"Piecewise({_list(30, '({k},x<{k})')},(x,True))", _sum(200, "max(0,x)"), _sum(100, "max(0,x-1/3)**2"),
    _sum(200, "abs(x-a)"), _sum(60, "max(0,x-{k}/7)**3"), _sum(40, "a{k}*max(0,x-{k})"), "max(0,x-a)+max(0,x-b)",
    "x*(" + "&".join(f"(x>{k})" for k in range(100)) + ")", "x*(" + "|".join(f"(x>{k})" for k in range(100)) + ")",
    _sum(12, "max(0,x-{k})**2"), _sum(12, "{k}*max(0,x-{k})**12"), _sum(12, "max(0,x-{k})"),
    "Piecewise((1,x>a),(2,x>b),(x,True))", "x*(" + "<".join(["x"] * 300) + ")", "x*(" + "<".join("abcdefghij") + "<x)",
)  # fmt: skip
# Operations inside operations.
_NESTED = (
    "-" * 1900 + "x", "~" * 1900 + "x", "not " * 400 + "x", "(" * 190 + "x" + ")" * 190, "(" * 900 + "x" + ")" * 900,
    "abs(" * 180 + "x" + ")" * 180, "abs(" * 45 + "x" + ")" * 45, "x < " * 300 + "x",
    _nested(10, _case), _nested(30, _case), _nested(45, _case), _nested(5, _condition), _nested(20, _condition),
    _nested(45, _condition), _nested(6, lambda t, k: f"max({t}-{k},{k}-{t})"),
    _nested(7, lambda t, k: f"min({t},{k}*({t}))"),
    _nested(10, lambda t, k: f"abs({t}-{2**k})"), _nested(45, lambda t, k: f"abs({t}-{2**k})"),
    _nested(40, lambda t, k: f"({t}+1)*x"), _nested(200, lambda t, k: f"({t}+1)*x"), "sign(" * 20 + "x" + ")" * 20,
    _nested(45, lambda t, k: f"max(0,{t}-1/{k + 2})*2"), _nested(20, lambda t, k: f"({t} if x > {k} else x)"),
)  # fmt: skip
# Roots of polynomials.
_ROOTS = (
    "max(0,x**5-x-1)", "max(0,x**5-x-1,x**6-x-1,x**7-x-1,x**4-x-1)", "max(0,x**32-x-1)",
    f"sign({_product(30, '(x-{k})')})", f"sign({_product(14, '(x**2-2-{k})')})", "max(0,x**3+a*x+1)",
    "max(0,x**4+a*x**3+b*x**2+c*x+d)", "max(0,x**3+m*x+1)", "sign(sqrt(2)*x**3-pi*x+1)",
    "sign(sqrt(2)*x**4-pi*x**3+sqrt(3)*x-1)", "sign(sqrt(2)*x**5-pi*x+1)",
    "sign(x**4+pi*x**3+sqrt(2)*x**2+sqrt(3)*x-1)",
    "sign(x**12+pi*x**3+sqrt(2)*x**2+sqrt(3)*x-1)", "max(0,((((x+1)**2+1)**2+1)**2-3)**2-5)",
    "max(0,(x**2-2)**4-3,(x**2-3)**4-5)", "max(x**2-2,x**3-3,x**4-4,x**5-5,x**6-6,x**7-7,x**8-8)",
    "min(max(x**2-2,x**3-3),max(x**4-4,x**5-5),max(x**6-6,x**7-7))", "max(0,x-sqrt(2)-sqrt(3))*sign(x**4-10*x**2+1)",
    "sign(x**16-136*x**14+6476*x**12-141912*x**10+1513334*x**8-7453176*x**6+13950764*x**4-5596840*x**2+46225)"
    "*max(0,x-sqrt(2)-sqrt(3)-sqrt(5)-sqrt(7))",
    "abs(" + _sum(31, "x**{k}*{k}7/9{k}") + ")", "abs(" + _product(8, "(x**4-{k}*x-3)") + ")",
)  # fmt: skip
# Text that is no activation, or only just.
_ODD = (
    "x%2", "x//2", "x@2", "x if x else 0", "[x]", "{x}", "x[0]", "(x,x)", "lambda x: x", "x:=3", "f'{x}'", "b'x'",
    "...",
    "None", "True", "True*x", "x and x>0", "(x>0)*(x<1)", "(x>0)**2", "-(x>0)", "(x>0)>(x>1)", "where(x,1,2)",
    "relu(x,1)",
    "clip(x)", "clip(x,1,-1)", "max(x,key=abs)", "max(*x)", "x.__class__", "().__class__.__bases__", "open('x')",
    "x\n+1", "x;x", "#", "x#y", "\\", "x\\\n", "é*x", "x²", "x\u200b", "\x00", "\ud800", "1_000*x", "0x1f*x",
    "1e308*x",
    "1e309*x", "5e-324*x", "1j*x", "inf*x", "nan*x", "q*x", "Heaviside(x,x)", "Heaviside(x,1,2)", "sqrt(x**2)",
    "(x**2)**(1/2)", "2**(x*0)", "Piecewise((x,x>0))", "Piecewise()", "Piecewise((x,a>0),(0,True))", "1or x", "x is x",
    "Piecewise((x,(x>0)&(x<1)|(x>2)&~(x>3)),(0,True))", "0<a<b<c<x", "x" * 2000, "x*1" + "+1*x" * 499, "," * 500,
)  # fmt: skip

GROWING: tuple[str, ...] = (*_NUMBERS, *_POWERS, *_KNOTS, *_NESTED, *_ROOTS, *_ODD)

# By index, since Hypothesis warns of samples whose repr is long.
growing_texts = st.integers(0, len(GROWING) - 1).map(lambda index: GROWING[index])
