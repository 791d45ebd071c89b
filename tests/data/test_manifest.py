"""The manifest survives a round trip and refuses what is damaged, in one line."""

from __future__ import annotations

import dataclasses
import json

import pytest

from iml_jax.data import manifest as manifests
from iml_jax.foundation.errors import Fault, UserError
from iml_jax.storage import writing


def make(path="cache/t/train.array_record-00000-of-00001", size=7) -> manifests.Manifest:
    split = manifests.SplitEntry(
        (manifests.FileEntry(path, 3, size, "ab"),), 3, 30, 9, 1, {"empty target": 2}
    )
    task = manifests.TaskEntry(
        name="b:t:zero_shot",
        benchmark="b",
        task="t",
        category="QA",
        role="train",
        level="fully_supervised",
        metric="accuracy",
        trained=True,
        evaluated=True,
        evaluation_split="test",
        cap=3,
        rate=1.0,
        fingerprint="f",
        splits={"train": split, "test": dataclasses.replace(split, files=(), examples=0)},
    )
    return manifests.Manifest("m", 128, manifests.VocabularyEntry(500, 504, "v"), (task,))


def damaged(tmp_path, change) -> str:
    manifests.save(make(), tmp_path)
    file = tmp_path / "manifest.json"
    record = json.loads(file.read_text())
    change(record)
    file.write_text(json.dumps(record))
    with pytest.raises(UserError) as caught:
        manifests.load(tmp_path)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_round_trip(tmp_path):
    manifests.save(make(), tmp_path)
    assert manifests.load(tmp_path) == make()
    assert manifests.load(tmp_path / "manifest.json") == make()
    assert json.loads((tmp_path / "manifest.json").read_text())["fingerprint"] == make().fingerprint
    assert [file.name for file in tmp_path.iterdir()] == ["manifest.json"]


def test_every_field_counts_for_the_fingerprint():
    seen = {make().fingerprint}
    whole = make()
    for field in dataclasses.fields(manifests.TaskEntry):
        old = getattr(whole.tasks[0], field.name)
        new = {
            bool: lambda v: not v,
            int: lambda v: v + 1,
            float: lambda v: v / 2,
            str: lambda v: v + "x",
        }.get(type(old), lambda v: {})(old)
        changed = dataclasses.replace(
            whole, tasks=(dataclasses.replace(whole.tasks[0], **{field.name: new}),)
        )
        seen.add(changed.fingerprint)
    assert len(seen) == 1 + len(dataclasses.fields(manifests.TaskEntry))


def test_lookup():
    assert make().task("b:t:zero_shot").evaluation_split == "test"
    assert [entry.name for entry in make().trained] == ["b:t:zero_shot"]
    with pytest.raises(UserError, match="nope"):
        make().task("nope")


def test_missing_and_malformed(tmp_path):
    with pytest.raises(UserError, match="iml prepare"):
        manifests.load(tmp_path)
    (tmp_path / "manifest.json").write_text('{"format": 1,\n "name": }')
    with pytest.raises(UserError, match=r"manifest\.json:2: malformed JSON"):
        manifests.load(tmp_path)
    (tmp_path / "manifest.json").write_text("[]")
    with pytest.raises(UserError, match="not a manifest"):
        manifests.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda r: r.update(format=1), "format 1"),
        (lambda r: r.pop("length"), "length"),
        (lambda r: r.update(length="8"), "manifest.length"),
        (lambda r: r.update(extra=1), "extra"),
        (lambda r: r.update(name="other"), "fingerprint"),
        (lambda r: r["vocabulary"].update(rows=505), "multiple of 8"),
        (lambda r: r["tasks"].append(r["tasks"][0]), "twice"),
        (lambda r: r["tasks"][0].update(rate=0.5), "sum to 0.5"),
        (lambda r: r["tasks"][0].update(rate=float("nan")), "NaN is not a JSON value"),
        (lambda r: r["tasks"][0].update(rate=True), "tasks[0].rate"),
        (lambda r: r["tasks"][0].update(level=""), "level"),
        (lambda r: r["tasks"][0].update(evaluation_split="validation"), "'validation' is not there"),
        (lambda r: r["tasks"][0].update(metric="bleu"), "bleu"),
        (lambda r: r["tasks"][0]["splits"]["train"].update(examples=4), "shards of train"),
        (lambda r: r["tasks"][0]["splits"]["train"]["files"][0].update(path="../x"), "outside"),
        (lambda r: r["tasks"][0]["splits"].update(dev=r["tasks"][0]["splits"]["train"]), "dev"),
        (lambda r: r.update(tasks={}), "must be a list"),
    ],
)
def test_damage_is_named(tmp_path, change, told):
    assert told in damaged(tmp_path, change)


def test_check_files(tmp_path):
    content = make()
    shard = tmp_path / content.tasks[0].splits["train"].files[0].path
    with pytest.raises(UserError, match="is missing"):
        manifests.check_files(content, tmp_path)
    shard.parent.mkdir(parents=True)
    shard.write_bytes(b"1234567")
    manifests.check_files(content, tmp_path)
    manifests.check_files(content, tmp_path, ["b:t:zero_shot"])
    shard.write_bytes(b"123456")
    with pytest.raises(UserError, match="6 bytes where the manifest says 7"):
        manifests.check_files(content, tmp_path)
    manifests.check_files(content, tmp_path, [])


def test_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    manifests.save(make(), tmp_path)

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writing.os, "fsync", full)
    with pytest.raises(Fault, match="No space left"):
        manifests.save(dataclasses.replace(make(), name="new"), tmp_path)
    assert manifests.load(tmp_path) == make()
    assert [file.name for file in tmp_path.iterdir()] == ["manifest.json"]
