"""The same rows in a folder twice: one copy is read, by one rule, and the others are counted."""

from __future__ import annotations

import collections
import gzip
from pathlib import Path

import pytest
from support.source_bases import BASES, build
from support.source_bases_suites import SUITES

from iml_jax.bench import unused_files
from iml_jax.bench.sources.base import Source
from iml_jax.bench.sources.formats import copies
from iml_jax.foundation.errors import UserError

EVERY = {**BASES, **SUITES}


def _read(source: Source) -> list[object]:
    """Tasks, examples and counts of a source."""
    told: list[object] = []
    for task in source.tasks():
        skipped: collections.Counter[str] = collections.Counter()
        told += [task, *(list(source.examples(task, split, skipped)) for split in task.splits), skipped]
    return told


@pytest.mark.parametrize("name", EVERY)
def test_a_packed_copy_beside_every_file_is_counted(name: str, tmp_path: Path) -> None:
    """Whatever the source: the plain file is read, as if the other were not there."""
    source, files = build(name, tmp_path, EVERY)
    before = _read(source)
    read = {path for task in source.tasks() for path in task.files}
    own = unused_files.of_source(source, source.tasks())
    added = []
    for path in files:
        copy = path.with_name(f"{path.name}.gz")
        if path.suffix == ".gz" or path not in read or copy.name.endswith((".yaml.gz", ".py.gz")):
            continue
        copy.write_bytes(gzip.compress(path.read_bytes()))
        added.append(copy)
    assert _read(source) == before
    told = unused_files.of_source(source, source.tasks())
    assert {path: why for path, why in told.items() if path not in own} == dict.fromkeys(added, copies.PACKED)
    assert added or all(path.suffix == ".gz" for path in read)


def _touch(folder: Path, *names: str) -> list[Path]:
    paths = [folder / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    return paths


@pytest.mark.parametrize(
    ("read", "others"),
    [
        ("train.parquet", ("train.jsonl", "train.json", "train.csv", "train.tsv")),
        ("train.jsonl", ("train.json", "train.csv.gz", "train.tsv")),
        ("train.jsonl", ("train.jsonl.gz",)),
        ("train.jsonl", ("train-00000-of-00001.jsonl",)),  # one file before shards
        ("train-00000-of-00001.parquet", ("train.jsonl",)),
        ("train_l.jsonl", ("train_s.jsonl", "train_debug.jsonl")),  # the shortest name, then the first
        ("data-v1.10-train.jsonl", ("data-v1.9-train.jsonl", "train.jsonl")),  # the highest version
        ("train-00000-of-00001-00c0ffee.parquet", ("train-00000-of-00001-deadbeef.parquet",)),
    ],
)
def test_one_copy_of_a_split_is_read(tmp_path: Path, read: str, others: tuple[str, ...]) -> None:
    paths = _touch(tmp_path, read, *others)
    for order in (paths, paths[::-1]):
        files, left = copies.whole_split(order)
        assert files == (tmp_path / read,)
        assert left.keys() == set(paths[1:])
        assert all(str(tmp_path / read) in why or why == copies.PACKED for why in left.values())


def test_shards_are_read_whole_or_not_at_all(tmp_path: Path) -> None:
    first, second = _touch(tmp_path, "train-00000-of-00002.jsonl", "train-00001-of-00002.jsonl.gz")
    assert copies.whole_split([second, first]) == ((first, second), {})
    packed, whole = _touch(tmp_path, "train-00000-of-00002.jsonl.gz", "train.jsonl")
    files, left = copies.whole_split([first, second, packed])
    assert (files, left) == ((first, second), {packed: copies.PACKED})
    assert copies.whole_split([first, second, whole])[0] == (whole,)
    for others in ([first], [first, whole]):  # also where a whole copy is there
        with pytest.raises(UserError, match="1 of 2 shards are there; fetch the others, or remove these"):
            copies.whole_split(others)
    two = _touch(
        tmp_path,
        "test-00000-of-00002-00c0ffee.parquet",
        "test-00000-of-00002-deadbeef.parquet",
        "test-00001-of-00002-00c0ffee.parquet",
    )
    with pytest.raises(UserError, match=r"the same shard as .*; remove the shards of one of the two uploads"):
        copies.whole_split(two)


def test_the_reason_names_what_is_read(tmp_path: Path) -> None:
    found = [("a", tmp_path / "x/a.json"), ("a", tmp_path / "a.json.gz"), ("b", tmp_path / "b.json")]
    read, left = copies.once(found, "task")
    assert read == {"a": tmp_path / "x/a.json", "b": tmp_path / "b.json"}
    assert left == {tmp_path / "a.json.gz": f"the same task as {tmp_path / 'x/a.json'}, which is read"}
