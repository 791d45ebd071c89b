"""FLAN's tasks: which dataset each one reads, and the named fields that its patterns take (flan/tasks.py).

``tasks.tsv`` has a row for each task; ``docs/flan_fields.md`` documents its columns and its grammar.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from iml_jax.bench.sources.base import Item
from iml_jax.bench.sources.flan.patterns import OPTION_FIELDS, Template
from iml_jax.bench.sources.flan.rows import (
    DERIVATIONS,
    LIST_STEPS,
    TEXT_STEPS,
    UNLABELLED,
    RowError,
    get,
)
from iml_jax.bench.sources.formats.parallel_text import language_name
from iml_jax.bench.sources.formats.rows import Row
from iml_jax.bench.sources.shared_datasets.labels import label_index
from iml_jax.storage import tables

TABLE = Path(__file__).with_name("tasks.tsv")
ANSWER, GLM_ANSWER = "answer", "glm_answer"
EMPTY_INPUT = "empty input"
EMPTY_TARGET = "empty target"
NO_VALUE = "a needed value is null"
NOT_AN_OPTION = "target is not among the options"
TOO_FEW_OPTIONS = "fewer than two different options"
NO_TEMPLATE = "template needs a field that the row lacks"


@dataclasses.dataclass(frozen=True, slots=True)
class Field:
    """One ``field=column>step>step`` of the table."""

    name: str
    columns: tuple[str, ...]
    steps: tuple[str, ...]
    optional: bool
    constant: str | None

    @classmethod
    def read(cls, spec: str) -> Field:
        """Reads a specification (ours, so its mistakes are bugs)."""
        name, _, value = spec.partition("=")
        if value.startswith("'"):
            return cls(name, (), (), optional=False, constant=value[1:])
        columns, *steps = value.split(">")
        bare = columns.removesuffix("?")
        return cls(name, tuple(bare.split("|")), tuple(steps), optional=bare != columns, constant=None)

    def value(self, row: Row) -> Any:
        """The field's value of a row; None where an optional column is not there, or a column is null.

        Raises:
          RowError: a column is missing, or of a type that the steps do not take.
        """
        if self.constant is not None:
            return self.constant
        for column in self.columns:
            try:
                found = get(row, column)
            except KeyError:
                continue
            return None if found is None else self._stepped(column, found)
        if self.optional:
            return None
        raise RowError(f"no column {self.columns[0]!r}; the row has {', '.join(sorted(map(str, row)))}")

    def _stepped(self, column: str, value: Any) -> Any:
        for step in self.steps:
            many = isinstance(value, list | tuple)
            try:
                if step in LIST_STEPS:
                    value = LIST_STEPS[step](list(value) if many else [value])
                else:
                    value = [TEXT_STEPS[step](item) for item in value] if many else TEXT_STEPS[step](value)
            except (TypeError, AttributeError) as error:
                raise RowError(f"column {column!r} holds a {type(value).__name__} that is no text") from error
        return value


@dataclasses.dataclass(frozen=True, slots=True)
class Prepared:
    """A row as patterns see it.

    Attributes:
      fields: name -> text.
      answers: right values of the target field, the first one to train on.
      choices: fields that stand for one of several answers -> these, in the order shown.
    """

    fields: dict[str, str]
    answers: tuple[str, ...]
    choices: dict[str, tuple[str, ...]]


@dataclasses.dataclass(frozen=True, slots=True)
class TaskForm:
    """One row of the table.

    Attributes:
      task, patterns: its name, and its key among the patterns.
      datasets: names that its rows may be found under.
      specs: our split -> the slice of the dataset that FLAN uses.
      derive: a name in ``rows.DERIVATIONS``, or empty.
      inputs: the fields besides target and options.
      classes, shown: of fixed options, the dataset's names of its classes and FLAN's, else empty.
      option_field: of options that each row brings, where they are.
      label: where it says which option is right (its number, or right texts); None without options.
      target: the field that the task asks for.
      references: further right answers, or None.
      glm: the options as GPT-3's prompts show them, or empty.
      metric: how answers are scored.
    """

    task: str
    patterns: str
    datasets: tuple[str, ...]
    specs: dict[str, str]
    derive: str
    inputs: tuple[Field, ...]
    classes: tuple[str, ...]
    shown: tuple[str, ...]
    option_field: Field | None
    label: Field | None
    target: Field
    references: Field | None
    glm: tuple[str, ...]
    metric: str

    @property
    def fields(self) -> frozenset[str]:
        """Every field that a pattern of the task may name."""
        names = {field.name for field in self.inputs} | {self.target.name}
        if self.label:
            names |= {ANSWER, *OPTION_FIELDS}
        return frozenset(names | {GLM_ANSWER} if self.glm else names)

    def prepare(self, row: Row) -> Prepared | str:
        """The fields of a row, or the reason why it is no example.

        Raises:
          RowError: the row has not the schema of its dataset.
        """
        if self.derive:
            derived = DERIVATIONS[self.derive](row)
            if isinstance(derived, str):
                return derived
            row = derived
        fields: dict[str, str] = {}
        for field in self.inputs:
            value = field.value(row)
            if value is not None:
                fields[field.name] = _as_text(value, field)
            elif not field.optional:
                return NO_VALUE
        if not any(
            fields[field.name].strip() for field in self.inputs if field.name in fields and field.columns
        ):
            return EMPTY_INPUT
        return self._generated(row, fields) if self.label is None else self._labelled(row, fields, self.label)

    def _generated(self, row: Row, fields: dict[str, str]) -> Prepared | str:
        value = self.target.value(row)
        if value is None:
            return NO_VALUE
        first = _as_text(value, self.target)
        answers = (first, *(self._more(row, self.references) if self.references else ()))
        if not first.strip():
            return EMPTY_TARGET
        return Prepared(fields | {self.target.name: first}, answers, {})

    @staticmethod
    def _more(row: Row, field: Field) -> list[str]:
        value = field.value(row)
        items = [value] if isinstance(value, str) else [] if value is None else value
        if not isinstance(items, list | tuple):
            raise RowError(f"column {field.columns[0]!r} must be a list of texts")
        return [_as_text(item, field) for item in items]

    def _labelled(self, row: Row, fields: dict[str, str], label: Field) -> Prepared | str:
        options = self.shown or self._row_options(row)
        if len({option.strip() for option in options} - {""}) < 2:
            return TOO_FEW_OPTIONS
        value = label.value(row)
        right = value if isinstance(value, list) else self._index(value, label, len(options))
        if right is None or right == []:
            return UNLABELLED
        answers = tuple(right) if isinstance(right, list) else (options[right],)
        if answers[0] not in options:
            return NOT_AN_OPTION
        choices = {ANSWER: options, self.target.name: options}
        fields |= dict.fromkeys((ANSWER, self.target.name), answers[0])
        fields |= dict.fromkeys(OPTION_FIELDS, "OPTIONS:\n- " + "\n- ".join(options))
        if self.glm and isinstance(right, int):
            fields[GLM_ANSWER], choices[GLM_ANSWER] = self.glm[right], self.glm
        return Prepared(fields, answers, choices)

    def _row_options(self, row: Row) -> tuple[str, ...]:
        assert self.option_field is not None
        found: list[str] = []
        for column in self.option_field.columns:
            value = dataclasses.replace(self.option_field, columns=(column,)).value(row)
            for item in value if isinstance(value, list | tuple) else (value,):
                if not isinstance(item, str):
                    raise RowError(f"column {column!r} must hold texts")
                found.append(item)
        return tuple(found)

    def _index(self, label: Any, field: Field, count: int) -> int | None:
        """The number of the right option; None where the row has no label."""
        if isinstance(label, float) and math.isnan(label):
            return None
        names: list[tuple[str, ...]] = [(name.lower(),) for name in self.classes] or [()] * count
        try:
            return label_index(label.strip() if isinstance(label, str) else label, names)
        except ValueError:
            message = f"column {field.columns[0]!r} is {label!r}; it must be a number below {count}"
            raise RowError(message) from None


def render(template: Template, prepared: Prepared, target: str) -> Item | str:
    """What a template makes of a row, or the reason why it makes nothing.

    Args:
      template: one of the task's.
      prepared: the row's fields.
      target: the name of the field that the task asks for. A template that asks for something else has no
        options and one reference.
    """
    prompt = template.source.render(prepared.fields)
    if prompt is None or template.target.render(prepared.fields) is None:
        return NO_TEMPLATE
    open_fields = template.target.fields - template.source.fields
    choice = next((name for name in prepared.choices if name in open_fields), None)
    options: tuple[str, ...] = ()
    if choice is not None:
        options = _each(template, prepared.fields, choice, prepared.choices[choice])
    if choice == GLM_ANSWER or not open_fields & {choice, target}:
        references = _each(template, prepared.fields, "", ("",))
    else:
        references = _each(template, prepared.fields, choice or target, prepared.answers)
    if not prompt.strip():
        return EMPTY_INPUT
    return Item(prompt.strip(), references, options, template.name) if references else EMPTY_TARGET


def takes(template: Template, form: TaskForm) -> bool:
    """Whether a template of the task asks to choose among its options."""
    asked = template.target.fields - template.source.fields
    return form.label is not None and bool(asked & {ANSWER, GLM_ANSWER, form.target.name})


def _each(template: Template, fields: Mapping[str, str], name: str, values: Sequence[str]) -> tuple[str, ...]:
    """The distinct targets with each of the values in the field ``name``, stripped, without empty ones."""
    made = (template.target.render({**fields, name: value}) or "" for value in values)
    return tuple(dict.fromkeys(text for text in map(str.strip, made) if text))


def _as_text(value: Any, field: Field) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise RowError(f"column {field.columns[0]!r} is a {type(value).__name__}; it must be text")


@functools.cache
def forms() -> dict[str, TaskForm]:
    """Task -> form, of all tasks of FLAN, in the order of their names."""
    return {row["task"]: _form(row) for row in tables.rows(TABLE)}


def _form(row: Mapping[str, str]) -> TaskForm:
    pairs: list[tuple[str, str]] = []
    option_field = None
    if row["options"].startswith("@"):
        columns, *steps = row["options"][1:].split(">")
        option_field = Field(
            "options", tuple(columns.split(",")), tuple(steps), optional=False, constant=None
        )
    elif row["options"]:
        pairs = [
            (name, shown) for name, _, shown in (each.partition(":") for each in row["options"].split("|"))
        ]
    return TaskForm(
        task=row["task"],
        patterns=row["patterns"],
        datasets=tuple(row["datasets"].split("|")),
        specs={split: row[split] for split in ("train", "validation", "test")},
        derive=row["derive"],
        inputs=tuple(map(Field.read, row["inputs"].split(";"))),
        classes=tuple(name for name, _ in pairs),
        shown=tuple(shown for _, shown in pairs),
        option_field=option_field,
        label=Field.read(f"label={row['label']}") if row["label"] else None,
        target=Field.read(row["target"]),
        references=Field.read(f"references={row['references']}") if row["references"] else None,
        glm=tuple(row["glm"].split("|")) if row["glm"] else (),
        metric=row["metric"],
    )


def translation(folder: str, languages: str, keys: frozenset[str]) -> TaskForm | None:
    """The form of a dataset ``FOLDER/XX-YY`` of sentence pairs, as TFDS lays out all ``*_translate`` sets.

    FLAN calls ``wmt16_translate/de-en`` ``wmt16_translate_deen``, and translates between its second language
    and its first; so does this, with the patterns of the folder or, where there are none, of WMT'16.

    Args:
      folder: e.g. ``multi30k_translate``.
      languages: e.g. ``de-en``.
      keys: keys of the patterns.

    Returns:
      None where ``languages`` names no two languages.
    """
    first, dash, second = languages.partition("-")
    names = language_name(first), language_name(second)
    if not dash or first == second or None in names:
        return None
    row = {
        "task": f"{folder}_{first}{second}",
        "patterns": folder if folder in keys else "wmt16_translate",
        "datasets": f"{folder}/{languages}",
        "train": "train[:30000]",
        "validation": "validation[:200]",
        "test": "test",
        "inputs": f"lang1='{names[1]};lang2='{names[0]};sent1={second}|translation.{second}",
        "target": f"sent2={first}|translation.{first}",
        "metric": "rouge_l",
    }
    return _form(dict.fromkeys(("derive", "options", "label", "references", "glm"), "") | row)
