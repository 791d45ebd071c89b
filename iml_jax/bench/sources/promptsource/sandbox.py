"""Jinja for templates of third parties: no access to Python, and bounded work.

Jinja's own sandbox keeps templates from Python's internals, but not from taking all memory or time. Here
only the constructs, filters and methods that PromptSource's 2,085 public templates use (and their close
kin) are known, and every loop step, call and operation is charged to a budget.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import jinja2
from jinja2 import nodes
from jinja2.runtime import LoopContext
from jinja2.sandbox import SandboxedEnvironment, SecurityError
from jinja2.utils import Namespace, missing

from iml_jax.bench.sources.promptsource.template_limits import (
    OUTPUT_LIMIT,
    TooMuchWorkError,
    bounded,
    budget,
    charged,
    check_format,
    check_power,
    check_product,
    check_replace,
    choice,
    concat,
    cut,
    finalized,
    highlight,
    joinable,
    most_frequent,
    short_range,
    steps,
)
from iml_jax.bench.sources.promptsource.template_nesting import TooDeepError, check_tokens, check_tree

SOURCE_LIMIT = 1 << 16  # characters of a template; the longest public one has 2,849

# ruff: noqa: SIM905  # word lists read better as words
_NODES = frozenset(
    """
    Template Output TemplateData Name Const Getitem Getattr Filter Call Assign Compare Operand If Slice
    For List Pair Neg Pos Add Sub Dict Keyword NSRef And Or Not Mul Div FloorDiv Mod Pow CondExpr Tuple
    Test Concat
    """.split()
)
_FILTERS = frozenset(
    """
    abs capitalize count d default first float format highlight int items join last length list lower
    map max min reject rejectattr replace reverse round select selectattr sort string sum title trim
    unique upper wordcount
    """.split()
)
_STRING = """
capitalize count endswith find index isalpha isdigit islower isupper join lower lstrip replace rfind rsplit
rstrip split splitlines startswith strip title upper
"""
_METHODS: dict[type, frozenset[str]] = {
    str: frozenset(_STRING.split()),
    list: frozenset({"append", "copy", "count", "index", "insert", "pop", "reverse"}),
    tuple: frozenset({"count", "index"}),
    dict: frozenset({"copy", "get", "items", "keys", "pop", "update", "values"}),
}
_LOOP = frozenset(
    {"index", "index0", "first", "last", "length", "revindex", "revindex0", "previtem", "nextitem"}
)


class MissingColumnError(jinja2.UndefinedError):
    """A template needs a column that the row has not; ``column`` names it."""

    def __init__(self, column: str) -> None:
        super().__init__(f"no column {column!r}")
        self.column = column


class ForbiddenTemplateError(Exception):
    """A template uses what is not allowed here; the message says what, and the line."""


class _RowUndefined(jinja2.Undefined):
    """Nothing, as in Jinja: prints as no text and is false. But a column that is not there is an error."""

    assigned: frozenset[str] | set[str] = frozenset()

    def _column(self) -> None:
        if self._undefined_obj is missing and self._undefined_name not in self.assigned:
            raise MissingColumnError(str(self._undefined_name))

    def __str__(self) -> str:
        self._column()
        return ""

    def __len__(self) -> int:
        self._column()
        return 0

    def __bool__(self) -> bool:
        self._column()
        return False

    def __iter__(self) -> Iterator[Any]:
        self._column()
        return iter(())

    def __eq__(self, other: object) -> bool:
        self._column()
        return type(self) is type(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        self._column()
        return id(type(self))


class TemplateSandbox(SandboxedEnvironment):
    """The Jinja environment of one or more templates; see the module.

    Random filters follow the seed given to ``render``. Thread-safe while nothing is compiled.
    """

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "**", "%"})

    def __init__(self) -> None:
        # Names that a template sets somewhere: no columns, also where they are not set yet.
        self._assigned: set[str] = set()
        undefined = type("RowUndefined", (_RowUndefined,), {"assigned": self._assigned})
        # Without the optimiser: it would run constant expressions while compiling, under no budget.
        super().__init__(undefined=undefined, optimized=False, finalize=finalized, autoescape=False)
        extra = {
            "choice": choice,
            "random": choice,
            "most_frequent": most_frequent,
            "highlight": highlight,
        }
        known = {name: self.filters[name] for name in _FILTERS if name in self.filters} | extra
        self.filters = {name: charged(name, function) for name, function in known.items()}
        self.filters |= {"_bounded": bounded, "_steps": steps, "_concat": concat, "_cut": cut}
        tests = cast("dict[str, Callable[..., Any]]", self.tests)
        self.tests = {name: charged("test", function) for name, function in tests.items()}
        self.globals = {"range": short_range, "zip": zip, "enumerate": enumerate, "namespace": Namespace}
        self.binop_table = dict(self.binop_table)

    def compile_template(self, source: str, limit: int = 0) -> jinja2.Template:
        """Parses, checks and compiles a template.

        Args:
          source: the template.
          limit: characters that each printed value is cut to; 0 cuts none.

        Raises:
          ForbiddenTemplateError: it uses a construct, filter or variable that is not allowed, or is too long.
          jinja2.TemplateSyntaxError: it is no Jinja.
        """
        budget.start(0)
        if len(source) > SOURCE_LIMIT:
            raise ForbiddenTemplateError(f"longer than {SOURCE_LIMIT} characters")
        try:
            check_tokens(self.lex(source))
            tree = self.parse(source)
            check_tree(tree)
            for node in tree.find_all(nodes.Node):
                self._check(node)
            names = tree.find_all(nodes.Name)
            self._assigned |= {node.name for node in names if node.ctx == "store"}
            _Guard(limit).visit(tree)
            return self.from_string(tree)
        except TooDeepError as error:
            raise ForbiddenTemplateError(str(error)) from error
        except (RecursionError, SyntaxError, MemoryError, ValueError, OverflowError) as error:
            # Python's own limits on source text; nothing known comes here past the checks above.
            raise ForbiddenTemplateError(f"cannot be compiled ({type(error).__name__})") from error

    def _check(self, node: nodes.Node) -> None:
        kind = type(node).__name__
        if kind not in _NODES or (isinstance(node, nodes.For) and node.recursive):
            raise ForbiddenTemplateError(f"line {node.lineno}: the construct {kind} is not allowed")
        if isinstance(node, nodes.Filter) and (node.name.startswith("_") or node.name not in self.filters):
            raise ForbiddenTemplateError(f"line {node.lineno}: the filter {node.name!r} is not allowed")
        if isinstance(node, nodes.Test) and node.name not in self.tests:
            raise ForbiddenTemplateError(f"line {node.lineno}: the test {node.name!r} is not known")
        if isinstance(node, nodes.Name) and (node.name.startswith("__") or node.name == "self"):
            raise ForbiddenTemplateError(f"line {node.lineno}: the name {node.name!r} is not allowed")
        # Rendering would refuse it too, but row by row, and the task would only come out empty.
        if isinstance(node, nodes.Getattr) and node.attr.startswith("__"):
            raise ForbiddenTemplateError(f"line {node.lineno}: the attribute {node.attr!r} is not allowed")

    def render(self, template: jinja2.Template, row: dict[str, Any], seed: int) -> str:
        """Renders one row.

        Raises:
          TooMuchWorkError: it went over a limit.
          jinja2.TemplateError, or what the template's expressions raise on this row (TypeError, LookupError,
          ValueError, ArithmeticError, RecursionError): it does not fit the row.
        """
        budget.start(seed)
        chunks, length = [], 0
        for chunk in template.generate(row):
            length += len(chunk)
            if length > OUTPUT_LIMIT:
                raise TooMuchWorkError(f"a text of more than {OUTPUT_LIMIT} characters")
            chunks.append(chunk)
        return "".join(chunks)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Only the listed methods of plain values, a namespace's own names, and the loop's counters."""
        if attr.startswith("_"):
            return False
        if isinstance(obj, Namespace):
            return True
        if isinstance(obj, LoopContext):
            return attr in _LOOP
        return attr in _METHODS.get(type(obj), ())

    def unsafe_undefined(self, obj: Any, attribute: str) -> Any:
        """Raises: otherwise nothing would be printed in its place, unnoticed."""
        raise SecurityError(f"the attribute {attribute!r} of a {type(obj).__name__} is not allowed")

    def wrap_str_format(self, value: Any) -> None:
        """``str.format`` is not offered: its field widths could take all memory."""

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Charges and bounds an arithmetic operation."""
        if operator == "*":
            check_product(left, right)
        elif operator == "**":
            check_power(left, right)
        elif operator == "%" and isinstance(left, str):
            check_format(left, right)
        return bounded(self.binop_table[operator](left, right))

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        """Charges and bounds a call (the odd names are Jinja's: keywords may have any name)."""
        owner, name = getattr(__obj, "__self__", None), getattr(__obj, "__name__", "")
        for value in (*args, *kwargs.values(), owner):
            if isinstance(value, str | list | tuple | dict):
                bounded(value)
        if isinstance(owner, str):
            if name == "replace" and len(args) >= 2:
                check_replace(owner, args[0], args[1])
            elif name == "join" and args:
                args = (joinable(owner, args[0]), *args[1:])
        return bounded(super().call(__context, __obj, *args, **kwargs))


class _Guard(jinja2.visitor.NodeTransformer):
    """Wraps what can loop or grow in guards, and what is printed in the cut."""

    def __init__(self, limit: int) -> None:
        self._limit = limit

    def visit_Output(self, node: nodes.Output) -> nodes.Output:  # noqa: N802
        self.generic_visit(node)
        if self._limit:
            node.nodes = [
                part if isinstance(part, nodes.TemplateData) else _wrap("_cut", part, self._limit)
                for part in node.nodes
            ]
        return node

    def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802
        self.generic_visit(node)
        node.iter = _wrap("_steps", node.iter)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Filter:  # noqa: N802
        self.generic_visit(node)
        return _wrap("_concat", nodes.List(node.nodes, lineno=node.lineno))

    def visit_Compare(self, node: nodes.Compare) -> nodes.Compare:  # noqa: N802
        self.generic_visit(node)
        node.expr = _wrap("_bounded", node.expr)
        for operand in node.ops:
            operand.expr = _wrap("_bounded", operand.expr)
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Expr:  # noqa: N802
        sliced = isinstance(node.arg, nodes.Slice)
        self.generic_visit(node)
        return _wrap("_bounded", node) if sliced and node.ctx == "load" else node

    def visit_List(self, node: nodes.List) -> nodes.Filter:  # noqa: N802
        return self._bounded(node)

    def visit_Dict(self, node: nodes.Dict) -> nodes.Filter:  # noqa: N802
        return self._bounded(node)

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Expr:  # noqa: N802
        if node.ctx == "load":
            return self._bounded(node)
        self.generic_visit(node)  # the names that a loop or an assignment sets
        return node

    def _bounded(self, node: Any) -> nodes.Filter:
        self.generic_visit(node)
        return _wrap("_bounded", node)


def _wrap(name: str, node: Any, *arguments: int) -> nodes.Filter:
    given = [nodes.Const(argument, lineno=node.lineno) for argument in arguments]
    return nodes.Filter(node, name, given, [], None, None, lineno=node.lineno)
