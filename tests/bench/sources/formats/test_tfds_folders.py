"""Folders that TFDS itself prepared, read back as plain Python."""

from __future__ import annotations

import importlib.resources
import importlib.resources.abc
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from iml_jax.bench.sources.formats.datasets import locate, missing, present
from iml_jax.foundation.errors import UserError

pytestmark = pytest.mark.slow  # imports TensorFlow

ROWS = [
    {
        "text": f"row {index} é",
        "label": index % 2,
        "score": index / 4,
        "flag": index % 3 == 0,
        "choices": [f"c{n}" for n in range(index % 4)],
        "answers": {"start": list(range(index % 3)), "text": ["é"] * (index % 3)},
        "idx": {"passage": index, "question": 7},
        "tags": [1, 0],
        "nested": [[n] * n for n in range(index % 3)],
    }
    for index in range(40)
]


def _store(root: Path, version: str, file_format: str, config: str | None = None) -> Path:
    import numpy as np
    import tensorflow_datasets as tfds

    # TFDS 4.9.10 writes with this backport and does not depend on it; the standard library has the same.
    sys.modules.setdefault("importlib_resources", importlib.resources)
    features = tfds.features.FeaturesDict(
        {
            "text": tfds.features.Text(),
            "label": tfds.features.ClassLabel(names=["no", "yes"]),
            "score": np.float32,
            "flag": np.bool_,
            "choices": tfds.features.Sequence(tfds.features.Text()),
            "answers": tfds.features.Sequence({"text": tfds.features.Text(), "start": np.int32}),
            "idx": {"passage": np.int32, "question": np.int32},
            "nested": tfds.features.Sequence(tfds.features.Sequence(np.int32)),
            "tags": tfds.features.Sequence(tfds.features.ClassLabel(names=["O", "B"])),
        }
    )
    stored = [
        (
            number,
            row
            | {
                "answers": [
                    {"text": t, "start": s}
                    for s, t in zip(row["answers"]["start"], row["answers"]["text"], strict=True)
                ]
            },
        )
        for number, row in enumerate(ROWS)
    ]
    builder = tfds.dataset_builders.store_as_tfds_dataset(
        "my_set",
        version=version,
        features=features,
        split_datasets={"train": stored, "validation_r1": stored[:5]},
        config=config,
        data_dir=str(root),
        file_format=file_format,
        disable_shuffling=True,
    )
    return Path(builder.data_dir)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tfds")
    _store(root, "1.0.2", "tfrecord")
    shutil.copytree(root / "my_set" / "1.0.2", root / "older" / "1.0.0")
    _store(root, "2.10.0", "array_record", config="sub")
    shutil.copytree(root / "my_set" / "sub" / "2.10.0", root / "my_set" / "sub" / "2.9.0")
    return root


def _rows(root: Path, name: str, split: str) -> list[dict[str, Any]]:
    found = locate(root, name)
    assert found is not None
    return [row for _, row in found.rows(split)]


def test_rows_are_plain_python(stored: Path) -> None:
    for name in ("my_set", "my_set:1.0.2", "my-set:1.*.*", "my_set/1.0.2", "my_set/sub"):
        rows = _rows(stored, name, "train")
        assert rows == ROWS, name
        assert {key: type(value) for key, value in rows[1].items()} == {
            key: type(value) for key, value in ROWS[1].items()
        }
        assert len(_rows(stored, name, "validation_r1")) == 5
    highest = locate(stored, "my_set/sub")
    pinned = locate(stored, "my_set/sub:2.9.0")
    assert highest and highest.folder.name == "2.10.0"
    assert pinned and pinned.folder.name == "2.9.0"
    assert pinned.label_names("label") == ("no", "yes")
    assert pinned.label_names("tags") == ("O", "B")
    assert pinned.label_names("text") is pinned.label_names("nothing") is None
    assert {path.suffix for path in pinned.metadata} >= {".json", ".txt"}
    assert present(stored) == ["my_set", "my_set/sub", "older"]
    assert locate(stored, "my_set:3.0.0") is None
    assert "no version 3.0.0 of my_set; " in missing(stored, "my_set:3.0.0", "prepare it")


@pytest.mark.parametrize("name", ["my_set/1.0.2", "my_set/sub/2.9.0"])
@pytest.mark.parametrize("kept", [0.0, 0.5, 0.999])
def test_record_files_cut_short(stored: Path, tmp_path: Path, name: str, kept: float) -> None:
    shutil.copytree(stored / name, tmp_path / "d" / "1.0.0")
    found = locate(tmp_path, "d")
    assert found is not None
    path = found.splits["train"][0]
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(UserError) as caught:
        list(found.rows("train"))
    assert str(found.folder) in str(caught.value)
    assert "\n" not in str(caught.value)
    path.unlink()
    with pytest.raises(UserError, match=r"named by dataset_info\.json and not there"):
        locate(tmp_path, "d")


def test_records_that_are_missing_at_the_end(stored: Path, tmp_path: Path) -> None:
    shutil.copytree(stored / "older" / "1.0.0", tmp_path / "d" / "1.0.0")
    found = locate(tmp_path, "d")
    assert found is not None
    path = found.splits["train"][0]
    content = path.read_bytes()
    first = 8 + 4 + int.from_bytes(content[:8], "little") + 4  # length, its checksum, data, its checksum
    path.write_bytes(content[:first])
    assert len(content) > 3 * first
    with pytest.raises(UserError, match=r"d/1\.0\.0: TFDS cannot read it .*expected to contain 40 elements"):
        list(found.rows("train"))
    shutil.copytree(stored / "my_set" / "sub" / "2.9.0", tmp_path / "e" / "2.9.0")
    other = locate(tmp_path, "e")
    assert other is not None
    other.splits["train"][0].write_bytes(other.splits["validation_r1"][0].read_bytes())
    with pytest.raises(UserError, match=r"e/2\.9\.0: TFDS cannot read it \(index 5 out of bound"):
        list(other.rows("train"))


def test_features_import_nothing(stored: Path, tmp_path: Path) -> None:
    folder = tmp_path / "d" / "1.0.0"
    shutil.copytree(stored / "older" / "1.0.0", folder)
    features = (folder / "features.json").read_text()
    for key in ("pythonClassName", "python_class_name"):
        named = features.replace(
            '"pythonClassName": "tensorflow_datasets.core.features.text_feature.Text"',
            f'"{key}": "antigravity.Feature"',
        )
        assert named != features
        (folder / "features.json").write_text(named)
        with pytest.raises(UserError, match=r"'antigravity.Feature' is no feature of tensorflow_datasets"):
            locate(tmp_path, "d")
    (folder / "features.json").unlink()
    with pytest.raises(UserError, match=r"no features.json"):
        locate(tmp_path, "d")
    (folder / "features.json").write_text(features)
    info = json.loads((folder / "dataset_info.json").read_text())
    info["splits"][0]["filepathTemplate"] = "../{SPLIT}-{SHARD_X_OF_Y}"
    (folder / "dataset_info.json").write_text(json.dumps(info))
    with pytest.raises(UserError, match=r"malformed 'splits' .*is no file name"):
        locate(tmp_path, "d")
