"""PromptSource's ``templates.yaml``, read without running anything that it says."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from iml_jax.foundation.errors import UserError
from iml_jax.storage.reading import read_text

SEPARATOR = "|||"  # between prompt and targets, and between answer choices
_LIMIT = 1 << 24  # bytes of a file; the largest public one has about 60 kB
_NODES = 1 << 18  # scalars and collections, with aliases written out; the largest public one has about 1,000
_DEPTH = 32  # nested collections; the public files have 4
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _TemplateLoader(_Loader):  # type: ignore[misc, valid-type]
    """A safe loader that knows two tags more, both read as plain mappings."""


def _mapping(loader: Any, node: Any) -> dict[Any, Any]:
    return loader.construct_mapping(node, deep=True)


_TemplateLoader.add_constructor("!Template", _mapping)
_TemplateLoader.add_constructor("!TemplateMetadata", _mapping)


@dataclasses.dataclass(frozen=True, slots=True)
class PromptTemplate:
    """One template of a dataset.

    Attributes:
      name: unique in its file; its id is appended where the file uses a name twice.
      jinja: ``prompt ||| target``.
      answer_choices: Jinja that renders to the choices, joined by ``|||``; empty where there are none.
      original_task: it asks for what the dataset was made for.
      metrics: as PromptSource names them, e.g. ``Accuracy``, ``ROUGE``.
    """

    name: str
    jinja: str
    answer_choices: str
    original_task: bool
    metrics: tuple[str, ...]

    @property
    def ranks_choices(self) -> bool:
        """Scored by ranking its answer choices; some templates give choices and want a rationale too."""
        return bool(self.answer_choices) and "Accuracy" in self.metrics


def load_templates(path: Path) -> tuple[PromptTemplate, ...]:
    """The templates of one ``templates.yaml``, sorted by name.

    Raises:
      UserError: malformed YAML, aliases or nesting out of bounds (a few bytes could grow without
        end), another tag, or a field of the wrong type; names file and place.
    """
    text = read_text(path, _LIMIT)
    try:
        _refuse_growth(text, path)
        content = yaml.load(text, _TemplateLoader)  # derived from SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "not YAML"
        raise UserError(f"{path}{line}: malformed templates.yaml: {problem}; fix it") from error
    except (ValueError, TypeError, AttributeError, LookupError) as error:  # PyYAML's own, of a tag's value
        raise UserError(f"{path}: malformed templates.yaml: {error}; fix it") from error
    entries = content.get("templates") if isinstance(content, dict) else None
    if not isinstance(entries, dict):
        raise UserError(f"{path}: no mapping 'templates'; is it a PromptSource templates.yaml?")
    try:
        found = [(str(key), _template(entry, str(key), path)) for key, entry in entries.items()]
    except ValueError as error:  # a number of more digits than Python writes
        raise UserError(f"{path}: malformed templates.yaml: {error}; fix it") from error
    return tuple(sorted(told_apart(found), key=lambda template: template.name))


def told_apart(found: Sequence[tuple[str, PromptTemplate]]) -> Iterator[PromptTemplate]:
    """The templates of a file, given with their ids; a name that several have is followed by the id."""
    times = collections.Counter(template.name for _, template in found)
    for identity, template in found:
        several = times[template.name] > 1
        yield dataclasses.replace(template, name=f"{template.name} {identity}") if several else template


def _refuse_growth(text: str, path: Path) -> None:
    """Looks at the parser's events, before anything is built: aliases may repeat only little."""
    sizes = [0]  # nodes of each open collection, aliases written out
    anchors: list[str | None] = [None]
    known: dict[str, int] = {}
    for event in yaml.parse(text, _TemplateLoader):
        place = f"{path}:{event.start_mark.line + 1}" if event.start_mark else str(path)
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in known:
                raise UserError(f"{place}: YAML alias of what is not yet complete; write the value out")
            sizes[-1] += known[event.anchor]
        elif isinstance(event, yaml.CollectionStartEvent):
            sizes.append(1)
            anchors.append(event.anchor)
        elif isinstance(event, yaml.CollectionEndEvent):
            size, anchor = sizes.pop(), anchors.pop()
            sizes[-1] += size
            if anchor:
                known[anchor] = size
        elif isinstance(event, yaml.ScalarEvent):
            sizes[-1] += 1
            if event.anchor:
                known[event.anchor] = 1
        if len(sizes) > _DEPTH:
            raise UserError(f"{place}: nested deeper than {_DEPTH}; flatten it")
        if sizes[-1] > _NODES:
            raise UserError(f"{place}: YAML aliases that repeat too much; write the values out")


def _choices(entry: dict[Any, Any]) -> Any:
    """The Jinja of the answer choices; PromptSource's first files have a list, or the name of a column."""
    choices = entry.get("answer_choices") or ""
    if isinstance(choices, list):
        return SEPARATOR.join(map(str, choices))
    if not choices and isinstance(key := entry.get("answer_choices_key"), str) and key:
        return f"{{{{ {key} | join('{SEPARATOR}') }}}}"
    return choices


def _template(entry: Any, identity: str, path: Path) -> PromptTemplate:
    place = f"{path}: template {identity}"
    if not isinstance(entry, dict):
        raise UserError(f"{place}: no mapping; write it as !Template {{...}}")
    metadata = entry.get("metadata") or {}
    fields = {"name": entry.get("name"), "jinja": entry.get("jinja")}
    fields["answer_choices"] = _choices(entry)
    for field, value in fields.items():
        if not isinstance(value, str):
            raise UserError(f"{place}: '{field}' is a {type(value).__name__}; it must be a string")
    if not isinstance(metadata, dict):
        raise UserError(f"{place}: 'metadata' is no mapping; write it as !TemplateMetadata {{...}}")
    metrics = metadata.get("metrics") or []
    if not isinstance(metrics, list):
        raise UserError(f"{place}: 'metrics' is a {type(metrics).__name__}; it must be a list")
    return PromptTemplate(
        name=str(fields["name"]).strip() or identity,
        jinja=str(fields["jinja"]),
        answer_choices=str(fields["answer_choices"]),
        original_task=bool(metadata.get("original_task")),
        metrics=tuple(str(metric) for metric in metrics),
    )
