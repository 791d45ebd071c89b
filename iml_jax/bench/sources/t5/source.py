"""T5's supervised tasks (``t5.data.tasks``): GLUE, SuperGLUE, CNN/DailyMail, SQuAD, WMT, TriviaQA, DPR."""

from __future__ import annotations

import collections
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from iml_jax.bench.categories import category_of
from iml_jax.bench.sources.base import Item, NothingFoundError, Outcome, TaskInfo, TaskSource, without_repeats
from iml_jax.bench.sources.formats import copies
from iml_jax.bench.sources.formats.bounds import LONG_ROW, is_long
from iml_jax.bench.sources.formats.copies import Copies
from iml_jax.bench.sources.formats.datasets import LocalDataset, locate_first
from iml_jax.bench.sources.formats.files import directory
from iml_jax.bench.sources.formats.parallel_text import language_name
from iml_jax.bench.sources.formats.rows import Row
from iml_jax.bench.sources.t5 import files as t5_files
from iml_jax.bench.sources.t5.files import Part
from iml_jax.bench.sources.t5.text import MalformedRowError, Pair, TaskForm
from iml_jax.config.paths import SourcePath
from iml_jax.data.terms import SPLITS
from iml_jax.foundation.errors import UserError
from iml_jax.storage import tables

TABLE = Path(__file__).with_name("tasks.tsv")
# What OPT-IML Bench keeps of T5, because its other benchmarks have the rest (OPT-IML appendix A.1).
OPT_IML_TASKS = (
    "cnn_dailymail_v002",
    "wmt14_ende_v003",
    "wmt14_enfr_v003",
    "wmt15_enfr_v003",
    "wmt16_enro_v003",
    "wmt19_ende_v003",
    "wmt_t2t_ende_v003",
)
_HIDDEN = "its labels are not public"


@functools.cache
def forms() -> dict[str, TaskForm]:
    """T5's registry name -> form, of all its supervised tasks but those with sentinel tokens."""
    return {form.task: form for form in tables.read(TABLE, _form)}


def _form(**row: str) -> TaskForm:
    return TaskForm(
        task=row["task"],
        form=row["form"],
        keyword=row["keyword"],
        fields=tuple(filter(None, row["fields"].split(","))),
        labels=tuple(filter(None, row["labels"].split(","))),
        datasets=tuple(row["datasets"].split("|")),
        splits=tuple(filter(None, row["splits"].split(","))),
        instruction=row["instruction"],
    )


@dataclasses.dataclass(frozen=True)
class _Found:
    """A task with its rows: a dataset in a common layout, or parts in raw official forms."""

    form: TaskForm
    local: LocalDataset | None = None
    parts: tuple[Part, ...] = ()

    def splits(self) -> dict[str, list[tuple[str, Part | None]]]:
        """Split -> (the dataset's own name of a split, None) or ("", part)."""
        held: dict[str, list[tuple[str, Part | None]]] = collections.defaultdict(list)
        for name in self.local.splits if self.local else ():
            if (split := name.partition("_")[0]) in self.form.splits:
                held[split].append((name, None))
        for part in self.parts:
            if part.labelled and self._offered(part.split):
                held[part.split].append(("", part))
        # Rows without labels are counted as skipped beside the rows that have some.
        last = next((split for split in ("validation", "train", "test") if split in held), "test")
        for part in self.parts:
            if not part.labelled and self._offered(part.split):
                held[part.split if part.split in held else last].append(("", part))
        return held

    def _offered(self, split: str) -> bool:
        splits = self.form.splits
        return split in splits or (split == "test" and ("validation" in splits or not splits))

    def files(self) -> tuple[Path, ...]:
        held = self.splits()
        paths: list[Path] = []
        for split in SPLITS:
            for name, part in held.get(split, ()):
                paths.extend(part.paths if part else self.local.splits[name] if self.local else ())
        return tuple(dict.fromkeys((*paths, *(self.local.metadata if self.local else ()))))

    def rows(self, name: str, part: Part | None, data_dir: Path) -> Iterator[tuple[str, str, Row]]:
        """(id, place for messages, row) of a published split, or of a part."""
        if part is not None:
            path = part.paths[0]
            known = path.relative_to(data_dir).as_posix().removesuffix(".gz")
            yield from ((f"{known}:{number}", f"{path}:{number}", row) for number, row in part.rows())
        elif self.local is not None:
            for number, record in enumerate(self.local.records(name), 1):
                yield f"{name}:{number}", record.place, record.values


@dataclasses.dataclass(frozen=True)
class T5(TaskSource):
    """Rows of the datasets of T5's tasks, in T5's text-to-text forms.

    A dataset is found under its name (``glue/rte/train.jsonl``, a TFDS or a ``save_to_disk`` folder, see
    ``datasets.locate``), or anywhere below the folder in a raw official form (see ``files``). Parallel
    text that belongs to no task of T5's gives tasks of its own, ``FOLDER_SOURCETARGET`` such as
    ``multi30k_ende``; so do rows of XSum. A dataset that is there under its name and in a raw form is read
    under its name.
    """

    data_dir: SourcePath = dataclasses.field(metadata={"help": "the folder of the datasets."})
    tasks_kept: str = dataclasses.field(
        default="all",
        metadata={
            "help": "all, or opt_iml: every task that OPT-IML Bench does not keep of T5 is excluded.",
            "choices": ("all", "opt_iml"),
        },
    )
    prompts: str = dataclasses.field(
        default="keyword",
        metadata={
            "help": "keyword: T5's own input, ``mnli hypothesis: ...``; sentence: one sentence that "
            "says what to do, then T5's input without its prefix (OPT-IML appendix A.1).",
            "choices": ("keyword", "sentence"),
        },
    )

    name = "t5"

    def __post_init__(self) -> None:
        for field, choices in (("tasks_kept", ("all", "opt_iml")), ("prompts", ("keyword", "sentence"))):
            if getattr(self, field) not in choices:
                value = getattr(self, field)
                raise UserError(f"T5.{field} = {value!r}: must be {' or '.join(choices)}")

    def settings(self) -> dict[str, object]:
        """What decides the examples besides the files."""
        return {"prompts": self.prompts}

    @staticmethod
    def known() -> tuple[str, ...]:
        """The names of T5's own tasks, sorted, whether their data are here or not."""
        return tuple(sorted(forms()))

    def discover(self) -> Mapping[str, Callable[[], TaskInfo]]:
        """As ``TaskSource.discover``; of a raw SuperGLUE file the first row is read."""
        found = self._found()[0]
        if not found:
            raise NothingFoundError(
                f"{self.data_dir}: no dataset of T5's tasks; put rows under e.g. glue/rte/train.jsonl"
            )
        return {task: functools.partial(self._info, made) for task, made in found.items()}

    def remedy(self, task: str) -> str:
        """As ``Source.remedy``, for T5's own tasks."""
        dataset = forms()[task].datasets[0]
        files = f"{self.data_dir}/{dataset}/SPLIT.parquet (or a TFDS folder)"
        return f"{files}; save the rows of the TensorFlow dataset {dataset}"

    def unread(self) -> dict[Path, str]:
        """Every file below the folder that no task reads -> why."""
        found, unread, aside = self._found()
        read = {path for task in found.values() for path in task.files()}
        for task in found.values():
            for name, paths in task.local.splits.items() if task.local else ():
                if name.partition("_")[0] == "test":
                    unread.update({path: _HIDDEN for path in paths if path not in read})
        return unread | aside

    def set_aside(self) -> dict[Path, str]:
        """As ``Source.set_aside``: copies."""
        return self._found()[2]

    def _found(self) -> tuple[dict[str, _Found], dict[Path, str], Copies]:
        """The tasks, the files that are not read, and the copies among these."""
        data = directory(self.data_dir, "T5.data_dir")
        local = {
            task: place for task, form in forms().items() if (place := locate_first(data, form.datasets))
        }
        claimed = frozenset(place.folder for place in local.values())
        parts, unread, aside = t5_files.find(data, claimed)
        for place in local.values():
            aside |= place.copies
        found = {task: _Found(forms()[task], place) for task, place in local.items()}
        by_dataset: dict[str, list[TaskForm]] = collections.defaultdict(list)
        for form in forms().values():
            by_dataset[form.datasets[0]].append(form)
        for dataset, held in parts.items():
            for form in by_dataset.get(dataset) or [_own_form(dataset)]:
                if form.task in local:
                    why = copies.same(local[form.task].folder, "dataset")
                    aside |= {path: why for part in held for path in part.paths}
                    continue
                task = _Found(form, parts=tuple(sorted(held, key=lambda part: part.paths)))
                if task.splits():
                    found[form.task] = task
        found = {task: made for task, made in found.items() if made.splits()}
        read = {path for made in found.values() for path in made.files()}
        return found, unread, {path: why for path, why in aside.items() if path not in read}

    def _info(self, found: _Found) -> TaskInfo:
        task = found.form.task
        kept = self.tasks_kept == "all" or task in OPT_IML_TASKS
        category = {"translate": "Translation", "summarize": "Summarization"}.get(found.form.form)
        if task in forms() or category is None:
            category = category_of(self.name, task)
        return TaskInfo(
            benchmark=self.name,
            task=task,
            category=category,
            role="train" if kept else "excluded",
            splits=tuple(split for split in SPLITS if split in found.splits()),
            metric=found.form.metric,
            files=found.files(),
        )

    def items(self, task: TaskInfo, split: str) -> Iterator[Outcome]:
        """As ``TaskSource.items``; a row may give several, or be skipped for several reasons."""
        found = self._found()[0][task.task]
        return without_repeats(
            [self._outcomes(found, name, part, split) for name, part in found.splits()[split]]
        )

    def _outcomes(self, found: _Found, name: str, part: Part | None, split: str) -> Iterator[Outcome]:
        for identity, place, row in found.rows(name, part, Path(self.data_dir)):
            if is_long(row):
                yield identity, LONG_ROW
                continue
            try:
                pairs = list(found.form.pairs(row, training=split == "train"))
            except MalformedRowError as error:
                raise UserError(f"{place}: {error}; fix the row") from error
            for index, pair in enumerate(pairs):
                suffix = f".{index}" if index else ""
                if isinstance(pair, str):
                    yield identity + suffix, pair
                elif not all(reference.strip() for reference in pair.references):
                    yield identity + suffix, "empty target"
                else:
                    source = self._source(found.form, pair)
                    yield identity + suffix, Item(source, pair.references, pair.options)

    def _source(self, form: TaskForm, pair: Pair) -> str:
        return pair.text if self.prompts == "keyword" else f"{form.instruction}\n{pair.body}"


def _own_form(dataset: str) -> TaskForm:
    """The form of data that belong to no task of T5's: parallel text and other summaries."""
    folder, *languages = dataset.split(":")
    if not languages:
        columns = ("document", "summary") if dataset == "xsum" else ("article", "highlights")
        instruction = "Summarize the article in one sentence."
        return TaskForm(dataset, "summarize", "summarize:", columns, (), (dataset,), SPLITS, instruction)
    source, target = languages
    named = f"{folder}_{source}{target}" if len(source) == len(target) == 2 else f"{folder}_{source}-{target}"
    for task in (named, f"{named}_v003", folder):
        if (form := forms().get(task)) and form.form == "translate" and form.fields == (source, target):
            return form
    names = [language_name(code) for code in languages]
    return TaskForm(
        task=named,
        form="translate",
        keyword=f"translate {names[0]} to {names[1]}:",
        fields=(source, target),
        labels=(),
        datasets=(dataset,),
        splits=SPLITS,
        instruction=f"Translate the text from {names[0]} into {names[1]}.",
    )
