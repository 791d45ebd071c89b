"""MMLU: 57 subjects of four-way multiple choice, as the tables that its authors publish (hendrycks/test)."""

from __future__ import annotations

import collections
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from iml_jax.bench import known_tasks
from iml_jax.bench.categories import category_of
from iml_jax.bench.example import Demonstration
from iml_jax.bench.sources.base import Item, Outcome, TaskInfo
from iml_jax.bench.sources.formats import copies
from iml_jax.bench.sources.formats.bounds import drop
from iml_jax.bench.sources.formats.copies import Copies
from iml_jax.bench.sources.formats.files import directory
from iml_jax.bench.sources.formats.separated import csv_lines
from iml_jax.bench.sources.suites.evaluation_only import EMPTY, EvaluationOnly
from iml_jax.config.paths import SourcePath
from iml_jax.foundation.errors import UserError
from iml_jax.storage.folders import entries

LETTERS = ("A", "B", "C", "D")
# Folder of the archive, and end of its files' names -> split.
_SPLITS = {"val": "validation", "test": "test"}
_FEW_SHOT = "dev"
_HEADER = {"question": "question", "answer": "answer", **{letter.lower(): letter for letter in LETTERS}}
_ROW = "a row is the question, four choices and the letter of the right one"


@dataclasses.dataclass(frozen=True)
class Mmlu(EvaluationOnly):
    """MMLU's ``data`` folder: ``dev``, ``val`` and ``test`` with files ``SUBJECT_SPLIT.csv`` (or ``.gz``).

    The prompt is the authors', byte for byte: a head that names the subject after two spaces, question and
    lettered choices with their white space, ``Answer:``; the letters are the options. Demonstrations are the
    subject's dev rows in their order, as the authors show them. Never trained on. What pandas, with which the
    authors read the tables, makes of a cell is not followed: ``NA`` becomes ``nan`` there, and in a column of
    numbers only ``0.50`` becomes ``0.5``.
    """

    data_dir: SourcePath = dataclasses.field(
        metadata={
            "help": "the folder with ``dev``, ``val`` and ``test``, or the one above (``data`` below it)."
        }
    )

    header = False
    name = "mmlu"

    def expected(self) -> tuple[str, ...]:
        """As ``Source.expected``."""
        return tuple(row.task for row in known_tasks.every(self.name))

    def discover(self) -> Mapping[str, Callable[[], TaskInfo]]:
        """As ``TaskSource.discover``; no file is opened."""
        found, _ = self._find()
        return {subject: functools.partial(self._info, subject, files) for subject, files in found.items()}

    def missing(self) -> dict[Path, str]:
        """As ``Source.missing``: dev tables of subjects, without which they have no demonstrations."""
        found = {}
        for subject, files in self._find()[0].items():
            if _FEW_SHOT not in files:
                beside = next(iter(files.values()))
                path = beside.parents[1] / _FEW_SHOT / f"{subject}_{_FEW_SHOT}.csv"
                found[path] = f"missing, beside {beside}: no demonstrations"
        return found

    def set_aside(self) -> dict[Path, str]:
        """As ``Source.set_aside``: copies."""
        return self._find()[1]

    def _find(self) -> tuple[dict[str, dict[str, Path]], Copies]:
        """Subject -> {dev, val or test: file}, sorted; and copies."""
        root = directory(self.data_dir, "Mmlu.data_dir")
        places = [place for place in (root, root / "data") if (place / "test").is_dir()]
        if not places:
            raise UserError(
                f"{root}: no folder test with SUBJECT_test.csv; bind MMLU's data folder (dev, val, test)"
            )
        tables: list[tuple[tuple[str, str], Path]] = []
        for part in (_FEW_SHOT, *_SPLITS):
            folder = places[0] / part
            for path in entries(folder) if folder.is_dir() else ():
                subject = path.name.removesuffix(".gz").removesuffix(f"_{part}.csv")
                if subject == path.name.removesuffix(".gz") or not path.is_file():
                    continue
                tables.append(((subject, part), path))
        if not tables:
            raise UserError(
                f"{places[0]}: no file test/SUBJECT_test.csv (or .csv.gz); fetch MMLU's data again"
            )
        named, twins = copies.once(tables, "table")
        found: dict[str, dict[str, Path]] = collections.defaultdict(dict)
        for (subject, part), path in named.items():
            found[subject][part] = path
        return dict(sorted(found.items())), twins

    def _info(self, subject: str, files: Mapping[str, Path]) -> TaskInfo:
        if not files.keys() & _SPLITS.keys():
            example = files[_FEW_SHOT]
            table = example.parents[1] / "test" / f"{subject}_test.csv"
            raise UserError(f"{table}: missing, beside {example}; fetch MMLU's data again")
        return TaskInfo(
            benchmark=self.name,
            task=subject,
            category="MMLU",
            role="evaluation",
            splits=tuple(split for part, split in _SPLITS.items() if part in files),
            metric="accuracy",
            files=tuple(files.values()),
            kind=category_of(self.name, subject),
        )

    def items(self, task: TaskInfo, split: str) -> Iterator[Outcome]:
        """As ``TaskSource.items``."""
        files = {
            path.name.removesuffix(".gz").removesuffix(".csv").rpartition("_")[2]: path for path in task.files
        }
        part = next(part for part, name in _SPLITS.items() if name == split)
        shown = _solved(files[_FEW_SHOT]) if _FEW_SHOT in files else ()
        # The authors' code (evaluate.py of hendrycks/test) begins each word with a space: two stand here.
        subject = "".join(f" {word}" for word in task.task.split("_"))
        instruction = f"The following are multiple choice questions (with answers) about {subject}."
        for number, cells in rows(files[part]):
            if not cells[0].strip():
                yield str(number), EMPTY
                continue
            item = Item(
                source=_question(cells),
                references=(cells[5],),
                options=LETTERS,
                instruction=instruction,
                demonstrations=shown,
            )
            yield str(number), item


def _question(cells: Sequence[str]) -> str:
    choices = "".join(f"\n{letter}. {text}" for letter, text in zip(LETTERS, cells[1:5], strict=True))
    return f"{cells[0]}{choices}\nAnswer:"


def _solved(path: Path) -> tuple[Demonstration, ...]:
    return tuple(Demonstration(_question(cells), cells[5]) for _, cells in rows(path) if cells[0].strip())


def rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Streams (line, [question, choice A, B, C, D, right letter]) of a table of MMLU.

    The authors' tables have no header. One with a header that names ``question``, ``A``..``D`` and ``answer``
    is read by it; its other columns are left out, and its answers may be 0..3.

    Raises:
      UserError: a row is of another form; names the line.
    """
    columns: list[int] | None = None
    width = 6
    for count, (number, found) in enumerate(csv_lines(path)):
        if found is None:
            drop(path, number)
            continue
        if count == 0 and (columns := _header(found)) is not None:
            width = len(found)
            continue
        if len(found) != width:
            raise UserError(f"{path}:{number}: {len(found)} cells; {_ROW}; fix or remove the row")
        cells = found if columns is None else [found[column] for column in columns]
        answer = cells[5].strip().upper()
        if columns is not None and answer in ("0", "1", "2", "3"):
            answer = LETTERS[int(answer)]
        if answer not in LETTERS:
            raise UserError(
                f"{path}:{number}: answer {cells[5][:40]!r} is none of A, B, C, D; {_ROW}; fix it"
            )
        yield number, [*cells[:5], answer]


def _header(cells: Sequence[str]) -> list[int] | None:
    """Where question, choices and answer stand, if these are the names of columns."""
    names = [_HEADER.get(cell.strip().lower(), "") for cell in cells]
    wanted = ("question", *LETTERS, "answer")
    return [names.index(name) for name in wanted] if all(name in names for name in wanted) else None
