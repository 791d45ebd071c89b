"""PromptSource's templates rendered in this process: what ``growth.py`` compares template workers with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from iml_jax.bench.sources.formats.rows import Row
from iml_jax.bench.sources.promptsource import source as promptsource
from iml_jax.bench.sources.promptsource import template_worker
from iml_jax.bench.sources.promptsource.rendering import Rendered, Renderer
from iml_jax.bench.sources.promptsource.sandbox import MissingColumnError
from iml_jax.bench.sources.promptsource.template_limits import TooMuchWorkError
from iml_jax.bench.sources.promptsource.template_pool import NO_COLUMN, Outcome, Refused, Skipped
from iml_jax.bench.sources.promptsource.templates import PromptTemplate
from iml_jax.storage.reading import encodable


class InProcess:
    """As ``TemplateSet``, without a worker; keeps the templates compiled last, as a worker does."""

    _kept: tuple[object, list[Renderer]] = (None, [])

    def __init__(self, templates: Sequence[PromptTemplate], path: Path, limit: int = 0) -> None:
        self.templates, self._path = tuple(templates), path
        key = (self.templates, path, limit)
        if InProcess._kept[0] != key:
            InProcess._kept = key, [Renderer(template, path, limit) for template in templates]
        self._renderers = InProcess._kept[1]

    def __enter__(self) -> InProcess:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def check(self) -> None:
        """Nothing: a template that is refused has raised."""

    def place(self, number: int) -> str:
        """File and name of a template, for messages."""
        return f"{self._path}: template {self.templates[number].name!r}"

    def render(
        self, rows: Sequence[tuple[Row, Sequence[int]]], which: Sequence[int], *, texts: bool = True
    ) -> Iterator[list[Outcome]]:
        """The outcomes of each row."""
        del texts
        for row, seeds in rows:
            yield [self._one(row, number, seed) for number, seed in zip(which, seeds, strict=True)]

    def _one(self, row: Row, number: int, seed: int) -> Outcome:
        try:
            made: Rendered | None = self._renderers[number].applied(row, seed)
        except MissingColumnError as error:
            skipped = Skipped(NO_COLUMN)
            skipped.column = error.column
            return skipped
        except TooMuchWorkError as error:
            return Refused(str(error))
        except Exception as error:
            return Skipped(f"template fails on the row ({type(error).__name__})")
        if made is None:
            return Skipped(template_worker.NOT_APPLICABLE)
        if not encodable(made.prompt, *made.references, *made.options):
            return Skipped(template_worker.NOT_UNICODE)
        return made


def install() -> None:
    """PromptSource renders here from now on."""
    promptsource.TemplateSet = InProcess  # type: ignore[misc, assignment]
