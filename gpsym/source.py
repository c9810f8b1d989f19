"""Python source put together from the definitions of modules: what exported files are made of."""

from __future__ import annotations

import ast
import sys
from importlib import resources

__all__ = ["definitions", "import_statements"]


def definitions(path: str, *names: str) -> tuple[list[str], set[tuple[str, str]]]:
    """(sources, imports) of these definitions in a file of gpsym, and of whatever else they need there.

    path     such as "torch/init.py".  It is read as text, so that nothing that it imports is needed.
    sources  the definitions in the order of their file, with the comments just above them.
    imports  (module, name) that they import, as ("torch.nn", "functional as F"); (module, "") for `import module`.

    What they import from gpsym is put among the sources in the same way.
    """
    text = resources.files("gpsym").joinpath(path).read_text(encoding="utf-8")
    tree = ast.parse(text)
    defined = {name: node for node in tree.body for name in _defined(node)}
    wanted = _closure(defined, names)
    used = set().union(*(_names(defined[name]) for name in wanted))
    sources: list[str] = []
    imports: set[tuple[str, str]] = set()
    for module, name in (pair for node in tree.body for pair in _imported(node)):
        bound = name.split()[-1] if name else module.partition(".")[0]
        if bound not in used or module == "__future__":
            continue
        if not module.startswith("gpsym."):
            imports.add((module, name))
            continue
        others, theirs = definitions(module.partition(".")[2].replace(".", "/") + ".py", name)
        sources += [other for other in others if other not in sources]
        imports |= theirs
    lines = text.splitlines()
    nodes = sorted({defined[name] for name in wanted}, key=lambda node: node.lineno)
    return sources + [_source(lines, node) for node in nodes], imports


def import_statements(imports: set[tuple[str, str]]) -> str:
    """The statements of imports, sorted: the standard library's, a blank line, the others'."""
    named: dict[str, list[str]] = {}
    for module, name in sorted(imports):
        if name:
            named.setdefault(module, []).append(name)
    statements = [f"import {module}" for module, name in sorted(imports) if not name]
    statements += [f"from {module} import {', '.join(names)}" for module, names in named.items()]
    blocks: tuple[list[str], list[str]] = ([], [])
    for statement in statements:
        blocks[statement.split()[1].partition(".")[0] not in sys.stdlib_module_names].append(statement)
    return "\n\n".join("\n".join(block) for block in blocks if block)


def _defined(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _names(node: ast.AST) -> set[str]:
    return {child.id for child in ast.walk(node) if isinstance(child, ast.Name)}


def _closure(defined: dict[str, ast.stmt], names: tuple[str, ...]) -> set[str]:
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [other for other in _names(defined[name]) if other in defined]
    return found


def _imported(node: ast.stmt) -> list[tuple[str, str]]:
    """(module, name) of an import statement, with "" for `import module`."""
    if isinstance(node, ast.ImportFrom):
        return [(node.module or "", ast.unparse(alias)) for alias in node.names]
    return [(alias.name, "") for alias in node.names] if isinstance(node, ast.Import) else []


def _source(lines: list[str], node: ast.stmt) -> str:
    decorators = getattr(node, "decorator_list", [])
    first = min([node.lineno, *(decorator.lineno for decorator in decorators)]) - 1
    while first and lines[first - 1].startswith("#"):
        first -= 1
    return "\n".join(lines[first : node.end_lineno])
