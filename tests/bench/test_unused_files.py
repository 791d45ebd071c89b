"""What sources pass over is told: file, why, and how many."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from iml_jax import cli
from iml_jax.bench import mixtures, unused_files
from iml_jax.bench.mixtures import MixtureConfig
from iml_jax.bench.sources import default_sources
from iml_jax.bench.sources.corpora.source import PretrainingText
from iml_jax.bench.sources.crossfit.source import CrossFit
from iml_jax.bench.sources.reasoning.source import Reasoning

ROWS = "a question\tan answer\n"


@pytest.fixture
def crossfit(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "crossfit"
    task = folder / "acronym_identification"
    task.mkdir(parents=True)
    for split in ("train", "dev", "test"):
        (task / f"acronym_identification_16_100_{split}.tsv").write_text(ROWS)
    (folder / "notes").mkdir()
    (folder / "notes/table.tsv").write_text(ROWS)
    (folder / ".hidden").write_text("")
    (folder / ".git").mkdir()
    (folder / ".git/config").write_text("")
    return folder


def test_a_source_without_a_word_of_its_own(crossfit: Path) -> None:
    source = CrossFit(data_dir=str(crossfit))
    assert source.unread() is None
    expected = {crossfit / "notes/table.tsv": unused_files.NO_TASK}
    assert unused_files.of_source(source, source.survey()) == expected
    (crossfit / "round").symlink_to(crossfit)  # a folder in itself is walked once
    assert unused_files.of_source(source, source.tasks()) == expected


def test_a_source_that_tells_why(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text("Once upon a time.\n")
    (tmp_path / "picture.png").write_text("")
    source = PretrainingText(data_dir=str(tmp_path))
    ((path, reason),) = unused_files.of_source(source, ()).items()
    assert path == tmp_path / "picture.png" and reason != unused_files.NO_TASK
    note = unused_files.note(MixtureConfig("m", (PretrainingText(data_dir="."),), data_dir=str(tmp_path)))
    assert note.startswith("1 file in the sources' folders not read, e.g. ")
    assert str(path) in note and reason in note
    path.unlink()
    assert not unused_files.note(MixtureConfig("m", (source,)))


def test_tasks_that_a_split_file_names_and_nobody_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("task1_a", "task2_b"):
        record = {"Definition": ["d"], "Categories": ["c"], "Instances": [{"input": "i", "output": ["o"]}]}
        (tmp_path / f"{name}.json").write_text(json.dumps(record))
    (tmp_path / "splits").mkdir()
    (tmp_path / "splits/train_tasks.txt").write_text("task1_a\ntask3_c\n")
    (tmp_path / "splits/test_tasks.txt").write_text("task2_b\n")
    words = ["--gin.Mixture.name='m'", "--gin.Mixture.sources=(@SuperNaturalInstructions(),)"]
    words += [f"--gin.SuperNaturalInstructions.data_dir='{tmp_path}'"]
    split_dir = f"--gin.SuperNaturalInstructions.split_dir='{tmp_path / 'splits'}'"
    file, why = tmp_path / "task3_c.json", "missing, though train_tasks.txt names its task"
    for shown in ([], ["--show=1"]):
        assert cli.main(["tasks", *words, split_dir, *shown]) == 0
        told = [line for line in capsys.readouterr().out.splitlines() if str(file) in line]
        assert len(told) == 1 and why in told[0]
        assert cli.main(["tasks", *words, *shown]) == 0
        assert "missing" not in capsys.readouterr().out


def test_a_source_that_cannot_tell(tmp_path: Path) -> None:
    source = Reasoning(data_dir=str(tmp_path / "gone"))
    assert unused_files.of_source(source, ()) == {}
    assert not unused_files.note(MixtureConfig("m", (source,)))


def test_what_lies_beside_the_sources(crossfit: Path) -> None:
    """Folders of unknown names, and a second form of a benchmark beside the first."""
    data = crossfit.parent
    for folder in ("promptsource/p3", "promptsource/templates", "promptsource/data", "imagenet", ".cache"):
        (data / folder).mkdir(parents=True)
    sources = default_sources(data)
    beside = {path.relative_to(data).as_posix() for path in unused_files.beside(data, sources)}
    assert beside == {"imagenet", "promptsource/p3"}
    config = MixtureConfig("m", (CrossFit(data_dir="crossfit"),), data_dir=str(data))
    found = {
        (one.benchmark, one.reason): one
        for one in unused_files.counted(config, mixtures.survey(config).listed)
    }
    assert found["crossfit", unused_files.NO_TASK].example == str(crossfit / "notes/table.tsv")
    assert found["data_dir", unused_files.NO_SOURCE].count == 2  # promptsource as a whole


def test_many_files_of_one_reason_are_counted() -> None:
    files = {Path(f"f{number:02d}"): "two\nlines" for number in range(23)}
    lines = list(unused_files.lines({"b": {**files, Path("z"): "other"}}))
    assert lines[0] == "# not read: f00: two lines"
    assert lines[20:] == ["# not read: 3 more files of b: two lines", "# not read: z: other"]


def test_both_listings_tell(crossfit: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = f"# not read: {crossfit / 'notes/table.tsv'}: {unused_files.NO_TASK}"
    assert cli.main(["tasks", f"--data_dir={crossfit.parent}"]) == 0
    assert line in capsys.readouterr().out.splitlines()[:-1]
    words = ["--gin.Mixture.name='m'", "--gin.Mixture.sources=(@CrossFit(),)"]
    assert cli.main(["tasks", *words, f"--gin.CrossFit.data_dir='{crossfit}'"]) == 0
    assert line in capsys.readouterr().out.splitlines()[:-1]


@pytest.mark.parametrize(
    ("benchmark", "file"),
    [
        ("exmix", "StylePTB/data/TFU/train.tsv"),  # of another folder than styleptb
        ("exmix", "gap-coreference/gap-development.tsv"),
        ("t5", "CoLA/train.tsv"),  # GLUE's own archive
        ("crossfit", "data/trec/train.txt"),
        ("unifiedskg", "WikiTables/page.csv"),
        ("flan", "mnli/train.csv"),
        ("reasoning", "gsm8k.zip"),
        ("super_natural_instructions", "tasks/README.md"),
        ("promptsource", "data/notes.txt"),
    ],
)
def test_files_that_lie_differently(
    tmp_path: Path, benchmark: str, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every task is missing with a remedy, none broken, and the file is named."""
    path = tmp_path / benchmark / file
    path.parent.mkdir(parents=True)
    path.write_text("a\tb\n")
    if benchmark == "promptsource":
        (tmp_path / benchmark / "templates").mkdir()
    if benchmark == "flan":
        (tmp_path / benchmark / "templates_v1.json").write_text('{"rte": [["{premise}", "{answer}"]]}')
    assert cli.main(["tasks", f"--data_dir={tmp_path}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split("\t") for line in lines if line.startswith(f"{benchmark}:")]
    assert rows and {row[1] for row in rows} == {"missing"}
    assert all(row[7] for row in rows)
    assert any(line.startswith(f"# not read: {path}: ") for line in lines)
