"""The rows of a PromptSource dataset in batches, as a worker renders them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

from iml_jax.bench.sources.formats.bounds import LONG_ROW, ROW_CHARACTERS, LongRow, text_length
from iml_jax.bench.sources.formats.rows import Row
from iml_jax.bench.sources.promptsource.labels import UNLABELLED, unlabelled
from iml_jax.bench.sources.promptsource.rendering import Rendered
from iml_jax.bench.sources.promptsource.template_pool import Outcome, Refused, TemplateSet
from iml_jax.foundation.errors import UserError

_BATCH_ROWS = 64
_BATCH_CHARACTERS = 1 << 20  # a batch ends with the row that reaches them


@dataclasses.dataclass(frozen=True, slots=True)
class PlacedRow:
    """A row with the keys that templates use.

    Attributes:
      identity: published split and number of the row in it.
      place: file and line, for messages.
      row: column -> value.
      unusable: why it has no example whatever the template, or empty.
    """

    identity: str
    place: str
    row: Row
    unusable: str = ""


def batches(rows: Iterable[tuple[str, str, Row]]) -> Iterator[list[PlacedRow]]:
    """(identity, place, row) in lists that grow from one row, so that a first look costs little."""
    batch: list[PlacedRow] = []
    size, most = 0, 1
    nested: dict[str, bool] = {}
    for identity, place, row in rows:
        _check_columns(row, nested, place)
        length = text_length(row)
        too_long = isinstance(row, LongRow) or length > ROW_CHARACTERS
        reason = LONG_ROW if too_long else UNLABELLED if unlabelled(row) else ""
        batch.append(PlacedRow(identity, place, {} if reason else row, reason))
        size += 0 if reason else length
        if len(batch) >= most or size >= _BATCH_CHARACTERS:
            yield batch
            batch, size, most = [], 0, min(_BATCH_ROWS, 4 * most)
    if batch:
        yield batch


def _check_columns(row: Row, nested: dict[str, bool], place: str) -> None:
    """A column holds lists and objects in every row or in none, as a typed table does; null is either.

    A template would print what Python shows of a list in the place of a text.

    Raises:
      UserError: a row differs from those before it, whose columns ``nested`` describes.
    """
    for name, value in row.items():
        if value is None:
            continue
        is_nested = isinstance(value, dict | list)
        if nested.setdefault(name, is_nested) != is_nested:
            kinds = ("a text or a number", "a list or an object")
            here, before = kinds[is_nested], kinds[not is_nested]
            raise UserError(f"{place}: {name!r} is {here}, and {before} in the rows before; fix the row")


def rendered(
    rendering: TemplateSet,
    batch: Sequence[PlacedRow],
    numbers: Sequence[int],
    seed_of: Callable[[str, int], int],
    *,
    texts: bool = True,
) -> Iterator[tuple[PlacedRow, list[Outcome]]]:
    """The usable rows of a batch with the outcomes of templates ``numbers``.

    Args:
      rendering: the templates.
      batch: the rows.
      numbers: which templates.
      seed_of: the seed of (identity of a row, number of a template).
      texts: as for ``TemplateSet.render``.
    """
    usable = [row for row in batch if not row.unusable]
    asked = [(each.row, [seed_of(each.identity, number) for number in numbers]) for each in usable]
    return zip(usable, rendering.render(asked, numbers, texts=texts), strict=True)


def applies(rendering: TemplateSet, row: PlacedRow, number: int, outcome: Outcome) -> bool:
    """Whether template ``number`` makes a prompt of a row.

    Raises:
      UserError: the template is refused; names it and the row.
    """
    if isinstance(outcome, Refused):
        raise UserError(
            f"{rendering.place(number)} on {row.place}: {outcome}; rewrite or remove the template"
        )
    return isinstance(outcome, Rendered)


def general(
    rendering: TemplateSet,
    rows: Iterable[tuple[str, str, Row]],
    numbers: Sequence[int],
    seed_of: Callable[[str, int], int],
) -> list[int]:
    """The templates that apply to every row that any of them applies to.

    Raises:
      UserError: as ``applies``.
    """
    left, gone = list(numbers), list[int]()
    for batch in batches(rows):
        asked = tuple(left)
        for row, outcomes in list(rendered(rendering, batch, asked, seed_of, texts=False)):
            fits = {
                number: applies(rendering, row, number, outcome)
                for number, outcome in zip(asked, outcomes, strict=True)
                if number in left
            }
            if not all(fits.values()) and (any(fits.values()) or _any_applies(rendering, row, gone, seed_of)):
                gone += [number for number in left if not fits[number]]
                left = [number for number in left if fits[number]]
            if not left:
                return left
    return left


def _any_applies(
    rendering: TemplateSet, row: PlacedRow, numbers: Sequence[int], seed_of: Callable[[str, int], int]
) -> bool:
    found = itertools.chain.from_iterable(
        outcomes for _, outcomes in rendered(rendering, [row], numbers, seed_of, texts=False)
    )
    # All of them, so that no answer stays unread and a template that is refused is always reported.
    every = [applies(rendering, row, *each) for each in zip(numbers, found, strict=True)]
    return any(every)
