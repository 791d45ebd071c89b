"""Arithmetic and mathematics: GSM8K, MATH, ASDiv, MAWPS with ASDiv-A, and the sets of zero-shot CoT."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Iterator
from pathlib import Path

from iml_jax.bench.sources.formats.records import Record, csv_records, document, json_records, listed
from iml_jax.bench.sources.formats.xml_records import xml_records
from iml_jax.bench.sources.reasoning.questions import Question

_CALCULATION = re.compile(r"<<[^<>]*>>")
_FINAL = "####"
_UNBRACED = re.compile(r"\\boxed +([^\s$.,]+)")
_BRACE = re.compile(r"(?P<box>\\(?:boxed|fbox)\s*\{)|\\.|[{}]", re.DOTALL)
_OPERATORS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}
_UNIT = re.compile(r" \(([^()]*)\)")


def gsm8k(path: Path) -> Iterator[Question]:
    """Grade-school-math's JSON lines: ``question``, and ``answer`` as steps, then ``#### NUMBER``.

    The calculator's annotations (``<<48/2=24>>``) are left out. In the Socratic form each step has its
    sub-question before it (``HOW MANY? ** STEP``); both stay.
    """
    for row in json_records(path):
        steps, mark, answer = row.text("answer").rpartition(_FINAL)
        if not mark:
            raise row.error(f"'answer' has no {_FINAL} before the final number")
        steps = _CALCULATION.sub("", steps).replace(" ** ", " ").strip()
        yield Question(str(row.number), row.text("question"), ((steps, answer.strip()),))


def math_problems(path: Path) -> Iterator[Question]:
    r"""MATH: ``problem`` and ``solution``, whose last ``\boxed{...}`` is the answer.

    A file is one problem (``train/algebra/1.json``, named so), or JSON lines of them.
    """
    if path.name.removesuffix(".gz").endswith(".jsonl"):
        for row in json_records(path):
            yield _problem(row, str(row.number))
    else:
        yield _problem(document(path), f"{path.parent.name}/{path.name.partition('.')[0]}")


def _problem(row: Record, identity: str) -> Question:
    solution = row.text("solution")
    answer = last_boxed(solution)
    if answer is None:
        return Question(identity, row.text("problem"), unusable="no boxed answer")
    return Question(identity, row.text("problem"), ((unboxed(solution), answer),))


def last_boxed(solution: str) -> str | None:
    r"""What the last ``\boxed{...}`` or ``\fbox{...}`` of a solution holds; None where there is none.

    Braces nest; escaped ones (``\{``) do not count. ``\boxed 5`` holds 5. Agrees with
    ``last_boxed_only_string`` of hendrycks/math but for escaped braces that do not pair up, which it counts.
    """
    boxes = list(_boxes(solution))
    unbraced = [(match.start(), match[1]) for match in _UNBRACED.finditer(solution)]
    found = [(start, solution[inner:end]) for start, inner, end in boxes] + unbraced
    return max(found)[1].strip() if found else None


def unboxed(solution: str) -> str:
    r"""A solution with each ``\boxed{X}`` as X: the sentence that follows states the answer."""
    dropped = sorted(
        span for start, inner, end in _boxes(solution) for span in ((start, inner), (end, end + 1))
    )
    kept, at = [], 0
    for start, end in dropped:
        kept.append(solution[at:start])
        at = end
    return _UNBRACED.sub(r"\1", "".join([*kept, solution[at:]]))


def _boxes(solution: str) -> Iterator[tuple[int, int, int]]:
    """(start, start of the content, its closing brace) of every box that is closed."""
    opened: list[tuple[int, int] | None] = []  # for every open brace: its box, if it is one's
    for match in _BRACE.finditer(solution):
        if match[0] == "}":
            box = opened.pop() if opened else None
            if box:
                yield *box, match.start()
        elif not match[0].startswith("\\") or match["box"]:
            opened.append(match.span() if match["box"] else None)


def asdiv(path: Path) -> Iterator[Question]:
    """ASDiv's XML: a problem's formula is its rationale; the unit stays beside the number."""
    for row in xml_records(path, "Problem"):
        question = " ".join(f"{row.text('Body', '')} {row.text('Question', '')}".split())
        answer = _UNIT.sub(r" \1", row.text("Answer", ""))
        yield Question(row.text("ID", str(row.number)), question, ((row.text("Formula", ""), answer),))


def mawps_asdiv(path: Path) -> Iterator[Question]:
    """The CSV of SVAMP's repository: numbers stand apart and the equation is in prefix form.

    ``number0`` in question and equation is the first of ``Numbers``. The rationale is the equation in infix
    form with its value, which must be the answer.
    """
    for row in csv_records(path):
        numbers = {f"number{i}": value for i, value in enumerate(row.text("Numbers").split())}
        text = re.sub(
            r"number\d+",
            lambda match, row=row, numbers=numbers: plain(_float(numbers.get(match[0], ""), row)),  # type: ignore[misc]
            row.text("Question"),
        )
        infix, value = _prefix(row, numbers)
        answer = _float(row.text("Answer"), row)
        if not math.isclose(value, answer, rel_tol=1e-3, abs_tol=1e-6):
            yield Question(str(row.number), text, unusable="equation that does not give the answer")
            continue
        yield Question(str(row.number), text, ((f"{infix} = {plain(answer)}", plain(answer)),))


def _prefix(row: Record, numbers: dict[str, str]) -> tuple[str, float]:
    """An equation in prefix form as (infix, value)."""
    stack: list[tuple[str, float]] = []
    tokens = row.text("Equation").split()
    for token in reversed(tokens):
        if token in _OPERATORS:
            if len(stack) < 2:
                raise row.error(f"'Equation' lacks an operand of {token}")
            (left, a), (right, b) = stack.pop(), stack.pop()
            if token == "/" and not b:
                raise row.error("'Equation' divides by zero")
            stack.append((f"({left} {token} {right})", _OPERATORS[token](a, b)))
        else:
            value = _float(numbers.get(token, token), row)
            stack.append((plain(value), value))
    if len(stack) != 1:
        raise row.error("'Equation' is not one expression in prefix form")
    infix, value = stack[0]
    return infix.removeprefix("(").removesuffix(")") if tokens[0] in _OPERATORS else infix, value


def _float(text: str, row: Record) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise row.error(f"{text[:40]!r} is no number")
    return value


def plain(value: float) -> str:
    """A number as a person writes it: 43.0 as 43, 0.8333333333333334 as 0.8333333333."""
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else f"{value:.10g}"


def word_problems(path: Path) -> Iterator[Question]:
    """AddSub, MultiArith, SingleEq: ``sQuestion``, ``lSolutions``; SVAMP: ``Body``, ``Question``, ``Answer``.

    No rationales.
    """
    for row in json_records(path):
        if "sQuestion" in row.values:
            identity, text = row.values.get("iIndex", row.number), row.text("sQuestion")
            found = row.items("lSolutions")
        else:
            identity, text = row.values.get("ID", row.number), row.text("Question")
            text = f"{row.text('Body')} {text}"
            found = [row.values.get("Answer")]
        if len(found) != 1 or isinstance(found[0], bool) or not isinstance(found[0], str | int | float):
            raise row.error("there must be exactly one solution, a number")
        answer = plain(_float(str(found[0]), row))
        yield Question(str(identity), " ".join(text.split()), (("", answer),))


def symbolic(path: Path) -> Iterator[Question]:
    """coin_flip and last_letters: ``examples`` of ``question`` and ``answer``, without a rationale."""
    for row in listed(path, "examples"):
        yield Question(str(row.number), row.text("question"), (("", row.text("answer")),))
