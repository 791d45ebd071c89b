"""UnifiedSKG: tasks over tables, databases and knowledge graphs as text to text (Xie et al. 2022)."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

from iml_jax.bench.categories import category_of
from iml_jax.bench.sources import base
from iml_jax.bench.sources.base import Source, TaskInfo, TaskSource, rows_of, splits_in_role
from iml_jax.bench.sources.formats.bounds import NOT_UNICODE
from iml_jax.bench.sources.formats.files import directory
from iml_jax.bench.sources.formats.shortening import shortened
from iml_jax.bench.sources.unifiedskg import requests, sql, tables, texts, wikisql
from iml_jax.bench.sources.unifiedskg.files import TaskFiles, find, holds_items, plain, split_of
from iml_jax.bench.sources.unifiedskg.items import Item, Outcome, Reader, Request, preprocessed
from iml_jax.bench.sources.unifiedskg.linearise import cut
from iml_jax.bench.sources.unifiedskg.prompts import FORMS, joined, keyword_prompt
from iml_jax.bench.sources.unifiedskg.tasks import SkgTask, by_name, tasks
from iml_jax.config.paths import SourcePath
from iml_jax.foundation.errors import UserError
from iml_jax.foundation.printing import encodable

# Tasks whose original files are read; the others come as preprocessed items only.
READERS: dict[str, Reader] = {
    "cosql": sql.cosql,
    "dart": texts.dart,
    "e2e_nlg_cleaned": texts.e2e,
    "fetaqa": tables.fetaqa,
    "kvret": requests.kvret,
    "logic2text": tables.logic2text,
    "msr_sqa": tables.msr_sqa,
    "mtop": requests.mtop,
    "sparc": sql.sparc,
    "spider": sql.spider,
    "sql2text": sql.sql2text,
    "tab_fact": tables.tab_fact,
    "totto": texts.totto,
    "web_nlg": texts.web_nlg,
    "webqsp": requests.webqsp,
    "wikisql": wikisql.wikisql,
    "wikitq": tables.wikitq,
}


@dataclasses.dataclass(frozen=True)
class UnifiedSKG(TaskSource):
    """The authors' preprocessed items, or the original files of a task, made into the same items.

    Items: ``TASK_SPLIT.json``, an array (or JSON lines) of objects with text_in, struct_in and seq_out, as
    the authors publish them (folder ``end2end_data``). Original files: a folder named after the task, as its
    authors publish it. SPLIT is train, eval (or dev, validation) or test; all files also as ``.gz``.
    """

    data_dir: SourcePath = dataclasses.field(
        metadata={"help": "the folder of the item files and of the tasks' folders."}
    )
    form: str = dataclasses.field(
        default="opt_iml",
        metadata={
            "help": "``opt_iml`` writes a keyword before each field, the request last; ``unifiedskg`` "
            "joins text and structure as UnifiedSKG does, the request first.",
            "choices": FORMS,
        },
    )
    structure_characters: int = dataclasses.field(
        default=0,
        metadata={
            "help": "a longer structure loses its end (whole rows of a table) and then ends in "
            '"..."; 4096 is about as long as UnifiedSKG\'s 1,024 T5 tokens. 0 keeps all of '
            "it: then only prompts longer than a row of tokens are cut, at their beginning, "
            "and counted (which takes the request first in the form ``unifiedskg``: bound the "
            "structures there)."
        },
    )
    description: bool = dataclasses.field(
        default=False, metadata={"help": "put UnifiedSKG's task description in front (form ``unifiedskg``)."}
    )
    database_values: bool = dataclasses.field(
        default=True,
        metadata={
            "help": "show the values that a question names beside their columns, where the databases are."
        },
    )
    evaluation_tasks: tuple[str, ...] = dataclasses.field(
        default=("dart", "multiwoz"),
        metadata={"help": "names of tasks that are evaluated and not trained on (OPT-IML table 13)."},
    )

    strict: bool = dataclasses.field(
        default=False,
        kw_only=True,
        metadata={
            "help": "refuse a malformed kvret_entities.json, which is otherwise done without and "
            "counted; a task that a mixture names is read so."
        },
    )

    name = "unifiedskg"

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise UserError(f"UnifiedSKG.form = {self.form!r}: must be one of {', '.join(FORMS)}")
        if self.description and self.form != "unifiedskg":
            raise UserError("UnifiedSKG.description: only the form 'unifiedskg' has descriptions; unbind it")
        if self.structure_characters < 0:
            raise UserError(f"UnifiedSKG.structure_characters = {self.structure_characters}: must be >= 0")
        if unknown := sorted(set(self.evaluation_tasks) - set(self.known())):
            known = ", ".join(self.known())
            raise UserError(f"UnifiedSKG.evaluation_tasks: no task {unknown[0]!r}; there are {known}")

    def settings(self) -> dict[str, object]:
        """What decides the examples besides the files."""
        return {
            "form": self.form,
            "structure_characters": self.structure_characters,
            "description": self.description,
            "database_values": self.database_values,
            "strict": self.strict,
            "evaluation_tasks": sorted(self.evaluation_tasks),
        }

    @staticmethod
    def known() -> tuple[str, ...]:
        """The names of all tasks that UnifiedSKG has a loader for: the paper's 21, then the others."""
        return tuple(task.name for task in sorted(tasks(), key=lambda task: (not task.paper, task.name)))

    def discover(self) -> Mapping[str, Callable[[], TaskInfo]]:
        """As ``TaskSource.discover``; no file is opened. An item file of an unknown task is a broken task."""
        found, _ = find(directory(self.data_dir, "UnifiedSKG.data_dir"))
        return {task: functools.partial(self._described, task, files) for task, files in found.items()}

    def _described(self, task: str, files: TaskFiles | UserError) -> TaskInfo:
        if isinstance(files, UserError):
            raise files
        return self._info(task, (*files.splits.values(), *self._side(files.side)))

    def set_aside(self) -> dict[Path, str]:
        """As ``Source.set_aside``: copies."""
        return find(directory(self.data_dir, "UnifiedSKG.data_dir"))[1]

    def remedy(self, task: str) -> str:
        """What files of a task belong where: items, or where they are read its original files."""
        items = (
            f"{self.data_dir}/{task}_SPLIT.json; the authors' preprocessed data, linked from "
            "github.com/HKUNLP/UnifiedSKG"
        )
        return f"{items}, or the dataset's own files in {self.data_dir}/{task}" if task in READERS else items

    def missing(self) -> dict[Path, str]:
        """As ``Source.missing``: databases of schemas; without them no value is shown beside a column."""
        found: dict[Path, str] = {}
        for task in self.survey() if self.database_values else ():
            files = task.files if isinstance(task, TaskInfo) else ()
            schemas = [path for path in files if plain(path.name).endswith("tables.json")]
            if schemas and not any(path.suffix == ".sqlite" for path in files):
                found[schemas[0].parent / "database"] = "missing: no schema shows the values of its columns"
        return found

    def _side(self, side: Sequence[Path]) -> Sequence[Path]:
        """Without databases that are not shown: tables.json has their schemas."""
        schemas = any(plain(path.name).endswith("tables.json") for path in side)
        if self.database_values or not schemas:
            return side
        return [path for path in side if path.suffix != ".sqlite"]

    def _info(self, task: str, files: tuple[Path, ...]) -> TaskInfo:
        role = "evaluation" if task in self.evaluation_tasks else "train"
        return TaskInfo(
            benchmark=self.name,
            task=task,
            category=category_of(self.name, task),
            role=role,
            splits=splits_in_role(_split_files(task, files), role),
            metric=by_name()[task].metric,
            files=files,
        )

    def available_splits(self, task: TaskInfo) -> Collection[str]:
        """As ``TaskSource.available_splits``."""
        return _split_files(task.task, task.files)

    def asked_for(self, task: str) -> Source:
        """As ``Source.asked_for``."""
        return dataclasses.replace(self, strict=True)

    def items(self, task: TaskInfo, split: str) -> Iterator[base.Outcome]:
        """As ``TaskSource.items``, of questions, turns, sentences or statements."""
        files = _split_files(task.task, task.files)
        own = rows_of(split, files)
        request = Request(
            path=files[own],
            files=task.files,
            training=split == "train",
            database_values=self.database_values,
        )
        known = by_name()[task.task]
        for identity, made in _outcomes(known, request):
            outcome = _unusable(made, known) or made if isinstance(made, Item) else made
            if isinstance(outcome, str):
                yield identity, outcome
                continue
            if 0 < self.structure_characters < len(outcome.struct_in):
                yield identity, shortened(f"a structure of more than {self.structure_characters} characters")
            source = self._prompt(outcome, known)
            yield identity, base.Item(source, outcome.references, known.options)

    def _prompt(self, item: Item, task: SkgTask) -> str:
        struct_in = cut(item.struct_in, self.structure_characters)
        if self.form == "opt_iml":
            return keyword_prompt(task.keywords, item.text_in, struct_in)
        return joined(item.text_in, struct_in, task.description if self.description else "")


def _split_files(task: str, files: Sequence[Path]) -> dict[str, Path]:
    """Split -> its file: the files that come before those that rows refer to."""
    known = by_name()[task]
    own = itertools.takewhile(lambda path: not known.is_side(plain(path.as_posix())), files)
    return {split_of(path): path for path in own}


def _outcomes(task: SkgTask, request: Request) -> Iterator[Outcome]:
    if holds_items(request.path):
        return preprocessed(request)
    if reader := READERS.get(task.name):
        return reader(request)
    raise UserError(
        f"{request.path}: no 'seq_out' in its first records; of {task.name} only the preprocessed items that "
        "UnifiedSKG's authors publish are read"
    )


def _unusable(item: Item, task: SkgTask) -> str | None:
    """Why an item yields no example, or None."""
    if not item.references:
        return "no reference"
    if not item.text_in.strip() and not item.struct_in.strip():
        return "empty input"
    if not encodable(item.text_in, item.struct_in, *item.references):
        return NOT_UNICODE
    if task.options and item.references[0] not in task.options:
        return "target is not among the labels"
    if item.references[0] == task.no_target:
        return "no logical form of the question"
    return None
