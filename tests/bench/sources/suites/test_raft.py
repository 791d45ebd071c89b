"""RAFT's folders: labels, columns, instructions; the labelled rows are asked and shown."""

from __future__ import annotations

import collections
import csv
import gzip
import json
from pathlib import Path

import pytest

from iml_jax.bench.example import Example
from iml_jax.bench.mixtures import MixtureConfig, plan
from iml_jax.bench.prompted_examples import prompted_examples
from iml_jax.bench.sources.formats import side_files
from iml_jax.bench.sources.suites.raft import Raft
from iml_jax.bench.variants import FewShot
from iml_jax.foundation.errors import UserError

NO_LABEL = "no label (it is not public)"


def task(folder: Path, name: str = "tweet_eval_hate", rows: int = 4, **tables: list[dict[str, str]]) -> Path:
    place = folder / name
    place.mkdir(parents=True)
    labels = ["hate", "no, none"]
    content = {"name": name, "data_columns": ["Tweet", "ID"], "label_columns": {"Label": labels}}
    (place / "task.json").write_text(json.dumps(content))
    train = [{"Tweet": f"tweet {n}\nmore", "Label": labels[n % 2], "ID": str(n)} for n in range(rows)]
    unlabelled = [{"Tweet": f"other {n}", "ID": str(50 + n)} for n in range(3)]
    for stem, table in {"train": train, "test_unlabeled": unlabelled, **tables}.items():
        with (place / f"{stem}.csv").open("w", newline="") as stream:
            writer = csv.DictWriter(stream, list(table[0]))
            writer.writeheader()
            writer.writerows(table)
    return folder


def examples(source: Raft, name: str = "tweet_eval_hate") -> tuple[list[Example], dict[str, int]]:
    skipped: collections.Counter[str] = collections.Counter()
    (info,) = [info for info in source.tasks() if info.task == name]
    return list(source.examples(info, "test", skipped)), dict(skipped)


def test_train_rows_are_asked_where_test_labels_are_hidden(tmp_path: Path) -> None:
    source = Raft(str(task(tmp_path / "data").parent))
    (info,) = source.tasks()
    assert (info.role, info.splits, info.metric, info.kind) == (
        "evaluation", ("test",), "accuracy", "Toxic Language Detection",
    )  # fmt: skip
    found, skipped = examples(source)
    assert skipped == {NO_LABEL: 3}
    assert [one.references for one in found] == [("hate",), ("no, none",)] * 2
    assert found[0].instruction.endswith("\nPossible labels:\n1. hate\n2. no, none")
    assert found[0].source == "Tweet: tweet 0\nmore\nLabel:"
    assert {one.split for one in found} == {"test"}


def test_no_example_is_its_own_demonstration(tmp_path: Path) -> None:
    config = MixtureConfig(
        "m", (Raft(str(task(tmp_path))),), evaluation_prompts=(FewShot(shots=5, separators=("\n\n",)),)
    )
    (planned,) = plan(config)
    shown: collections.Counter[str] = collections.Counter()
    rows = list(prompted_examples(planned, "test", 0, collections.Counter(), demonstrations=shown))
    assert len(rows) == 4
    assert shown == {"shown": 12, "missing (the task has too few)": 8}
    for number, row in enumerate(rows):
        text = row.prompt_text
        assert text.count("Tweet:") == 4
        assert text.count(f"tweet {number}\n") == 1
        assert text.endswith(f"Tweet: tweet {number}\nmore\nLabel:")


def test_labelled_test_rows_are_asked_and_train_rows_shown(tmp_path: Path) -> None:
    labelled = [{"Tweet": "t1", "Label": "hate", "ID": "9"}, {"Tweet": "t2", "Label": "", "ID": "10"}]
    source = Raft(str(task(tmp_path, test=labelled)))
    found, skipped = examples(source)
    assert [one.source for one in found] == ["Tweet: t1\nLabel:"]
    assert skipped == {NO_LABEL: 1}
    (info,) = source.tasks()
    assert len(list(source.demonstrations(info, collections.Counter()))) == 4


def test_settings_of_the_baseline(tmp_path: Path) -> None:
    task(tmp_path / "data")
    (tmp_path / "prompts").mkdir()
    lines = [{"tweet_eval_hate": ["ID", "Tweet"]}, {"tweet_eval_hate": "Read it."}, {"other": 1}]
    file = tmp_path / "prompts/prompt_construction_settings.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    for source in (Raft(str(tmp_path)), Raft(str(tmp_path / "data"), prompt_dir=str(tmp_path / "prompts"))):
        found, _ = examples(source)
        assert found[1].instruction.startswith("Read it.\n")
        assert found[1].source == "ID: 1\nTweet: tweet 1\nmore\nLabel:"
        assert file in source.tasks()[0].files
    file.write_text(json.dumps(lines[0]))
    message = "two lines are expected"
    found, skipped = examples(Raft(str(tmp_path)))  # our own words
    assert not found[1].instruction.startswith("Read it.")
    ((reason, count),) = ((reason, count) for reason, count in skipped.items() if message in reason)
    assert count == 1 and reason.startswith(side_files.UNUSED)
    for source in (Raft(str(tmp_path)).asked_for("tweet_eval_hate"), Raft(str(tmp_path), str(file.parent))):
        with pytest.raises(UserError, match=message):
            examples(source)
    with pytest.raises(UserError, match=message):  # a listing says that it is broken
        Raft(str(tmp_path)).probe(Raft(str(tmp_path)).tasks()[0], "test")
    with pytest.raises(UserError, match=r"has no prompt_construction_settings\.jsonl"):
        Raft(str(tmp_path), prompt_dir=str(tmp_path / "data")).tasks()


def test_a_task_of_ones_own_is_listed_but_not_evaluated(tmp_path: Path) -> None:
    source = Raft(str(task(tmp_path, "own")))
    (info,) = source.tasks()
    assert info.role == "excluded"
    assert examples(source, "own")[0][0].source == "Tweet: tweet 0\nmore\nLabel:"


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"Tweet": "t", "Label": "hat", "ID": "1"}, r"train\.csv:2: label 'hat' is none of the 2"),
        ({"Tweets": "t", "Label": "hate", "ID": "1"}, r"train\.csv:2: no column 'Tweet'"),
        ({"Tweet": "t", "ID": "1"}, r"train\.csv:2: no column 'Label'"),
    ],
)
def test_malformed_rows(tmp_path: Path, row: dict[str, str], told: str) -> None:
    with pytest.raises(UserError, match=told):
        examples(Raft(str(task(tmp_path, train=[row]))))


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no folder TASK"):
        Raft(str(tmp_path)).tasks()
    task(tmp_path)
    (tmp_path / "tweet_eval_hate/task.json").write_text('{"label_columns": {"Label": ["a"]}}')
    with pytest.raises(UserError, match=r"task\.json: label_columns\.Label must list two"):
        Raft(str(tmp_path)).tasks()
    (tmp_path / "tweet_eval_hate/task.json").unlink()
    with pytest.raises(UserError, match=r"tweet_eval_hate: no task\.json"):
        Raft(str(tmp_path)).tasks()


def test_real_files(shared: Path) -> None:
    source = Raft(str(shared / "data/raft"))
    roles = collections.Counter(info.role for info in source.tasks())
    assert roles["evaluation"] >= 9
    for info in source.tasks():
        found, skipped = examples(source, info.task)
        rows = 0
        for name in ("train.csv.gz", "test_unlabeled.csv.gz"):
            path = shared / f"data/raft/data/{info.task}/{name}"
            with gzip.open(path, "rt", newline="", encoding="utf-8") as stream:
                rows += sum(1 for _ in csv.DictReader(stream))
        assert len(found) + sum(skipped.values()) == rows
        assert len(found) == 50
        assert all(one.references[0] in one.options for one in found)
