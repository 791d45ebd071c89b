"""How deep a template nests, counted before anything recursive looks at it.

Jinja's parser, its compiler and Python's own compiler recurse for every level; where they run out of stack
is not the same on every machine. So levels are counted here, in the flat list of tokens and then level by
level in the tree, against limits far below that point. The deepest of PromptSource's 2,085 public templates
has 3 nested brackets, 4 nested blocks and 16 levels of its tree.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from jinja2 import nodes

NESTED = 32  # brackets, prefix operators and inline conditions within each other
BLOCKS = 12  # {% for %} and {% if %} within each other; Python itself takes 20
TREE = 48  # levels of the tree: chains of operators, filters and attributes, too
DIGITS = 1000  # of a number written out
_BLOCKS = frozenset({"for", "if", "macro", "call", "filter", "set", "block", "with", "autoescape"})


class TooDeepError(Exception):
    """A template nests too deeply, or writes out a number that is no number; the message has the line."""


def check_tokens(tokens: Iterable[tuple[int, str, str]]) -> None:
    """Counts the nesting of a template's tokens, as ``Environment.lex`` gives them.

    Raises:
      TooDeepError: brackets, prefix operators, inline conditions or blocks go deeper than the limits.
    """
    blocks, before, sets = 0, "", False
    levels = _Levels()
    for line, kind, text in tokens:
        if kind in ("whitespace", "data", "comment"):
            continue
        if before == "block_begin" and kind == "name":
            blocks = max(0, blocks + (text in _BLOCKS) - text.startswith("end"))
            sets = text == "set"
        elif text == "=" and sets and not levels.opened:
            blocks, sets = blocks - 1, False  # {% set name = value %} opens no block
        elif kind in ("integer", "float") and len(text) > DIGITS:
            raise TooDeepError(f"line {line}: a number of more than {DIGITS} digits")
        elif kind in ("block_end", "variable_end"):
            levels = _Levels()
        else:
            levels.take(text)
        before = kind
        if levels.depth > NESTED or blocks > BLOCKS:
            raise TooDeepError(f"line {line}: nested too deeply")


class _Levels:
    """The levels of one tag's expressions that are open after the tokens taken."""

    def __init__(self) -> None:
        self.opened: list[tuple[int, int]] = []
        self._base = self._run = self._elses = 0  # of open brackets; prefix operators in a row; conditions

    @property
    def depth(self) -> int:
        return self._base + self._run + self._elses

    def take(self, text: str) -> None:
        """Counts the next token."""
        if text in ("(", "[", "{"):
            self.opened.append((self._base, self._elses))
            self._base, self._run, self._elses = self.depth + 1, 0, 0
        elif text in (")", "]", "}"):
            self._base, self._elses = self.opened.pop() if self.opened else (0, 0)
            self._run = 0
        elif text in ("not", "-", "+"):
            self._run += 1
        else:
            self._run = 0
            self._elses = 0 if text == "," else self._elses + (text == "else")


def check_tree(tree: nodes.Template) -> None:
    """Counts the levels of a parsed template.

    Raises:
      TooDeepError: there are more than ``TREE``, or a number is too large for a float.
    """
    level: list[nodes.Node] = [tree]
    depth = 0
    while level:
        depth += 1
        if depth > TREE:
            raise TooDeepError(f"line {level[0].lineno}: nested too deeply")
        for node in level:
            value = node.value if isinstance(node, nodes.Const) else 0
            if isinstance(value, float) and not math.isfinite(value):
                raise TooDeepError(f"line {node.lineno}: a number that is too large")
        level = [child for node in level for child in node.iter_child_nodes()]
