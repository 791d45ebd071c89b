"""A source small enough to reason about: rows held in JSON-lines files that a test writes."""

from __future__ import annotations

import collections
import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from iml_jax.bench.example import Example
from iml_jax.bench.sources.base import Source, TaskInfo
from iml_jax.foundation.errors import UserError


@dataclasses.dataclass(frozen=True)
class FakeSource(Source):
    """``DIRECTORY/TASK.SPLIT.jsonl`` of {"source", "references", "options"}; ``skip`` rows are skipped."""

    directory: str
    roles: dict[str, str] = dataclasses.field(default_factory=dict)
    categories: dict[str, str] = dataclasses.field(default_factory=dict)
    name: str = "fake"
    flavour: str = ""

    def tasks(self) -> Sequence[TaskInfo]:
        found: dict[str, list[Path]] = collections.defaultdict(list)
        for path in sorted(Path(self.directory).glob("*.jsonl")):
            found[path.name.split(".")[0]].append(path)
        return [
            TaskInfo(
                benchmark=self.name,
                task=task,
                category=self.categories.get(task, "Misc"),
                role=self.roles.get(task, "train"),
                splits=tuple(sorted(path.name.split(".")[1] for path in paths)),
                metric="accuracy",
                files=tuple(paths),
            )
            for task, paths in sorted(found.items())
        ]

    def read_split(self, task: TaskInfo, split: str, skipped: collections.Counter[str]) -> Iterator[Example]:
        path = Path(self.directory, f"{task.task}.{split}.jsonl")
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                raise UserError(f"{path}:{number}: not JSON; repair the line") from None
            if row.get("skip"):
                skipped["marked"] += 1
                continue
            yield Example(
                benchmark=self.name,
                task=task.task,
                example_id=str(number),
                split=split,
                instruction="",
                source=row["source"],
                references=tuple(row["references"]),
                options=tuple(row.get("options", ())),
            )

    def settings(self) -> dict[str, object]:
        return {"flavour": self.flavour}


def write_rows(directory: Path, task: str, split: str, rows: Sequence[dict[str, object]]) -> Path:
    """Writes one split of one task."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{task}.{split}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def simple_rows(count: int, offset: int = 0) -> list[dict[str, object]]:
    """Rows with an answer among three options."""
    words = ("red", "green", "deep blue")
    return [
        {
            "source": f"What is the colour of {offset + i}?",
            "references": [words[i % 3]],
            "options": list(words),
        }
        for i in range(count)
    ]
