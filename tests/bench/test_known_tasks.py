"""The tables of OPT-IML Bench: well formed, consistent, and what the public lists say."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import pytest

from iml_jax.bench import known_tasks
from iml_jax.bench.known_tasks import COLUMNS, FOLDER, REASONS
from iml_jax.bench.taxonomy import level
from iml_jax.data.terms import LEVELS, METRICS


def test_files_and_benchmarks_are_the_same() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {f"{name}.tsv" for name in known_tasks.BENCHMARKS}
    assert all(known_tasks.every(name) for name in known_tasks.BENCHMARKS)


@pytest.mark.parametrize("benchmark", known_tasks.BENCHMARKS)
def test_a_table_is_well_formed(benchmark: str) -> None:
    with (FOLDER / f"{benchmark}.tsv").open(encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
        rows = list(reader)
    assert tuple(reader.fieldnames or ()) == COLUMNS
    names = [row["task"] for row in rows]
    assert names == sorted(set(names))
    for row in rows:
        assert all(value == value.strip() and "\r" not in value for value in row.values()), row
        assert row["task"] and row["category"] and row["origin"], row


def test_fields_fit_together() -> None:
    keys = {row.key for row in known_tasks.every()}
    for row in known_tasks.every():
        evaluated = row.role in ("dev", "test")
        assert row.role in ("train", "dev", "test", "")
        assert (row.level in LEVELS) if evaluated else not row.level, row
        assert (row.metric in METRICS) if evaluated else not row.metric, row
        assert (row.reason in REASONS) == (not row.role and not row.same_as), row
        if row.same_as:
            assert row.same_as in keys and not row.role, row
            twin = known_tasks.lookup(*row.same_as.split(":", 1))
            assert twin is not None and not twin.same_as
            if row.key == "crossfit:wikisql":  # it asks for the query, UnifiedSKG for what the query gives
                assert (row.category, twin.category) == ("Text to Code", "Table Question Answering")
            else:
                assert twin.category == row.category or twin.benchmark == "mmlu", row


def test_levels_are_what_the_training_set_makes_them() -> None:
    trained = {row.key: row.category for row in known_tasks.training_set()}
    for row in (*known_tasks.dev_set(), *known_tasks.test_set()):
        assert level(row.key, row.category, trained, set(trained.values())) == row.level, row
    assert {row.level for row in known_tasks.dev_set()} == set(LEVELS)


def test_the_papers_totals() -> None:
    assert len(known_tasks.max_set()) == 1991  # OPT-IML section 6.1
    assert len({row.category for row in known_tasks.max_set()}) > 100  # section 2.2
    listed = {name: known_tasks.counts(name).listed for name in known_tasks.BENCHMARKS}
    for benchmark, tasks in {
        "super_natural_instructions": 1613,
        "flan": 70,
        "exmix": 14,
        "unifiedskg": 21,
        "reasoning": 14,
    }.items():
        assert listed[benchmark] == tasks, benchmark  # table 1
    kept_of_t5 = [row.task for row in known_tasks.every("t5") if row.trained_by_max]
    assert len(kept_of_t5) == 7 and all(name.startswith(("wmt", "cnn")) for name in kept_of_t5)
    test = known_tasks.test_set()
    of_natural_instructions = [row for row in test if row.benchmark == "super_natural_instructions"]
    assert len(of_natural_instructions) == 44  # table 12
    assert {row.category for row in of_natural_instructions} == {
        "Textual Entailment",
        "Coreference Resolution",
        "Dialogue Act Recognition",
    }


def test_sets_are_disjoint_where_they_must_be() -> None:
    trained = {row.key for row in known_tasks.training_set()}
    held_out = {row.key for row in known_tasks.every() if row.level and row.level != "fully_supervised"}
    assert not trained & held_out
    assert trained < {row.key for row in known_tasks.max_set()}
    assert not any(row.benchmark == "mmlu" for row in known_tasks.max_set())


def test_looking_up() -> None:
    row = known_tasks.lookup("promptsource", "squad")
    assert row is not None and (row.role, row.level, row.trained) == ("dev", "fully_supervised", True)
    assert known_tasks.role_of("promptsource", "squad") == "dev"
    assert known_tasks.role_of("promptsource", "glue/mrpc") == "train"
    assert known_tasks.role_of("promptsource", "super_glue/boolq") == ""
    assert known_tasks.role_of("crossfit", "squad-with_context") == ""
    assert known_tasks.role_of("nobody", "squad") == ""
    assert known_tasks.lookup("promptsource", "no/such") is None
    assert known_tasks.lookup("../promptsource", "squad") is None
    assert known_tasks.every("nobody") == ()


def test_counts_are_of_the_rows() -> None:
    ours = known_tasks.counts()
    assert ours.bench == 1991 and ours.listed == sum(
        known_tasks.counts(name).listed for name in known_tasks.BENCHMARKS if name != "mmlu"
    )
    held_out = ours.bench - ours.held_back - ours.trained
    not_trained = [row for row in known_tasks.every() if row.level and not row.trained]
    assert held_out == sum(row.benchmark != "mmlu" for row in not_trained)


# What follows reads the public lists themselves.


def test_natural_instructions_lists(shared: Path) -> None:
    roles = {}
    for stem in ("train", "test"):
        for name in (shared / f"data/superni/splits/default/{stem}_tasks.txt").read_text().split():
            roles[name] = stem
    ours = {row.task: row for row in known_tasks.every("super_natural_instructions")}
    assert roles.keys() <= ours.keys()
    for name, row in ours.items():
        assert f"splits/default/{roles.get(name, 'excluded')}_tasks.txt" in row.origin or (
            name not in roles and "splits/xlingual/test_tasks.txt" in row.origin
        )
    with gzip.open(
        shared / "data/superni/meta/niv2_task_metadata.jsonl.gz", "rt", encoding="utf-8"
    ) as stream:
        meta = [json.loads(line) for line in stream]
    spelt = {name.replace("-", "_").split(".")[0]: row for name, row in ours.items()}
    for entry in meta:
        row = spelt[entry["task"].replace("-", "_").split(".")[0]]
        if entry["category"] and row.level == "" and row.category != "Misc.":
            assert row.category == entry["category"], row.task
    for path in sorted((shared / "data/superni/tasks").glob("*.json.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as stream:
            content = json.load(stream)
        assert ours[path.name.removesuffix(".json.gz")].cluster == content["Categories"][0]


def test_promptsource_templates_and_t0(shared: Path) -> None:
    folder = shared / "data/promptsource/templates"
    here = {path.parent.relative_to(folder).as_posix() for path in folder.rglob("templates.yaml*")}
    ours = {row.task: row for row in known_tasks.every("promptsource")}
    assert len(here) > 200 and here <= ours.keys()
    with (shared / "data/promptsource/meta/t0_datasets.csv").open(encoding="utf-8", newline="") as stream:
        for entry in csv.DictReader(stream):
            task = "/".join(filter(None, (entry["HF_name"], entry["subset"])))
            assert ours[task].cluster == entry["task_by_convention"]
            if entry["do_eval"]:
                assert ours[task].role != "train", "T0 evaluates it"


def test_crossfit_partitions(shared: Path) -> None:
    folder = shared / "data/crossfit/meta/custom_tasks_splits"

    def partition(name: str, part: str) -> set[str]:
        return set(json.loads((folder / f"{name}.json").read_text())[part])

    ours = {row.task: row.cluster for row in known_tasks.every("crossfit")}

    def cluster(prefix: str) -> set[str]:
        return {task for task, name in ours.items() if name.startswith(prefix)}

    assert ours.keys() == partition("random", "all")
    assert cluster("classification/nli") - {"superglue-rte"} == partition("train_non_nli_test_nli", "dev")
    assert cluster("classification/paraphrase") == partition(
        "train_nonparaphrase_classification_test_paraphrase", "dev"
    )
    assert cluster("qa/machine reading comprehension") == partition("train_non_mrc_qa_test_mrc", "dev")
    choice = "train_non_multiple_choice_qa_test_multiple_choice"
    assert cluster("qa/multiple-choice") == partition(choice, "dev")
    assert cluster("qa/") == partition(choice, "train") | partition(choice, "dev")


def test_unifiedskg_and_mmlu_names(shared: Path) -> None:
    loaders = json.loads((shared / "data/unifiedskg/meta/task_list.json").read_text())
    assert {row.task for row in known_tasks.every("unifiedskg")} <= set(loaders)
    subjects = {row.task for row in known_tasks.every("mmlu")}
    here = {path.name.partition("_test")[0] for path in (shared / "data/mmlu/data").rglob("*_test.csv.gz")}
    assert len(subjects) == 57 and here and here <= subjects


@pytest.mark.slow
def test_t5_names_are_registered() -> None:
    pytest.importorskip("t5")
    import seqio
    import t5.data.tasks  # noqa: F401  # registers them

    registered = {
        name
        for name in seqio.TaskRegistry.names()
        if name.startswith(("glue", "super_glue", "cnn", "wmt", "squad", "trivia", "dpr"))
        and "sentinel" not in name
    }
    assert {row.task for row in known_tasks.every("t5")} == registered
