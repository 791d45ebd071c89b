"""One PromptSource template applied to one row."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jinja2

from iml_jax.bench.sources.formats.rows import Row
from iml_jax.bench.sources.promptsource.sandbox import ForbiddenTemplateError, TemplateSandbox
from iml_jax.bench.sources.promptsource.template_limits import TooMuchWorkError, budget
from iml_jax.bench.sources.promptsource.templates import SEPARATOR, PromptTemplate
from iml_jax.foundation.errors import UserError

# Stands for a separator in the row's own texts while they are rendered; from the private use area.
_STAND_IN = "\ue0f0\ue0f1\ue0f2"
RESERVED = "answer_choices"  # the variable that holds a template's answer choices


@dataclasses.dataclass(frozen=True, slots=True)
class Rendered:
    """Stripped prompt, distinct targets (at least one), and distinct answer choices (maybe none).

    ``cut`` says whether a printed value was cut to the renderer's limit.
    """

    prompt: str
    references: tuple[str, ...]
    options: tuple[str, ...]
    cut: bool = False


class Renderer:
    """A compiled template.

    Attributes:
      name: the template's name.
      ranks_choices: as ``PromptTemplate.ranks_choices``; else no options are rendered out.
      place: file and name of the template, for messages.
    """

    def __init__(self, template: PromptTemplate, path: Path, limit: int = 0) -> None:
        """Compiles ``template``, which was read from ``path``.

        Args:
          template: the template.
          path: its file, for messages.
          limit: characters that each printed value (not the answer choices) is cut to; 0 cuts none.

        Raises:
          UserError: it is no Jinja, or uses what is not allowed; names file, template and line.
        """
        self.name = template.name
        self.ranks_choices = template.ranks_choices
        self.place = f"{path}: template {template.name!r}"
        self._sandbox = TemplateSandbox()
        self._body = self._compile(template.jinja, limit)
        self._choices = self._compile(template.answer_choices, 0) if template.answer_choices else None

    def _compile(self, source: str, limit: int) -> jinja2.Template:
        try:
            return self._sandbox.compile_template(source, limit)
        except jinja2.TemplateSyntaxError as error:
            raise UserError(
                f"{self.place}, line {error.lineno}: {error.message}; fix the template"
            ) from error
        except ForbiddenTemplateError as error:
            raise UserError(f"{self.place}: {error}; rewrite or remove the template") from error

    def render(self, row: Row, seed: int, place: str) -> Rendered | None:
        """Renders a row, whose keys hold no hyphen; None where the prompt or every target comes out empty.

        Args:
          row: column -> value; not changed.
          seed: decides the template's random choices.
          place: file and line of the row, for messages.

        Raises:
          UserError: the template does too much work.
          MissingColumnError: it needs a column that the row has not.
          jinja2.TemplateError, TypeError, LookupError, ValueError, AttributeError, ArithmeticError,
          RecursionError: an expression of the template does not fit the row.
        """
        try:
            return self.applied(row, seed)
        except TooMuchWorkError as error:
            raise UserError(f"{self.place} on {place}: {error}; rewrite or remove the template") from error

    def applied(self, row: Row, seed: int) -> Rendered | None:
        """As ``render``, but raises TooMuchWorkError itself."""
        if RESERVED in row:
            raise ValueError(f"the row has a column {RESERVED!r}")
        options: list[str] = []
        context = _protected(row)
        context[RESERVED] = None
        if self._choices is not None:
            text = self._sandbox.render(self._choices, _protected(row), seed)
            options = [choice.strip() for choice in text.split(SEPARATOR)]
            context[RESERVED] = list(options)
        prompt, *targets = (
            _restored(part) for part in self._sandbox.render(self._body, context, seed).split(SEPARATOR)
        )
        cut = bool(budget.cuts)
        references = tuple(dict.fromkeys(target for target in targets if target))
        if not prompt or not references:
            return None
        distinct = dict.fromkeys(_restored(option) for option in options if self.ranks_choices)
        return Rendered(prompt, references, tuple(option for option in distinct if option), cut)


def _protected(value: Any) -> Any:
    """A copy (templates may change lists) whose texts hold no separator."""
    if isinstance(value, str):
        return value.replace(SEPARATOR, _STAND_IN)
    if isinstance(value, dict):
        return {key: _protected(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_protected(item) for item in value]
    return value


def _restored(text: str) -> str:
    return text.replace(_STAND_IN, SEPARATOR).strip()
