"""Super-NaturalInstructions and its relatives: one JSON file per task (``schemas``).

SAPT's copies have one folder per task with train/dev/test files.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Self

from iml_jax.bench.sources.base import Item, NothingFoundError, Outcome, TaskInfo, TaskSource
from iml_jax.bench.sources.formats import copies
from iml_jax.bench.sources.formats.bounds import LONG_ROW
from iml_jax.bench.sources.formats.copies import Copies
from iml_jax.bench.sources.formats.files import SPLIT_NAMES, directory, is_name
from iml_jax.bench.sources.super_natural_instructions import schemas
from iml_jax.bench.sources.super_natural_instructions.contamination import contaminated
from iml_jax.config.paths import OptionalSourcePath, SourcePath
from iml_jax.data.terms import SPLITS
from iml_jax.foundation.errors import UserError
from iml_jax.storage.folders import entries
from iml_jax.storage.reading import read_lines

_TASK_FILE = re.compile(r"(?P<stem>.+)\.json(\.gz)?")

_SPLIT_FILES = {"train": "train_tasks.txt", "evaluation": "test_tasks.txt"}  # role -> file


@dataclasses.dataclass(frozen=True)
class SuperNaturalInstructions(TaskSource):
    """Task JSON files, with the roles of the benchmark's split files."""

    data_dir: SourcePath = dataclasses.field(
        metadata={"help": "the folder that holds the task files (``tasks/`` of the public repository)."}
    )
    split_dir: OptionalSourcePath = dataclasses.field(
        default="",
        metadata={
            "help": "the folder with train_tasks.txt and test_tasks.txt (``splits/default``); empty: "
            "every task is trained on."
        },
    )
    held_out_instances: int = dataclasses.field(
        default=0,
        metadata={"help": "number of first instances of every task trained on that become its test split."},
    )
    evaluation_instances: int = dataclasses.field(
        default=100,
        metadata={
            "help": "number of first instances that an evaluation task keeps (the benchmark puts a "
            "balanced hundred first); 0 keeps all."
        },
    )
    decontaminate: bool = dataclasses.field(
        default=True,
        metadata={
            "help": "tasks that hold the questions of MMLU or BIG-bench are excluded, whatever the "
            "split files or the mixture say (``contamination``)."
        },
    )

    name = schemas.BENCHMARK
    rouge = "rouge_l_stemmed"

    def __post_init__(self) -> None:
        for field in ("held_out_instances", "evaluation_instances"):
            if getattr(self, field) < 0:
                raise UserError(f"SuperNaturalInstructions.{field} = {getattr(self, field)}: must be >= 0")

    def settings(self) -> dict[str, object]:
        """The two counts; the other fields say where the files are and what each is used for."""
        return {
            "held_out_instances": self.held_out_instances,
            "evaluation_instances": self.evaluation_instances,
        }

    @classmethod
    def in_folder(cls, folder: Path) -> Self:
        """As ``Source.in_folder``: the clone of natural-instructions."""
        splits = folder / "splits" / "default"
        return cls(data_dir=str(folder / "tasks"), split_dir=str(splits) if splits.is_dir() else "")

    def discover(self) -> Mapping[str, Callable[[], TaskInfo]]:
        """As ``TaskSource.discover``; files of tasks that are only trained on are not parsed whole."""
        found, _ = _find(directory(self.data_dir, "SuperNaturalInstructions.data_dir"))
        role = self._roles(found)
        return {
            task: functools.partial(
                self._info, task, files, "excluded" if self._contaminated(task) else role(task)
            )
            for task, files in found.items()
        }

    def _contaminated(self, task: str) -> bool:
        return self.decontaminate and task in contaminated()

    def set_aside(self) -> dict[Path, str]:
        """As ``Source.set_aside``: copies."""
        return _find(directory(self.data_dir, "SuperNaturalInstructions.data_dir"))[1]

    def missing(self) -> dict[Path, str]:
        """As ``Source.missing``: the tasks of the split files."""
        if not self.split_dir:
            return {}
        folder = directory(self.data_dir, "SuperNaturalInstructions.data_dir")
        found, _ = _find(folder)
        return {
            folder / f"{task}.json": f"missing, though {_SPLIT_FILES[role]} names its task"
            for role, tasks in self._named_tasks().items()
            for task in sorted(tasks - found.keys())
        }

    def _named_tasks(self) -> dict[str, set[str]]:
        folder = directory(self.split_dir, "SuperNaturalInstructions.split_dir")
        return {role: _names(folder / name) for role, name in _SPLIT_FILES.items()}

    def _roles(self, found: Mapping[str, object]) -> Callable[[str], str]:
        if not self.split_dir:
            return lambda task: "train"
        folder, named = Path(self.split_dir), self._named_tasks()
        if both := sorted(named["train"] & named["evaluation"]):
            raise UserError(f"{folder}: {both[0]} is in train_tasks.txt and in test_tasks.txt; remove one")
        if not (named["train"] | named["evaluation"]) & found.keys():
            raise UserError(f"{folder}: names no task of {self.data_dir}; bind the split_dir of these tasks")
        return lambda task: next((role for role, names in named.items() if task in names), "excluded")

    def _info(self, task: str, files: dict[str, Path], role: str) -> TaskInfo:
        splits = self._splits(files, role)
        return TaskInfo(
            benchmark=self.name,
            task=task,
            category=schemas.category(next(iter(files.values())), task),
            role=role,
            splits=splits,
            metric=self._metric(files, splits),
            files=tuple(files.values()),
        )

    def _metric(self, files: dict[str, Path], splits: tuple[str, ...]) -> str:
        # Options need every instance; a task that is only trained on is never scored.
        scored = set(splits) - {"train"}
        return "accuracy" if scored and _options(files) else self.rouge

    def _splits(self, files: dict[str, Path], role: str) -> tuple[str, ...]:
        if role == "evaluation":
            return ("test",)
        named = set(files) & set(SPLITS) or {"train"}
        if "train" in named and self.held_out_instances and role == "train":
            named.add("test")
        return tuple(split for split in SPLITS if split in named)

    def assigned(self, task: TaskInfo, *, trained: bool, evaluated: bool) -> TaskInfo:
        """As ``Source.assigned``; a task for both holds out ``held_out_instances``.

        Where that is 0, it holds out ``evaluation_instances``, at most half of what it has; with both 0 it is
        trained on only. ``decontaminate`` holds here as well.
        """
        files = _named(task)
        if self._contaminated(task.task):
            trained = evaluated = False
        made = super().assigned(task, trained=trained, evaluated=evaluated)
        named = set(self._splits(files, made.role))
        if trained and "test" not in files:
            named.discard("test")
            if evaluated and (self.held_out_instances or self.evaluation_instances):
                named.add("test")
        splits = tuple(split for split in SPLITS if split in named)
        metric = self._metric(files, splits) if evaluated else self.rouge
        return dataclasses.replace(made, splits=splits, metric=metric)

    def items(self, task: TaskInfo, split: str) -> Iterator[Outcome]:
        """As ``TaskSource.items``, of instances."""
        files = _named(task)
        path = self._path(task, files, split)
        found = schemas.survey((path, *(other for other in files.values() if other != path)))
        chosen, held_out_inputs = self._chosen(task, path, split, found.count)
        instruction = schemas.instruction(found.head, path)
        demonstrations = tuple(schemas.demonstrations(found.head, path))
        used: collections.Counter[str] = collections.Counter()
        for index, instance in itertools.islice(schemas.instances(path), chosen.start, chosen.stop):
            if schemas.is_left_out(instance):
                yield "", LONG_ROW
                continue
            source, references = schemas.checked(instance, index, path)
            given = instance.get("id")
            used[identity := str(index if given is None else given)] += 1
            reason = _unusable(source, references, instruction)
            if not reason and source in held_out_inputs:
                reason = "same input as a held-out instance"
            made = Item(
                source,
                references,
                found.options,
                instruction=instruction,
                demonstrations=demonstrations,
            )
            yield identity if used[identity] == 1 else f"{identity}#{index}", reason or made

    def _path(self, task: TaskInfo, files: dict[str, Path], split: str) -> Path:
        """The file that holds a split."""
        if task.role == "evaluation":
            return next(files[name] for name in ("test", "validation", "", "train") if name in files)
        if split in files and split != "train":
            return files[split]
        return files.get("train") or files[""]

    def _chosen(self, task: TaskInfo, path: Path, split: str, count: int) -> tuple[slice, set[str]]:
        """Which of the file's instances are of this split, and inputs not to train on."""
        if task.role == "evaluation":
            return slice(0, self.evaluation_instances or None), set()
        files = _named(task)
        if split in files and split != "train":
            return slice(0, None), set()
        held_out = task.role == "train" and "test" in task.splits and "test" not in files
        cut = (self.held_out_instances or min(self.evaluation_instances, count // 2)) if held_out else 0
        if split == "test":
            return slice(0, cut), set()
        first = itertools.islice(schemas.instances(path), cut)
        held_out_inputs = {
            schemas.checked(instance, index, path)[0]
            for index, instance in first
            if not schemas.is_left_out(instance)
        }
        return slice(cut, None), held_out_inputs


def _find(folder: Path) -> tuple[dict[str, dict[str, Path]], Copies]:
    """Task -> {split name, or "" for the one file of the task: path}; and copies.

    A task's one file is read rather than a folder of the task: SAPT's folders hold a part of its instances.
    """
    every: list[tuple[tuple[str, str], Path]] = []
    for path in entries(folder):
        if path.is_dir():
            for inner in entries(path):
                match = _TASK_FILE.fullmatch(inner.name)
                if match and match["stem"] in SPLIT_NAMES:
                    every.append(((path.name, SPLIT_NAMES[match["stem"]]), inner))
        elif match := _TASK_FILE.fullmatch(path.name):
            every.append(((match["stem"], ""), path))
    named, left = copies.once(every, "task")
    found: dict[str, dict[str, Path]] = collections.defaultdict(dict)
    for (task, split), path in named.items():
        if split and (task, "") in named:
            left[path] = copies.same(named[task, ""], "task")
        else:
            found[task][split] = path
    if not found:
        inside = folder / "tasks"
        remedy = f"bind {inside}" if inside.is_dir() else "bind the folder with the task*.json files"
        raise NothingFoundError(f"{folder}: no task file (NAME.json or NAME.json.gz); {remedy}")
    return dict(found), left


def _named(task: TaskInfo) -> dict[str, Path]:
    """What ``_find`` knew of a task, from its files."""
    if len(task.files) == 1 and _TASK_FILE.fullmatch(task.files[0].name)["stem"] == task.task:  # type: ignore[index]
        return {"": task.files[0]}
    return {SPLIT_NAMES[path.name.partition(".")[0]]: path for path in task.files}


def _options(files: Mapping[str, Path]) -> tuple[str, ...]:
    return schemas.survey(tuple(files.values())).options


def _unusable(source: str, references: tuple[str, ...], instruction: str) -> str:
    """Why an instance yields no example; empty if it does."""
    if not references:
        return "no reference"
    return "" if source or instruction else "empty input"


def _names(path: Path) -> set[str]:
    """The tasks that a split file lists, one a line."""
    names = {number: line.strip() for number, line in read_lines(path) if line.strip()}
    for number, name in names.items():
        if not is_name(name):
            raise UserError(f"{path}:{number}: {name[:80]!r} cannot be a task's name; fix or remove the line")
    return set(names.values())
