"""The changes that ``mutants.py`` makes: one expression of a module, no docstrings or messages."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Iterator

_COMPARED = {
    **{ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "=="},
    **{ast.Is: "is not", ast.IsNot: "is", ast.In: "not in", ast.NotIn: "in"},
}
_ARITHMETIC = {
    **{ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*", ast.FloorDiv: "*", ast.Mod: "//"},
    **{ast.Pow: "*", ast.BitAnd: "|", ast.BitOr: "&"},
}
_SWAPPED = {
    **{"float32": "bfloat16", "min": "max", "max": "min", "any": "all", "all": "any", "sum": "max"},
    **{"minimum": "maximum", "maximum": "minimum", "zeros": "ones", "ones": "zeros", "argmax": "argmin"},
}


@dataclasses.dataclass(frozen=True)
class Mutation:
    """One change: ``before`` becomes ``after`` at an offset of the file's text.

    Attributes:
      file: path from the root of the checkout.
      line: from 1.
      operator: the kind of change.
      start, before, after: the text at character ``start`` that is replaced, and what replaces it.
    """

    file: str
    line: int
    operator: str
    start: int
    before: str
    after: str

    def apply(self, text: str) -> str:
        """The file's text with the change.

        Raises:
          ValueError: the file has changed since.
        """
        end = self.start + len(self.before)
        if text[self.start : end] != self.before:
            raise ValueError(f"{self.file}:{self.line}: {self.before!r} is not there")
        return text[: self.start] + self.after + text[end:]


class _Finder(ast.NodeVisitor):
    def __init__(self, file: str, text: str) -> None:
        self._file, self._text = file, text
        lengths = [0]
        for line in text.splitlines(keepends=True):
            lengths.append(lengths[-1] + len(line))
        self._lines = text.splitlines(keepends=True)
        self._offsets = lengths
        self.found: list[Mutation] = []

    def _offset(self, line: int, column: int) -> int:
        prefix = self._lines[line - 1].encode()[:column].decode()
        return self._offsets[line - 1] + len(prefix)

    def _span(self, node: ast.expr) -> tuple[int, int]:
        assert node.end_lineno is not None and node.end_col_offset is not None
        return self._offset(node.lineno, node.col_offset), self._offset(node.end_lineno, node.end_col_offset)

    def _add(self, node: ast.expr, operator: str, after: str) -> None:
        start, end = self._span(node)
        self.found.append(Mutation(self._file, node.lineno, operator, start, self._text[start:end], after))

    def _source(self, node: ast.expr) -> str:
        start, end = self._span(node)
        return self._text[start:end]

    def visit_Compare(self, node: ast.Compare) -> None:
        if len(node.ops) == 1 and type(node.ops[0]) in _COMPARED:
            left, right = self._source(node.left), self._source(node.comparators[0])
            self._add(node, "comparison", f"{left} {_COMPARED[type(node.ops[0])]} {right}")
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if type(node.op) in _ARITHMETIC:
            left, right = self._source(node.left), self._source(node.right)
            if not any(
                isinstance(side, (ast.JoinedStr, ast.List, ast.Tuple)) for side in (node.left, node.right)
            ):
                self._add(node, "arithmetic", f"({left}) {_ARITHMETIC[type(node.op)]} ({right})")
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        other = " or " if isinstance(node.op, ast.And) else " and "
        self._add(
            node, "boolean", "(" + other.join(f"({self._source(value)})" for value in node.values) + ")"
        )
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, (ast.Not, ast.USub)):
            self._add(node, "unary", f"({self._source(node.operand)})")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, bool):
            self._add(node, "constant", str(not node.value))
        elif isinstance(node.value, (int, float)):
            self._add(node, "constant", repr(node.value + 1 if node.value < 1e6 else node.value * 2))

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self._add(node, "condition", f"({self._source(node.orelse)})")
        self.generic_visit(node)

    def visit_If(self, node: ast.If) -> None:
        self._add(node.test, "condition", f"not ({self._source(node.test)})")
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if node.attr in _SWAPPED and isinstance(node.value, ast.Name):
            self._add(node, "name", f"{node.value.id}.{_SWAPPED[node.attr]}")
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Name) and node.func.id in ("min", "max", "any", "all"):
            self._add(node.func, "name", _SWAPPED[node.func.id])
        for keyword in node.keywords:
            if keyword.arg == "help":
                return  # texts
        self.generic_visit(node)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Messages are not changed."""

    def visit_Raise(self, node: ast.Raise) -> None:
        """Neither are those of errors."""

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        for part in (*node.args.defaults, *node.args.kw_defaults, *node.body):
            if part is not None:
                self.visit(part)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """Imports are not changed."""


def mutations(file: str, text: str) -> Iterator[Mutation]:
    """All mutations of a module, in the order of its text; each leaves it parseable.

    Args:
      file: path from the root of the checkout.
      text: its content.
    """
    finder = _Finder(file, text)
    for node in ast.parse(text).body:
        is_guard = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        if not is_guard:
            finder.visit(node)
    for mutation in sorted(finder.found, key=lambda one: one.start):
        if mutation.before != mutation.after:
            try:
                ast.parse(mutation.apply(text))
            except SyntaxError:
                continue
            yield mutation
