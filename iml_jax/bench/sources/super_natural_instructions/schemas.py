"""One task file of Super-NaturalInstructions or a relative, in any of the schemas that were published.

* upstream: 14 keys; ``Definition`` and ``Categories`` are lists, ``output`` is a list of references;
* 2021: 7 keys, ``Definition`` is a string, instances have no id;
* SAPT's copies: ``Categories``, ``Domains`` and ``output`` may be strings;
* Natural Instructions v1: the instruction lies in several fields, ``Examples`` holds the demonstrations (with
  ``reason`` where the others have ``explanation``), and there are no ``Categories``.
"""

from __future__ import annotations

import codecs
import dataclasses
import functools
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from iml_jax.bench import known_tasks
from iml_jax.bench.categories import category_of
from iml_jax.bench.example import Demonstration
from iml_jax.bench.sources.formats.bounds import is_long
from iml_jax.bench.sources.formats.files import is_name
from iml_jax.foundation.errors import UserError
from iml_jax.foundation.printing import encodable
from iml_jax.storage.json_stream import TOO_LONG, open_json
from iml_jax.storage.reading import make_decoder, open_binary

BENCHMARK = "super_natural_instructions"
Instance = tuple[str, tuple[str, ...]]  # input, distinct references
# What version 1 says besides its definition; version 2 has it at the end of the same tasks' definitions.
# Its Title and Prompt, which say in short what the definition says, version 2 has dropped.
_CAUTIONS = ("Things to Avoid", "Emphasis & Caution")
HEAD_KEYS = ("Categories", "Definition", "Examples", "Positive Examples", *_CAUTIONS)
_VERSION_1 = re.compile(r"subtask(?P<number>0[0-6]\d)_.+")  # 61 tasks
_HEAD_BYTES = 1 << 16
# A closed set of answers: few, short, and each seen often (see ``derive_options``).
_MAX_OPTIONS = 20
_MAX_OPTION_LENGTH = 40
_INSTANCES_PER_OPTION = 10


@dataclasses.dataclass(frozen=True)
class Survey:
    """What one pass over task files says.

    Attributes:
      head: the first file without its instances.
      count: the instances of the first file.
      options: the answer choices of a classification task (``derive_options``), of all files; or nothing.
    """

    head: dict[str, Any]
    count: int
    options: tuple[str, ...]


def survey(paths: Sequence[Path]) -> Survey:
    """Reads the files of a task once, an instance at a time.

    Raises:
      UserError: as ``instances``; or an instance is malformed.
    """
    heads: list[dict[str, Any]] = []
    counts: list[int] = []

    def found() -> Iterator[Instance]:
        for path in paths:
            head: dict[str, Any] = {}
            index = -1
            for index, instance in instances(path, head):
                if not is_left_out(instance):
                    yield checked(instance, index, path)
            heads.append(head)
            counts.append(index + 1)

    options = derive_options(found())
    return Survey(heads[0], counts[0], options)


def instances(path: Path, head: dict[str, Any] | None = None) -> Iterator[tuple[int, Any]]:
    """Streams (index, instance) of a task file, unchecked; ``TOO_LONG`` stands for one above ``LINE_LIMIT``.

    Args:
      path: the file, of any size.
      head: receives what else the file holds under ``HEAD_KEYS``; complete at the end.

    Raises:
      UserError: malformed, no object with a list of instances, or instances are not alike (``_check_alike``).
    """
    with open_json(path) as text:
        if text.peek() != "{":
            raise _no_task(path)
        there = False
        for key in text.members():
            if key != "Instances":
                if head is None or key not in HEAD_KEYS:  # published files have NaN among their URLs
                    text.skip()
                elif (value := text.value()) is not TOO_LONG:
                    head[key] = value
                continue
            if there or text.peek() != "[":
                raise _no_task(path)
            there = True
            shape: tuple[bool, bool] | None = None
            for index, (_, instance) in enumerate(text.array()):
                if isinstance(instance, dict):
                    shape = _check_alike(f"{path}: Instances[{index}]", instance, shape)
                yield index, instance
        text.end()
        if not there:
            raise _no_task(path)


def _check_alike(place: str, instance: dict[str, Any], before: tuple[bool, bool] | None) -> tuple[bool, bool]:
    """Whether an instance has an id, and a list of outputs (one text in files of version 1): as those before.

    Raises:
      UserError: unlike those before it.
    """
    found = instance.get("id") is not None, isinstance(instance.get("output"), list)
    if before is not None and found != before:
        which = ("no 'id'", "an 'id'")[found[0]]
        if found[0] == before[0]:
            which = ("no list as 'output'", "a list as 'output'")[found[1]]
        raise UserError(f"{place} has {which}, unlike those before it; fix it")
    return found


def _no_task(path: Path) -> UserError:
    return UserError(f"{path}: no task object with a list 'Instances'; is it a task file?")


def is_left_out(instance: Any) -> bool:
    """Whether an instance is above the bound on rows."""
    return instance is TOO_LONG or is_long(instance)


def category(path: Path, task: str) -> str:
    """The category of a task: that of the benchmark's final list, else ``Categories[0]`` of its file.

    Files of 2021 and SAPT's name others for the same tasks ("Classification" for what became "Stereotype
    Detection"), which would make tasks of a held-out category look trained on; those of version 1 name none:
    ``subtaskNNN_...`` became ``taskNNN_...``, in some cases under another name. A file is read as far as
    its head where the category is there: it comes before the instances.

    Raises:
      UserError: it is no string; or as ``instances``.
    """
    if known := known_tasks.lookup(BENCHMARK, task):
        return known.category
    with open_binary(path) as stream:
        head = codecs.getincrementaldecoder("utf-8")("replace").decode(stream.read(_HEAD_BYTES))
    try:
        match = re.search(r'"Categories"\s*:\s*', head)  # inside a string its quotes would be escaped
        value = make_decoder(head).raw_decode(head, match.end())[0] if match else None
    except (ValueError, RecursionError):
        value = None
    if value is None:
        value = survey((path,)).head.get("Categories")
    first = value[0] if isinstance(value, list) and value else value
    if first is None:
        match = _VERSION_1.fullmatch(task)
        successor = _first_of_number().get(int(match["number"])) if match else None
        return category_of(BENCHMARK, successor or task)
    if not isinstance(first, str) or not is_name(first):
        raise UserError(f"{path}: Categories must be a string on one line, or a list of these; fix it")
    return first.strip()


@functools.cache
def _first_of_number() -> dict[int, str]:
    """Number -> known task ``taskNNN_...``, the first where two share it (none of version 1's do)."""
    numbered: dict[int, str] = {}
    for row in known_tasks.every(BENCHMARK):
        if match := re.match(r"task(\d+)_", row.task):
            numbered.setdefault(int(match[1]), row.task)
    return numbered


def instruction(content: dict[str, Any], path: Path) -> str:
    """The first definition; of version 1 followed by what to avoid and what to heed ("-" means nothing).

    Raises:
      UserError: a field of it is no string.
    """
    value = content.get("Definition")
    if isinstance(value, list):
        value = value[0] if value else ""
    texts = [value, *(content.get(key, "") for key in _CAUTIONS)]
    for key, text in zip(("Definition", *_CAUTIONS), texts, strict=True):
        if not isinstance(text, str) or not encodable(text):
            raise UserError(f"{path}: '{key}' must be a string or a list of strings; fix it")
    stripped = [text.strip() for text in texts]
    return " ".join(text for text in stripped if text and text != "-")


def demonstrations(content: dict[str, Any], path: Path) -> Iterator[Demonstration]:
    """The positive examples that have an input and an output (v1 writes "-" where there are none).

    Raises:
      UserError: an input, output or explanation is neither a text, a list of texts nor absent.
    """
    examples = content.get("Examples")
    positive = (examples if isinstance(examples, dict) else content).get("Positive Examples")
    for number, entry in enumerate(positive if isinstance(positive, list) else ()):
        if not isinstance(entry, dict):
            continue
        for name in ("input", "output", "explanation"):
            value = entry.get(name)
            texts = value if isinstance(value, list) and name != "input" else [value]
            if not all(isinstance(text, str | None) for text in texts):
                raise UserError(
                    f"{path}: {name!r} of Positive Examples[{number}] is no text; fix or remove it"
                )
        source, target = entry.get("input"), entry.get("output")
        if isinstance(target, list):
            target = target[0] if target else None
        if isinstance(source, str) and isinstance(target, str) and encodable(source, target):
            yield Demonstration(source.strip(), target.strip())


def checked(instance: Any, index: int, path: Path) -> Instance:
    """Input and distinct references of an instance, stripped.

    Raises:
      UserError: it is not an object with an input and outputs.
    """
    place = f"{path}: Instances[{index}]"
    if not isinstance(instance, dict):
        raise UserError(f"{place} is a {type(instance).__name__}; expected an object with input and output")
    outputs = instance.get("output")
    if isinstance(outputs, str):
        outputs = [outputs]
    if not isinstance(instance.get("input"), str):
        raise UserError(f"{place}: 'input' must be a string; fix or remove the instance")
    if not isinstance(outputs, list) or not all(isinstance(output, str) for output in outputs):
        raise UserError(f"{place}: 'output' must be a string or a list of strings; fix or remove it")
    if not isinstance(instance.get("id", ""), str | int | None):
        raise UserError(f"{place}: 'id' must be a string or a number; fix or remove it")
    references = dict.fromkeys(output.strip() for output in outputs)
    return instance["input"].strip(), tuple(reference for reference in references if reference)


def derive_options(found: Iterable[Instance]) -> tuple[str, ...]:
    """The answer choices of a classification task, or nothing.

    The benchmark declares none. A task counts as classification where its answers form a closed set: every
    instance has one reference (instances without any are ignored), there are 2 to 20 distinct references,
    none longer than 40 characters or with a line break, and on average at least ten instances an option.
    Scoring candidates is then as sound as generation: the answer is always among them. Sorted, so that they
    do not depend on the order of the instances.

    Args:
      found: every instance of the task; all are taken.
    """
    options: set[str] = set()
    answers, closed = 0, True
    for _, references in found:
        answers += bool(references)
        closed = closed and len(references) <= 1 and len(options) <= _MAX_OPTIONS
        if closed:
            options.update(references)
    closed = closed and 2 <= len(options) <= _MAX_OPTIONS and answers >= _INSTANCES_PER_OPTION * len(options)
    short = all(len(option) <= _MAX_OPTION_LENGTH and "\n" not in option for option in options)
    return tuple(sorted(options)) if closed and short and encodable(*options) else ()
