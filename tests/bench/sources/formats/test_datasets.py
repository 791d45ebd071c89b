"""Local datasets: every published layout is found by its name, read whole, and named where it is broken."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from iml_jax.bench.sources.formats.datasets import LocalDataset, locate, locate_first, missing, present
from iml_jax.foundation.errors import UserError

ROWS = [
    {"text": f"row {index} é", "label": index % 2, "answers": {"text": ["a"] * (index % 3), "start": [1]}}
    for index in range(600)
]
FEATURES = {
    "text": {"dtype": "string", "_type": "Value"},
    "label": {"names": ["no", "yes"], "_type": "ClassLabel"},
    "tags": {"feature": {"names": ["O", "B"], "_type": "ClassLabel"}, "_type": "Sequence"},
}


def _jsonl(path: Path, rows: list[dict[str, Any]] = ROWS) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _parquet(path: Path, rows: list[dict[str, Any]] = ROWS) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pyarrow.Table.from_pylist(rows)
    known = {b"huggingface": json.dumps({"info": {"features": FEATURES}}).encode()}
    parquet.write_table(table.replace_schema_metadata(known), path)


def _saved(folder: Path, *shards: list[dict[str, Any]], split: str | None = None) -> None:
    """One split as ``Dataset.save_to_disk`` writes it."""
    folder.mkdir(parents=True)
    names = [f"data-{index:05d}-of-{len(shards):05d}.arrow" for index in range(len(shards))]
    for name, rows in zip(names, shards, strict=True):
        table = pyarrow.Table.from_pylist(rows)
        with pyarrow.ipc.new_stream(str(folder / name), table.schema) as stream:
            stream.write_table(table, max_chunksize=100)
    state = {"_data_files": [{"filename": name} for name in names], "_split": split, "_fingerprint": "x"}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text(json.dumps({"features": FEATURES, "splits": {}}))


def _rows(data: Path, name: str, split: str) -> list[dict[str, Any]]:
    found = locate(data, name)
    assert found is not None
    numbers, rows = zip(*found.rows(split), strict=True)
    assert numbers == tuple(range(1, len(rows) + 1))
    return list(rows)


def test_row_files_under_every_name(tmp_path: Path) -> None:
    _jsonl(tmp_path / "squad" / "train.jsonl")
    _jsonl(tmp_path / "ag_news" / "default" / "test.jsonl")
    _jsonl(tmp_path / "glue" / "rte" / "train_r1.jsonl")
    _parquet(tmp_path / "imdb" / "plain_text" / "train-00000-of-00001.parquet")
    _parquet(tmp_path / "hub-set" / "data" / "train-00000-of-00002-0123456789abcdef.parquet", ROWS[:400])
    _parquet(tmp_path / "hub-set" / "data" / "train-00001-of-00002-0123456789abcdef.parquet", ROWS[400:])
    _parquet(tmp_path / "hub2" / "data" / "sub" / "validation-00000-of-00001.parquet")
    _parquet(tmp_path / "hub3" / "sub" / "test" / "0000.parquet")
    (tmp_path / "listed").mkdir()
    (tmp_path / "listed" / "dev.json").write_text(json.dumps(ROWS, indent=1))
    (tmp_path / "listed" / "README.md").write_text("no rows")
    (tmp_path / "listed" / "roles.csv").write_text("no,split\n")
    for name, split in [
        ("squad", "train"),
        ("ag_news", "test"),
        ("ag-news/default", "test"),
        ("glue/rte:2.0.0", "train_r1"),
        ("imdb", "train"),
        ("imdb/plain_text", "train"),
        ("huggingface:hub_set", "train"),
        ("hub2/sub", "validation"),
        ("hub3/sub", "test"),
        ("listed", "dev"),
    ]:
        assert _rows(tmp_path, name, split) == ROWS, name
    found = locate(tmp_path, "hub_set")
    assert found == pickle.loads(pickle.dumps(found))
    assert found is not None
    assert [path.name[:11] for path in found.files] == ["train-00000", "train-00001"]
    assert [(Path(row.place).name[:11], row.number) for row in found.records("train")][399:401] == [
        ("train-00000", 400),
        ("train-00001", 1),
    ]
    assert found.label_names("label") == ("no", "yes")
    assert found.label_names("text") is found.label_names("nothing") is None
    squad = locate(tmp_path, "squad")
    assert squad is not None
    assert squad.label_names("label") is None
    assert locate(tmp_path, "glue") is None
    assert locate(tmp_path, "nothing/here") is None
    names = ["ag_news", "glue/rte", "hub-set", "hub2/sub", "hub3/sub", "imdb/plain_text", "listed", "squad"]
    assert present(tmp_path) == names
    assert all(locate(tmp_path, name) for name in names)
    assert "nothing/here/ as SPLIT.jsonl" in missing(tmp_path, "nothing/here", "see nothing.org")
    assert missing(tmp_path, "nothing/here", "see nothing.org").endswith(": see nothing.org")


def test_saved_to_disk(tmp_path: Path) -> None:
    _saved(tmp_path / "d" / "sub" / "train", ROWS[:350], ROWS[350:], split="train")
    _saved(tmp_path / "d" / "sub" / "test_new", ROWS[:3], split="test_new")
    (tmp_path / "d" / "sub" / "dataset_dict.json").write_text('{"splits": ["train", "test_new"]}')
    _saved(tmp_path / "one", ROWS, split="validation")
    assert _rows(tmp_path, "d/sub", "train") == ROWS
    assert _rows(tmp_path, "d/sub", "test_new") == ROWS[:3]
    assert _rows(tmp_path, "one", "validation") == ROWS
    found = locate(tmp_path, "d/sub")
    assert found is not None
    assert list(found.splits) == ["train", "test_new"]
    assert len(found.files) == 3 + 5
    assert found.label_names("label") == ("no", "yes")
    assert found.label_names("tags") == ("O", "B")
    assert found.label_names("text") is None
    assert present(tmp_path) == ["d/sub", "one"]
    with pytest.raises(UserError, match=r"sub: no split 'dev' of d/sub; it has train, test_new"):
        list(found.rows("dev"))


@pytest.mark.parametrize("cut", [1, 8, 9, 2000, 20_000])
def test_arrow_cut_short(tmp_path: Path, cut: int) -> None:
    _saved(tmp_path / "d", ROWS, split="train")
    path = tmp_path / "d" / "data-00000-of-00001.arrow"
    content = path.read_bytes()
    path.write_bytes(content[:-cut])
    with pytest.raises(UserError, match=r"00001\.arrow: .*copy the file again"):
        _rows(tmp_path, "d", "train")
    path.write_bytes(content[: len(content) // 2] + content[-8:])
    with pytest.raises(UserError, match=r"00001\.arrow: .*copy the file again"):
        _rows(tmp_path, "d", "train")


def _broken(tmp_path: Path, name: str = "d") -> str:
    with pytest.raises(UserError) as caught:
        dataset = locate(tmp_path, name)
        assert dataset is not None
        for split in dataset.splits:
            list(dataset.rows(split))
    message = str(caught.value)
    assert "\n" not in message
    assert str(tmp_path) in message
    return message


def test_of_several_copies_one_is_read(tmp_path: Path) -> None:
    """In one folder, under another spelling, below ``data``; the others are told with the reason."""
    folder = tmp_path / "g_1" / "rte"
    _jsonl(folder / "train.jsonl")
    (folder / "train.csv").write_text("a\n1\n")
    _parquet(folder / "data" / "train-00000-of-00001.parquet")
    _jsonl(tmp_path / "g-1" / "rte" / "train.jsonl")
    found = locate(tmp_path, "g_1/rte")
    assert found is not None
    assert (found.folder, found.files) == (folder, (folder / "train.jsonl",))
    same = f"the same dataset as {folder}, which is read"
    assert found.copies == {
        folder / "train.csv": f"the same split as {folder / 'train.jsonl'}, which is read",
        folder / "data" / "train-00000-of-00001.parquet": same,
        tmp_path / "g-1" / "rte" / "train.jsonl": same,
    }
    assert _rows(tmp_path, "g_1/rte", "train") == ROWS


def test_the_copy_with_the_most_splits_is_read(tmp_path: Path) -> None:
    _jsonl(tmp_path / "d" / "train.jsonl")
    for split in ("train", "test"):
        _jsonl(tmp_path / "d" / "plain_text" / f"{split}.jsonl")
    found = locate(tmp_path, "d")
    assert found is not None and found.folder == tmp_path / "d" / "plain_text"
    assert list(found.copies) == [tmp_path / "d" / "train.jsonl"]
    _parquet(tmp_path / "d" / "test" / "0000.parquet")
    found = locate(tmp_path, "d")
    assert found is not None and found.folder == tmp_path / "d"
    assert list(found.copies) == [
        tmp_path / "d" / "plain_text" / f"{split}.jsonl" for split in ("test", "train")
    ]


def test_rows_beside_a_saved_dataset(tmp_path: Path) -> None:
    _saved(tmp_path / "d", ROWS, split="train")
    _jsonl(tmp_path / "d" / "train.jsonl")
    found = locate(tmp_path, "d")
    assert found is not None and found.kind == "arrow"
    assert list(found.copies) == [tmp_path / "d" / "train.jsonl"]


def test_a_dataset_of_several_names(tmp_path: Path) -> None:
    _jsonl(tmp_path / "super_glue" / "rte" / "train.jsonl")
    _jsonl(tmp_path / "glue" / "rte" / "train.jsonl")
    found = locate_first(tmp_path, ("glue/rte", "super_glue/rte"))
    assert found is not None and found.folder == tmp_path / "glue" / "rte"
    assert list(found.copies) == [tmp_path / "super_glue" / "rte" / "train.jsonl"]
    assert locate_first(tmp_path, ("x", "y")) is None


def test_incomplete_folders(tmp_path: Path) -> None:
    _parquet(tmp_path / "d" / "train-00000-of-00003.parquet")
    assert "1 of 3 shards are there; fetch the others" in _broken(tmp_path)
    (tmp_path / "d" / "train-00000-of-00003.parquet").unlink()
    for number in (0, 2):
        _parquet(tmp_path / "d" / "train" / f"{number:04d}.parquet")
    assert "0002.parquet: 0001.parquet is not there; fetch the files before it" in _broken(tmp_path)
    for name in ("../x", "", "a//b", "/etc"):
        with pytest.raises(UserError, match="is no name of a dataset"):
            locate(tmp_path, name)
    _jsonl(tmp_path / "train.jsonl")
    with pytest.raises(UserError, match=r"rows belong into DATASET"):
        present(tmp_path)
    with pytest.raises(UserError, match=r"no such folder"):
        present(tmp_path / "nowhere")
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "train.json").write_text('[{"a": 1}, 2]')
    assert "1: a int; expected a JSON object" in _broken(tmp_path, "e")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("state.json", '{"_data_files": [{"filename": "../other.arrow"}]}', "is no file name"),
        ("state.json", '{"_data_files": [{"filename": "gone.arrow"}]}', "gone.arrow: named by state.json"),
        ("state.json", '{"_data_files": 3}', "state.json: no list '_data_files'"),
        ("state.json", "[]", "state.json: a list; it must be a JSON object"),
        ("state.json", "{", "state.json:1: malformed JSON"),
        ("data-00000-of-00001.arrow", "nothing", "no Arrow stream, or cut short"),
        ("data-00000-of-00001.arrow", "", "no Arrow stream, or cut short"),
    ],
)
def test_malformed_saved_folders(tmp_path: Path, file: str, content: str, message: str) -> None:
    _saved(tmp_path / "d", ROWS[:3], split="train")
    (tmp_path / "d" / file).write_text(content)
    assert message in _broken(tmp_path)


def test_names_with_an_index_and_without_features(tmp_path: Path) -> None:
    _saved(tmp_path / "d", ROWS[:3])
    found = locate(tmp_path, "d")
    assert isinstance(found, LocalDataset)
    assert list(found.splits) == ["train"]
    (tmp_path / "d" / "dataset_info.json").unlink()
    assert found.label_names("label") is None
    state = json.loads((tmp_path / "d" / "state.json").read_text())
    (tmp_path / "d" / "state.json").write_text(
        json.dumps(state | {"_indices_data_files": [{"filename": "indices.arrow"}]})
    )
    assert "flatten_indices" in _broken(tmp_path)
