"""The one bound on rows: in every format a longer row is dropped and counted, the others stay as they are."""

from __future__ import annotations

import collections
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from iml_jax.bench.example import Example
from iml_jax.bench.sources.base import Source
from iml_jax.bench.sources.crossfit import tasks as crossfit_tasks
from iml_jax.bench.sources.formats.bounds import LONG_ROW, NOT_UNICODE, ROW_CHARACTERS, usable
from iml_jax.bench.sources.promptsource import roles as promptsource_roles
from iml_jax.bench.sources.promptsource.source import PromptSource
from iml_jax.bench.sources.reasoning.source import Reasoning
from iml_jax.bench.sources.super_natural_instructions.source import SuperNaturalInstructions
from iml_jax.foundation.errors import UserError

LONG = "word " * (ROW_CHARACTERS // 5 + 1)


def read(source: Source) -> tuple[list[Example], dict[str, int]]:
    skipped: collections.Counter[str] = collections.Counter()
    found = [
        example
        for task in source.tasks()
        for split in task.splits
        for example in source.examples(task, split, skipped)
    ]
    return found, dict(skipped)


def natural(folder: Path, texts: list[str]) -> Source:
    rows = [{"id": f"i{n}", "input": text, "output": [f"o{n}"]} for n, text in enumerate(texts)]
    task = {"Categories": ["QA"], "Definition": ["Do."], "Instances": rows, "License": "x"}
    folder.mkdir(exist_ok=True)
    (folder / "task1_a.json").write_text(json.dumps(task))
    return SuperNaturalInstructions(str(folder))


def prompted(folder: Path, texts: list[str], kind: str) -> Source:
    rows = [{"text": text, "n": number} for number, text in enumerate(texts)]
    (folder / "templates/d").mkdir(parents=True, exist_ok=True)
    (folder / "templates/d/templates.yaml").write_text(
        "dataset: d\ntemplates:\n  a:\n    id: a\n    name: t\n    jinja: '{{text}} ||| {{n}}'\n"
        "    answer_choices: null\n    metadata: {original_task: true, metrics: [ROUGE]}\n"
    )
    (folder / "data/d").mkdir(parents=True, exist_ok=True)
    path = folder / f"data/d/train.{kind}"
    if kind == "parquet":
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif kind == "csv":
        path.write_text("text,n\n" + "".join(f'"{row["text"]}",{row["n"]}\n' for row in rows))
    elif kind == "json":
        path.write_text(json.dumps(rows))
    else:
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return PromptSource(str(folder / "data"), str(folder / "templates"))


def reasoned(folder: Path, texts: list[str]) -> Source:
    (folder / "gsm8k").mkdir(parents=True, exist_ok=True)
    rows = [{"question": text, "answer": f"1\n#### {number}"} for number, text in enumerate(texts)]
    (folder / "gsm8k/train.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return Reasoning(str(folder))


MAKERS = {
    "Super-NaturalInstructions": natural,
    "Reasoning": reasoned,
    **{
        f"PromptSource, {kind}": lambda folder, texts, kind=kind: prompted(folder, texts, kind)
        for kind in ("jsonl", "json", "csv", "parquet")
    },
}


@pytest.mark.parametrize("limit", [None, 1 << 16])
@pytest.mark.parametrize("name", MAKERS)
def test_a_long_row_is_dropped_and_counted(
    name: str, limit: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``limit``: what a reader holds of a JSON row at most, so that the long one is not even parsed."""
    whole, nothing = read(MAKERS[name](tmp_path / "a", ["one", "two", "three"]))
    assert len(whole) == 3 and nothing == {}
    if limit is not None:
        monkeypatch.setattr("iml_jax.storage.json_stream.LINE_LIMIT", limit)
        monkeypatch.setattr("iml_jax.storage.reading.read_bounded_lines.__defaults__", (limit,))
    found, skipped = read(MAKERS[name](tmp_path / "b", ["one", LONG, "three"]))
    assert skipped == {LONG_ROW: 1}
    assert found == [whole[0], whole[2]]


def test_examples_above_the_bound_or_without_utf8_are_counted() -> None:
    made = Example("b", "t", "1", "train", "do", "in", ("out",))
    examples = [
        made,
        Example("b", "t", "2", "train", "do", LONG, ("out",)),
        Example("b", "t", "3", "train", "do \ud83d", "in", ("out",)),
        Example("b", "t", "4", "train", "do", "in", ("out",), ("a", "\ude00")),
    ]
    skipped: collections.Counter[str] = collections.Counter()
    assert list(usable(iter(examples), skipped)) == [made]
    assert skipped == {LONG_ROW: 1, NOT_UNICODE: 2}


@pytest.mark.parametrize("read", [promptsource_roles.read_roles, crossfit_tasks.read_table])
def test_a_row_of_a_table_of_tasks_is_not_dropped(read: Callable[..., object], tmp_path: Path) -> None:
    (tmp_path / "tasks.tsv").write_text(f"task\ttype\n{LONG}\tx\n")
    arguments = (("BASE",),) if read is promptsource_roles.read_roles else ()
    with pytest.raises(UserError, match=r"tasks\.tsv:2: a row of more than 1048576 characters"):
        read(tmp_path / "tasks.tsv", *arguments)
