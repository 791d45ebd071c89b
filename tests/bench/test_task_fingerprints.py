"""What is in the fingerprint of a prepared task: whatever decides its records, and nothing else."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from support.fake_source import FakeSource, simple_rows, write_rows

from iml_jax.bench.mixtures import PlannedTask, PrepareConfig
from iml_jax.bench.preparing import task_fingerprint
from iml_jax.bench.sources.base import TaskInfo
from iml_jax.bench.variants import FewShot

# Field -> why it is not in the fingerprint.
NOT_OF_THE_TASK = {
    "trained": "the manifest says what is trained; the records are the same",
    "evaluation_split": "the manifest says what is evaluated; which splits are prepared is in caps",
}
NOT_OF_THE_CONFIG = {
    "output_dir": "where the records lie",
    "workers": "how many processes make them",
    "pipeline_options": "which runner makes them",
}


class AnotherSource(FakeSource):
    """The same files, read by other code."""


@pytest.fixture
def planned(tmp_path: Path) -> PlannedTask:
    write_rows(tmp_path / "src", "a", "train", simple_rows(3))
    write_rows(tmp_path / "src", "b", "train", simple_rows(4))
    source = FakeSource(str(tmp_path / "src"))
    return PlannedTask("fake:a:zero_shot", source.tasks()[0], source, True, "", {"train": 5})


def fingerprint(planned: PlannedTask, vocabulary: str = "v", **settings: object) -> str:
    config = PrepareConfig("out", **settings)  # type: ignore[arg-type]
    return task_fingerprint(planned, vocabulary, config, lambda path: path.read_text())


def test_every_field_of_the_task_that_decides_records_counts(planned: PlannedTask, tmp_path: Path) -> None:
    changed = {
        "name": "fake:b:zero_shot",
        "info": dataclasses.replace(planned.info, category="Another"),
        "source": AnotherSource(str(tmp_path / "src")),
        "trained": False,
        "evaluation_split": "test",
        "caps": {"train": 4},
        "variant": FewShot(),
        "pooled": ("train",),
        "generated": True,
    }
    assert changed.keys() == {field.name for field in dataclasses.fields(PlannedTask)}
    before = fingerprint(planned)
    for name, value in changed.items():
        after = fingerprint(dataclasses.replace(planned, **{name: value}))
        assert (after != before) == (name not in NOT_OF_THE_TASK), name


def test_every_field_of_what_is_known_of_the_task_counts(planned: PlannedTask) -> None:
    info = planned.info
    changed = {
        "benchmark": "another",
        "task": "another",
        "category": "Another",
        "role": "excluded",
        "splits": ("train", "test"),
        "metric": "rouge_l",
        "files": planned.source.tasks()[1].files,
        "kind": "Another",
    }
    assert changed.keys() == {field.name for field in dataclasses.fields(TaskInfo)}
    before = fingerprint(planned)
    for name, value in changed.items():
        other = dataclasses.replace(planned, info=dataclasses.replace(info, **{name: value}))
        assert fingerprint(other) != before, name


def test_every_setting_that_decides_records_counts(planned: PlannedTask) -> None:
    changed: dict[str, object] = {
        "output_dir": "elsewhere",
        "length": 64,
        "seed": 3,
        "workers": 2,
        "pipeline_options": ("--runner=FlinkRunner",),
    }
    assert changed.keys() == {field.name for field in dataclasses.fields(PrepareConfig)}
    before = fingerprint(planned)
    for name, value in changed.items():
        config = PrepareConfig(**{"output_dir": "out", name: value})  # type: ignore[arg-type]
        after = task_fingerprint(planned, "v", config, lambda path: path.read_text())
        assert (after != before) == (name not in NOT_OF_THE_CONFIG), name
    assert fingerprint(planned, "another vocabulary") != before


def test_the_content_of_the_files_counts_and_their_folder_does_not(
    planned: PlannedTask, tmp_path: Path
) -> None:
    before = fingerprint(planned)
    (path,) = planned.info.files
    moved = tmp_path / "moved" / path.name
    moved.parent.mkdir()
    moved.write_text(path.read_text())
    info = dataclasses.replace(planned.info, files=(moved,))
    assert fingerprint(dataclasses.replace(planned, info=info)) == before
    moved.write_text(path.read_text() + "\n")
    assert fingerprint(dataclasses.replace(planned, info=info)) != before
