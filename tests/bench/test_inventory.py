"""What a data folder holds: present, missing, broken; counts only where they are cheap or asked for."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from iml_jax.bench import inventory, known_tasks
from iml_jax.bench.inventory import BROKEN, MISSING, PRESENT, UNKNOWN, Listed
from iml_jax.bench.sources import LAYOUT, default_sources
from iml_jax.config import configuration
from iml_jax.foundation.errors import UserError

TASK = "task391_causal_relationship"
TEMPLATES = """\
dataset: imdb
templates:
  1: !Template
    answer_choices: bad ||| good
    id: '1'
    jinja: 'Is "{{text}}" good or bad? ||| {{answer_choices[label]}}'
    metadata: !TemplateMetadata {choices_in_prompt: true, metrics: [Accuracy], original_task: true}
    name: one
    reference: ''
  2: !Template
    answer_choices: bad ||| good
    id: '2'
    jinja: '{{text}} Good or bad? ||| {{answer_choices[label]}}'
    metadata: !TemplateMetadata {choices_in_prompt: true, metrics: [Accuracy], original_task: true}
    name: two
    reference: ''
"""


def natural_instructions(folder: Path, task: str = TASK, instances: int = 7) -> Path:
    """A task file in the benchmark's format."""
    path = folder / "super_natural_instructions" / "tasks" / f"{task}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "Categories": ["Cause Effect Classification"],
        "Definition": ["Say what follows."],
        "Positive Examples": [],
        "Negative Examples": [],
        "Instances": [{"id": f"{i}", "input": f"It rains {i}.", "output": ["wet"]} for i in range(instances)],
    }
    path.write_text(json.dumps(content))
    return path


def promptsource(folder: Path, dataset: str = "imdb", rows: int = 5) -> Path:
    """A dataset in Parquet with two templates."""
    data = folder / "promptsource" / "data" / dataset / "default"
    data.mkdir(parents=True)
    table = pyarrow.table({"text": [f"film {i}" for i in range(rows)], "label": [i % 2 for i in range(rows)]})
    parquet.write_table(table, data / "train.parquet")
    templates = folder / "promptsource" / "templates" / dataset
    templates.mkdir(parents=True)
    (templates / "templates.yaml").write_text(TEMPLATES)
    return data / "train.parquet"


def by_key(rows: tuple[Listed, ...]) -> dict[str, Listed]:
    keys = [f"{row.benchmark}:{row.task}" for row in rows]
    assert len(set(keys)) == len(keys)
    return dict(zip(keys, rows, strict=True))


def test_every_known_task_is_listed_once(tmp_path: Path) -> None:
    natural_instructions(tmp_path)
    rows = by_key(inventory.survey(tmp_path))
    known = {row.key for row in known_tasks.every() if row.benchmark != "mmlu"}
    assert rows.keys() == known
    assert [row.task for row in rows.values() if row.state == PRESENT] == [TASK]
    assert {row.state for row in rows.values()} == {PRESENT, MISSING}
    for key, row in rows.items():
        if row.state == MISSING:
            assert f"{tmp_path}/{key.partition(':')[0]}/" in row.note, "where it belongs"
    twin = rows["crossfit:boolq"]
    assert twin.role == "duplicate"
    assert twin.note.startswith(f"the same data as promptsource:super_glue/boolq; {tmp_path}/crossfit/")
    assert "super_glue/rte" in rows["flan:rte"].note, "the name of its dataset, not of the task"
    assert "squad/v1.1" in rows["t5:squad_v010"].note
    assert "COGS" in rows["exmix:cogs"].note and "WinoWhy" in rows["reasoning:winowhy"].note


def test_present_with_level_templates_and_examples(tmp_path: Path) -> None:
    natural_instructions(tmp_path)
    promptsource(tmp_path)
    rows = by_key(inventory.survey(tmp_path))
    task = rows[f"super_natural_instructions:{TASK}"]
    assert (task.state, task.role, task.level) == (PRESENT, "dev", "fully_held_out")
    assert (task.templates, task.examples) == (1, UNKNOWN), "counting it would read all of it"
    dataset = rows["promptsource:imdb"]
    assert (dataset.state, dataset.templates, dataset.examples) == (PRESENT, 2, 5), "Parquet says how many"
    counted = by_key(inventory.survey(tmp_path, count=True))
    assert counted[f"super_natural_instructions:{TASK}"].examples == 7
    assert counted["promptsource:imdb"].examples == 5, "not one for each template"


def test_a_broken_task_does_not_hide_the_others(tmp_path: Path) -> None:
    natural_instructions(tmp_path)
    bad = natural_instructions(tmp_path, "task392_inverse_causal_relationship")
    bad.write_text("{]")
    late = natural_instructions(tmp_path, "task393_plausible_result_generation")
    late.write_text(late.read_text().replace('"output": ["wet"]', '"output": 3', 1))
    good = promptsource(tmp_path)
    parquet_bad = promptsource(tmp_path, "rotten_tomatoes")
    parquet_bad.write_bytes(good.read_bytes()[:-20])
    templates_bad = promptsource(tmp_path, "ag_news")
    (tmp_path / "promptsource/templates/ag_news/templates.yaml").write_text("templates: [")
    rows = by_key(inventory.survey(tmp_path))
    states = {key: row.state for key, row in rows.items() if row.state != MISSING}
    assert states == {
        f"super_natural_instructions:{TASK}": PRESENT,
        "super_natural_instructions:task392_inverse_causal_relationship": BROKEN,
        "super_natural_instructions:task393_plausible_result_generation": BROKEN,
        "promptsource:imdb": PRESENT,
        "promptsource:rotten_tomatoes": BROKEN,
        "promptsource:ag_news": BROKEN,
    }
    for path, key in (
        (bad, "super_natural_instructions:task392_inverse_causal_relationship"),
        (late, "super_natural_instructions:task393_plausible_result_generation"),
        (parquet_bad.parent, "promptsource:rotten_tomatoes"),
        (templates_bad.parents[3] / "templates/ag_news/templates.yaml", "promptsource:ag_news"),
    ):
        assert rows[key].note.startswith(str(path)), rows[key].note


def test_a_folder_that_cannot_be_listed_says_so_for_all_its_tasks(tmp_path: Path) -> None:
    natural_instructions(tmp_path)
    (tmp_path / "reasoning").mkdir()
    (tmp_path / "flan").mkdir()
    rows = by_key(inventory.survey(tmp_path))
    flan = [row for key, row in rows.items() if key.startswith("flan:")]
    assert flan and {row.state for row in flan} == {BROKEN}
    assert all(f"{tmp_path / 'flan'}: none of templates_v1.json" in row.note for row in flan)
    reasoning = [row for key, row in rows.items() if key.startswith("reasoning:")]  # an empty folder
    assert len(reasoning) == 14 and {row.state for row in reasoning} == {MISSING}
    assert all(row.note.startswith(f"{tmp_path / 'reasoning'}/") for row in reasoning)


def test_rows_without_templates_are_not_present(tmp_path: Path) -> None:
    promptsource(tmp_path)
    (tmp_path / "promptsource/templates/imdb/templates.yaml").unlink()
    row = by_key(inventory.survey(tmp_path))["promptsource:imdb"]
    assert (row.state, row.templates) == (MISSING, UNKNOWN) and "templates.yaml" in row.note


def test_a_task_that_opt_iml_does_not_have(tmp_path: Path) -> None:
    natural_instructions(tmp_path, "task9999_own")
    row = by_key(inventory.survey(tmp_path))["super_natural_instructions:task9999_own"]
    assert (row.state, row.role, row.level) == (PRESENT, "-", "-")


def test_corpora_are_listed_though_no_benchmark_names_them(tmp_path: Path) -> None:
    (tmp_path / "pretrain").mkdir()
    (tmp_path / "pretrain/book.txt").write_text("Once upon a time.\n")
    row = by_key(inventory.survey(tmp_path))["pretrain:book"]
    assert (row.state, row.role, row.level, row.templates) == (PRESENT, "-", "-", 1)


def test_rendered_as_a_table_with_a_summary(tmp_path: Path) -> None:
    natural_instructions(tmp_path)
    lines = inventory.render(inventory.survey(tmp_path)).splitlines()
    assert lines[0].split("\t") == [
        "task",
        "state",
        "category",
        "role",
        "level",
        "templates",
        "examples",
        "note",
    ]
    assert {line.count("\t") for line in lines[:-1]} == {7}
    assert lines[-1] == (
        f"# {len(lines) - 2} tasks: 1 present, {len(lines) - 3} missing, 0 broken; "
        "1 of the 1991 of OPT-IML Bench present"
    )


def test_progress_is_told(tmp_path: Path) -> None:
    natural_instructions(tmp_path)
    natural_instructions(tmp_path, "task9999_own")
    told: list[tuple[int, int]] = []
    inventory.survey(tmp_path, tick=lambda done, total: told.append((done, total)))
    assert told == [(1, 2), (2, 2)]


def test_default_sources_are_those_with_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds none of the folders"):
        default_sources(tmp_path)
    with pytest.raises(UserError, match="no such folder"):
        default_sources(tmp_path / "nowhere")
    for name in LAYOUT:
        (tmp_path / name).mkdir()
    (tmp_path / "something else").mkdir()
    assert [source.name for source in default_sources(tmp_path)] == list(LAYOUT)


def test_the_recipe_reads_the_same_folders(tmp_path: Path) -> None:
    """gin/mixtures/opt_iml.gin and ``default_sources`` have one layout of the data folder."""
    bound = configuration.load(
        ["mixtures/opt_iml.gin"],
        [f"--gin.{name}='{tmp_path}'" for name in ("Mixture.data_dir", "Vocabulary.directory")],
    )
    recipe = {source.name: source for source in bound.build("Mixture").sources}
    for name in recipe:
        (tmp_path / name).mkdir()
    for source in default_sources(tmp_path):
        for field in ("data_dir", "template_dir"):
            if hasattr(source, field):
                assert getattr(source, field) == str(tmp_path / getattr(recipe[source.name], field))


def test_split_lists_and_t0s_table_are_taken_where_they_are(tmp_path: Path) -> None:
    natural_instructions(tmp_path)
    promptsource(tmp_path)
    first, second = default_sources(tmp_path)
    assert (first.split_dir, second.role_table) == ("", "")
    splits = tmp_path / "super_natural_instructions/splits/default"
    splits.mkdir(parents=True)
    (tmp_path / "promptsource/datasets.csv").write_text("HF_name,subset,do_train,do_eval\nimdb,,BASE,\n")
    first, second = default_sources(tmp_path)
    assert first.split_dir == str(splits)
    assert second.role_table == str(tmp_path / "promptsource/datasets.csv")


def test_shared_folder(shared: Path, tmp_path: Path) -> None:
    """The real files in the layout of docs/data.md: as many present as there are, none broken."""
    data = shared / "data"
    for link, target in {
        "super_natural_instructions/tasks": "superni/tasks",
        "super_natural_instructions/splits": "superni/splits",
        "promptsource/templates": "promptsource/templates",
        "promptsource/data": "promptsource/hf_jsonl",
    }.items():
        (tmp_path / link).parent.mkdir(exist_ok=True)
        (tmp_path / link).symlink_to(data / target)
    rows = inventory.survey(tmp_path)
    present = [row for row in rows if row.state == PRESENT and row.benchmark == "super_natural_instructions"]
    assert len(present) == len(list((data / "superni/tasks").iterdir()))
    assert all(row.role != "-" for row in present)
    assert sum(row.state == PRESENT for row in rows if row.benchmark == "promptsource") >= 20
    assert not [row for row in rows if row.state == BROKEN]
