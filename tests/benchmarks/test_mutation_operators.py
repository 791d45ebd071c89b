"""Mutations: which expressions change, what stays, and that a module is what it was after a mutant."""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
MODULE = '''"""Numbers 1 < 2 in a docstring."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import jax

LIMIT: int = 3


def f(a, b=1, *, c=True):
    """Docstring with 1 + 2."""
    if a < b and not c:
        raise ValueError(f"{a + 1} is wrong, {b} < 2")
    é = jnp.float32 if a is None else a
    return max(é * 2, -b)
'''


@pytest.fixture(scope="module")
def operators() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mutation_operators", BENCHMARKS / "mutation_operators.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_changes_of_a_module(operators: ModuleType) -> None:
    found = [(one.line, one.operator, one.before, one.after) for one in operators.mutations("m.py", MODULE)]
    assert sorted(found) == sorted(
        [
            (10, "constant", "3", "4"),
            (13, "constant", "1", "2"),
            (13, "constant", "True", "False"),
            (15, "boolean", "a < b and not c", "((a < b) or (not c))"),
            (15, "condition", "a < b and not c", "not (a < b and not c)"),
            (15, "comparison", "a < b", "a <= b"),
            (15, "unary", "not c", "(c)"),
            (17, "condition", "jnp.float32 if a is None else a", "(a)"),
            (17, "name", "jnp.float32", "jnp.bfloat16"),
            (17, "comparison", "a is None", "a is not None"),
            (18, "name", "max", "min"),
            (18, "arithmetic", "é * 2", "(é) / (2)"),
            (18, "constant", "2", "3"),
            (18, "unary", "-b", "(b)"),
        ]
    )


def test_a_mutant_is_one_change_of_code_that_parses(operators: ModuleType) -> None:
    for one in operators.mutations("m.py", MODULE):
        mutant = one.apply(MODULE)
        assert ast.dump(ast.parse(mutant)) != ast.dump(ast.parse(MODULE))
        assert mutant.count("\n") == MODULE.count("\n")
        with pytest.raises(ValueError, match=r"m\.py:\d+: .* is not there"):
            one.apply("#" + MODULE)
