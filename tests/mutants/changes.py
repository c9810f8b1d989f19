"""The mutants of a source: each has one operator, constant, condition, result or statement changed.

Left alone is what no test should hold: annotations, decorators (`@cache` changes no value), the texts of errors, flags
`strict=` and assertions, which state what always holds.  An assignment is dropped only where the name, the attribute or
the element existed before it, as otherwise every use of it fails.
"""

from __future__ import annotations

import ast
import copy
import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

__all__ = ["Mutant", "mutants"]

COMPARISONS = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
OPERATORS = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.And: ast.Or,
    ast.Or: ast.And,
}
NEGATED = (ast.Eq, ast.NotEq, ast.Is, ast.IsNot, ast.In, ast.NotIn)  # where another operator is the negation
SKIPPED = (ast.JoinedStr, ast.Assert, ast.Raise, ast.Import, ast.ImportFrom)
UNCHANGED = {"annotation", "returns", "decorator_list"}


@dataclass(frozen=True)
class Mutant:
    """The text `source` of the file `path` with bytes start to end replaced; the change is on this line."""

    path: str
    source: bytes
    line: int
    start: int
    end: int
    replacement: bytes

    @property
    def text(self) -> bytes:
        return self.source[: self.start] + self.replacement + self.source[self.end :]

    @property
    def diff(self) -> str:
        """The lines that differ, without context."""
        before, after = (text.decode().splitlines() for text in (self.source, self.text))
        lines = list(difflib.unified_diff(before, after, n=0, lineterm=""))[3:]
        return "\n".join(line for line in lines if not line.startswith("@@"))


def mutants(path: str, source: bytes) -> list[Mutant]:
    """All mutants of a Python source, in the order of their places; no two have the same text."""
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found: dict[tuple[int, int, bytes], Mutant] = {}
    for old, new in _changes(ast.parse(source)):
        start = starts[old.lineno - 1] + old.col_offset
        end = starts[old.end_lineno - 1] + old.end_col_offset
        text = ast.unparse(ast.fix_missing_locations(new))
        replacement = (f"({text})" if isinstance(new, ast.expr) else text).encode()
        found[start, end, replacement] = Mutant(path, source, old.lineno, start, end, replacement)
    return [found[place] for place in sorted(found)]


def _changes(node: ast.AST) -> Iterator[tuple[Any, ast.AST]]:
    """Pairs of a node below this one and what replaces it."""
    yield from ((node, new) for new in _replacements(node))
    yield from ((test, ast.UnaryOp(ast.Not(), test)) for test in _conditions(node))
    if isinstance(node, SKIPPED) or (isinstance(node, ast.keyword) and node.arg == "strict"):
        return
    for field, value in ast.iter_fields(node):
        if field not in UNCHANGED:
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from _changes(child)


def _replacements(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.Compare(ops=ops):
            for i, op in enumerate(ops):
                yield _with(node, ops=[*ops[:i], COMPARISONS[type(op)](), *ops[i + 1 :]])
        case ast.BinOp(left=ast.Constant(value=str())) | ast.BinOp(right=ast.Constant(value=str())):
            pass  # texts put together
        case ast.BinOp(op=op) | ast.BoolOp(op=op) if type(op) in OPERATORS:
            yield _with(node, op=OPERATORS[type(op)]())
        case ast.UnaryOp(op=ast.USub() | ast.Not() | ast.Invert(), operand=operand):
            yield operand
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value) | float(value)):
            yield from (ast.Constant(value + 1), ast.Constant(value - 1))
        case ast.Return(value=value) if value is not None and not _is_false(value):
            yield ast.Return(ast.Constant(None))
        case ast.AugAssign(op=op):
            yield ast.Pass()
            if type(op) in OPERATORS:
                yield _with(node, op=OPERATORS[type(op)]())
        case ast.Raise() | ast.Continue():
            yield ast.Pass()
        case ast.Expr(value=value) if not isinstance(value, ast.Constant):  # no docstring
            yield ast.Pass()
        case ast.Assign() if _changes_what_exists(node):
            yield ast.Pass()


def _conditions(node: ast.AST) -> list[ast.expr]:
    match node:
        case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test) | ast.match_case(guard=test) if test:
            tests = [test]
        case ast.comprehension(ifs=tests):
            pass
        case _:
            tests = []
    return [test for test in tests if not _has_negation_already(test)]


def _has_negation_already(test: ast.expr) -> bool:
    """Whether another change negates it."""
    match test:
        case ast.UnaryOp(op=ast.Not()):
            return True
        case ast.Compare(ops=[op]):
            return isinstance(op, NEGATED)
    return False


def _changes_what_exists(node: ast.Assign) -> bool:
    names = {n.id for n in ast.walk(node.value) if isinstance(n, ast.Name)}
    stored = [n for target in node.targets for n in ast.walk(target)]
    return any(
        isinstance(n, ast.Attribute | ast.Subscript) or (isinstance(n, ast.Name) and n.id in names) for n in stored
    )


def _is_false(node: ast.expr) -> bool:
    """Whether it is None or False, which nearly all who ask take to be the same."""
    return isinstance(node, ast.Constant) and (node.value is None or node.value is False)


def _with(node: ast.AST, **fields: Any) -> ast.AST:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed
