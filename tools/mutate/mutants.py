"""Plausible faults of a module: small changes of its expressions and statements, each as a change of its text."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass

FLIPPED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
SWAPPED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.FloorDiv: ast.Mult, ast.Div: ast.Mult,
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """A fault: the bytes from ``start`` to ``end`` of a module's UTF-8 text become ``new``. ``line`` counts from 1."""

    line: int
    start: int
    end: int
    new: str

    def applied(self, text: str) -> str:
        data = text.encode()
        return (data[: self.start] + self.new.encode() + data[self.end :]).decode()


def mutants(text: str) -> list[Mutant]:
    """Every mutant of a module's text that parses, in order of place. Annotations and messages stay as they are."""
    tree = ast.parse(text)
    offsets = [0]
    for line in text.encode().splitlines(keepends=True):
        offsets.append(offsets[-1] + len(line))
    found = []
    for node in _mutable(tree):
        start = offsets[node.lineno - 1] + node.col_offset
        end = offsets[(node.end_lineno or node.lineno) - 1] + (node.end_col_offset or 0)
        for new in _changes(node):
            mutant = Mutant(node.lineno, start, end, new)
            if _parses(mutant.applied(text)):
                found.append(mutant)
    return found


def _mutable(node: ast.AST) -> Iterator[ast.expr | ast.stmt]:
    """The expressions and statements below ``node`` that decide what the module does."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "type_params", "bases") or isinstance(node, ast.Raise):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.JoinedStr) or not isinstance(child, ast.AST):
                continue
            if isinstance(child, ast.expr | ast.stmt):
                yield child
            yield from _mutable(child)


def _changes(node: ast.expr | ast.stmt) -> Iterator[str]:
    """The source of every changed form of one node."""
    match node:
        case ast.Compare(ops=[operator, *_]) if type(operator) in FLIPPED:
            yield _with(node, ops=[FLIPPED[type(operator)](), *node.ops[1:]])
        case ast.BoolOp():
            yield _with(node, op=ast.And() if isinstance(node.op, ast.Or) else ast.Or())
            yield from (_source(value) for value in node.values)
        case ast.UnaryOp(op=ast.Not()):
            yield _source(node.operand)
        case ast.BinOp() if type(node.op) in SWAPPED and not isinstance(node.left, ast.Constant | ast.JoinedStr):
            yield _with(node, op=SWAPPED[type(node.op)]())
        case ast.Constant(value=bool()):
            yield str(not node.value)
        case ast.Constant(value=int() | float()):
            yield repr(node.value + 1)
        case ast.IfExp():
            yield _source(node.body)
            yield _source(node.orelse)
        case ast.Call(keywords=[_, *_]):
            yield from (_without(node, "keywords", place) for place in range(len(node.keywords)))
        case ast.Tuple(elts=[_, _, *_], ctx=ast.Load()) | ast.List(elts=[_, _, *_], ctx=ast.Load()):
            yield from (_without(node, "elts", place) for place in range(len(node.elts)))
        case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() | ast.DictComp() if node.generators[0].ifs:
            changed = copy.deepcopy(node)
            changed.generators[0].ifs.pop()
            yield _source(changed)
        case ast.Expr(value=ast.Call()):
            yield "pass"
        case ast.Return(value=value) if value is not None and not isinstance(value, ast.Constant):
            yield "return None"


def _with(node: ast.expr, **fields: object) -> str:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return _source(changed)


def _without(node: ast.expr, name: str, place: int) -> str:
    left = list(getattr(node, name))
    del left[place]
    return _with(node, **{name: left})


def _source(node: ast.expr) -> str:
    text = ast.unparse(node)
    return text if isinstance(node, ast.Name | ast.Constant | ast.Call | ast.Attribute) else f"({text})"


def _parses(text: str) -> bool:
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True
