"""The miniature: reproducible, in the public formats, with the three levels and nothing leaking."""

from __future__ import annotations

import collections
import json
import re
from pathlib import Path

import pytest

from iml_jax.bench import mixtures
from iml_jax.bench.categories import category_of
from iml_jax.bench.example import Example
from iml_jax.bench.prompting import prompt
from iml_jax.bench.sources import expand
from iml_jax.bench.sources.base import OTHER_TASK, Source, TaskInfo
from iml_jax.bench.sources.miniature.lexicon import JOBS, KIND_OF, MAPS, SLOTS
from iml_jax.bench.sources.miniature.makers import Asking, Spec, generate
from iml_jax.bench.sources.miniature.source import MARKER, Miniature
from iml_jax.bench.sources.miniature.tasks import all_specs
from iml_jax.bench.sources.reasoning.source import Reasoning
from iml_jax.data.terms import LEVELS, SPLITS
from iml_jax.foundation.errors import UserError

Read = dict[tuple[str, str], list[Example]]
CORPORA = ("pretrain", "dialogue")
BENCHMARKS = {
    *("super_natural_instructions", "promptsource", "crossfit", "flan", "exmix", "t5", "unifiedskg"),
    *("reasoning", *CORPORA),
}
# The test files of CrossFit's seeds are alike; its reader says so.
EXPECTED_SKIPS = {
    ("crossfit", "test"): {"the same row as an earlier one"},
    **{(name, split): {OTHER_TASK} for name in ("promptsource", "flan") for split in SPLITS},
}


def spec_of(task: TaskInfo) -> Spec:
    name = re.sub(r"^task\d+_", "", task.task)
    return next(spec for benchmark, spec in all_specs() if (benchmark, spec.name) == (task.benchmark, name))


def trained_of(tasks: list[TaskInfo]) -> list[TaskInfo]:
    """What a mixture of all of it trains on: a public test file alone trains nothing."""
    return [task for task in tasks if task.role == "train" and "train" in task.splits]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> tuple[Miniature, list[TaskInfo], Read]:
    miniature = Miniature(str(tmp_path_factory.mktemp("bench") / "miniature"))
    tasks, read = [], {}
    for source in expand([miniature]):
        for task in source.tasks():
            tasks.append(task)
            for split in task.splits:
                skipped: collections.Counter[str] = collections.Counter()
                read[task.key, split] = list(source.examples(task, split, skipped))
                assert skipped.keys() <= EXPECTED_SKIPS.get((task.benchmark, split), set()), task.key
    return miniature, tasks, read


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_byte_identical_for_a_seed(bench: tuple[Miniature, list[TaskInfo], Read], tmp_path: Path) -> None:
    first = _files(Path(bench[0].directory))
    Miniature(str(tmp_path / "again")).parts()
    assert _files(tmp_path / "again") == first
    Miniature(str(tmp_path / "again"), seed=1).parts()
    assert _files(tmp_path / "again").keys() == first.keys()
    assert _files(tmp_path / "again") != first


def test_size_and_levels(bench: tuple[Miniature, list[TaskInfo], Read]) -> None:
    miniature, tasks, read = bench
    assert {task.benchmark for task in tasks} == BENCHMARKS
    assert not [task.category for task in tasks if task.category.startswith("Uncategorised")]
    real = [task for task in tasks if task.benchmark not in CORPORA]
    assert len(real) >= 96
    assert len({task.category for task in real}) >= 24
    trained = trained_of(tasks)
    evaluated = [task for task in tasks if "test" in task.splits]
    levels = collections.Counter(mixtures.levels(trained, evaluated).values())
    assert set(levels) == set(LEVELS)
    assert levels["fully_held_out"] >= 8
    assert levels["partially_supervised"] >= 15
    assert levels["fully_supervised"] == len([task for task in trained if task.benchmark not in CORPORA])
    for task in trained:  # a row comes once for each template
        rows = {example.example_id for example in read[task.key, "train"]}
        if task.benchmark in CORPORA:
            assert len(rows) >= 50
        else:
            assert len(rows) == miniature.instances
            assert len(read[task.key, "test"]) >= miniature.held_out
    total = sum(path.stat().st_size for path in Path(miniature.directory).rglob("*") if path.is_file())
    assert total < 4 << 20


def test_held_out_categories_are_trained_on_in_no_format(
    bench: tuple[Miniature, list[TaskInfo], Read],
) -> None:
    tasks = bench[1]
    categories = {task.category for task in tasks} - {task.category for task in trained_of(tasks)}
    assert categories == {
        "Cause Effect Classification",
        "Knowledge Base Completion",
        "Speaker Identification",
        "Textual Entailment",
        "Word Analogy",
    }
    for _, spec in all_specs():
        assert spec.evaluation or spec.category not in categories


def test_roles_of_the_files_are_those_of_the_specs(bench: tuple[Miniature, list[TaskInfo], Read]) -> None:
    tasks = [task for task in bench[1] if task.benchmark not in CORPORA]
    trained = {task.key for task in trained_of(tasks)}
    assert len(tasks) == len(list(all_specs()))
    for task in tasks:
        spec = spec_of(task)
        assert (task.key not in trained) == spec.evaluation, task.key
        assert task.category == spec.category, task.key


def test_no_held_out_question_is_trained_on_in_another_format() -> None:
    """The same sentences, asked for the same, would make a held-out task one that is trained on."""
    asked = collections.defaultdict(set)
    for _, spec in all_specs():
        if isinstance(spec.make, Asking):
            asked[spec.make].add(spec.evaluation)
    assert not [make for make, held in asked.items() if held == {True, False}]


def test_held_out_instances_are_new(bench: tuple[Miniature, list[TaskInfo], Read]) -> None:
    """No prompt that is evaluated is trained on, in whatever task and template."""
    miniature, tasks, read = bench
    prompts: dict[str, set[str]] = {split: set() for split in SPLITS}
    for (key, split), examples in read.items():
        prompts[split] |= {f"{key}\n{example.instruction}\n{example.source}" for example in examples}
    corpora = {prompt for prompt in prompts["train"] if prompt.startswith(CORPORA)}
    assert not (prompts["train"] - corpora) & (prompts["test"] | prompts["validation"])
    assert not prompts["test"] & prompts["validation"]
    for task in trained_of(tasks):
        if task.benchmark not in ("super_natural_instructions", "promptsource", "crossfit", "exmix"):
            continue
        rows = generate(spec_of(task), miniature.seed, miniature.held_out + miniature.instances + 12)
        held, trained = (
            {row["input"] for row in rows if any(row["input"] in one.source for one in read[task.key, split])}
            for split in ("test", "train")
        )
        assert len(held) == miniature.held_out
        assert len(trained) == miniature.instances
        assert not held & trained


def test_answers_follow_from_the_text(bench: tuple[Miniature, list[TaskInfo], Read]) -> None:
    """Solves slot tasks anew: find the one word of the slot in the text, look it up."""
    _, tasks, read = bench
    solvers = {
        "thing_kind_report": ("thing", "kind"),
        "opposite_note": ("size", "opposite"),
        "season_diary": ("month", "season"),
        "person_count": ("person", "itself"),
        "mini_things": ("thing", "kind"),
        "mini_intents/report": ("verb", "intent"),
        "mini_opposites": ("size", "opposite"),
        "mini_plurals": ("thing", "plural"),
        "clinc150": ("verb", "intent"),
    }
    solved = 0
    for task in tasks:
        slot, mapping = solvers.get(re.sub(r"^task\d+_", "", task.task), ("", ""))
        for example in read[task.key, "test"] if slot else ():
            words = [word for word in re.findall(r"\w+", example.source) if word in SLOTS[slot]]
            assert [MAPS[mapping][word] for word in words] == list(example.references)
            solved += 1
    assert solved == 9 * 12 + 2 * 12  # two templates of the two PromptSource tasks


def test_tables_answer_their_questions(bench: tuple[Miniature, list[TaskInfo], Read]) -> None:
    """Reads the tables anew."""
    read = bench[2]
    for example in read["unifiedskg:wikitq", "test"]:
        _, _, linear = example.source.partition("col : ")
        table, _, question = linear.partition("\nquestion: ")
        rows = [line.split(" | ") for line in re.split(r" row \d : ", table)]
        asked, name = re.findall(r"which (\w+) is it for (\w+)\?", question)[0]
        (row,) = [row for row in rows if row[0] == name]
        assert example.references == (row[rows[0].index(asked)],)
    for example in read["unifiedskg:tab_fact", "test"]:
        name, colour = re.findall(r"the colour for (\w+) is (\w+)\.", example.source)[0]
        assert (f": {name} | {colour}" in example.source) == (example.references == ("entailed",))
    for example in read["t5:dpr_v001_simple", "test"]:
        workplace = re.findall(r"at the (\w+)\.", example.source)[0]
        assert JOBS[example.references[0].removeprefix("the ")] == workplace


def test_constant_answers_score_low(bench: tuple[Miniature, list[TaskInfo], Read]) -> None:
    """The best constant answer leaves room for the 25 points that the quickstart must show."""
    _, tasks, read = bench
    best = []
    for task in trained_of(tasks):
        if task.metric == "accuracy":
            answers = collections.Counter(example.references[0] for example in read[task.key, "test"])
            best.append(100 * max(answers.values()) / answers.total())
            assert all(example.references[0] in example.options for example in read[task.key, "test"])
    assert sum(best) / len(best) < 30
    assert max(best) <= 60


def test_prompts_are_short_and_words_few(bench: tuple[Miniature, list[TaskInfo], Read]) -> None:
    words: set[str] = set()
    for examples in bench[2].values():
        for example in examples:
            made = prompt(example)
            text = f"{made.prompt_text} {made.references[0]}"
            assert len(text.split()) <= 60
            assert len(example.instruction.split()) <= 15
            words |= set(re.findall(r"\w+", text))
    assert len(words) <= 700


def test_categories_of_the_table_are_those_of_the_specs() -> None:
    for benchmark, spec in all_specs():
        if benchmark != "super_natural_instructions":
            assert category_of(benchmark, spec.name) in (spec.category, f"Uncategorised: {spec.name}")


def test_a_slots_word_is_in_no_other_slot() -> None:
    for slot, words in SLOTS.items():
        for other, others in SLOTS.items():
            if {slot, other} != {"thing", "animal"} and slot != other:
                assert not set(words) & set(others), (slot, other)
    assert set(SLOTS["animal"]) <= set(KIND_OF)


def test_as_one_source_it_reads_the_same(bench: tuple[Miniature, list[TaskInfo], Read]) -> None:
    miniature, tasks, read = bench
    assert list(miniature.tasks()) == tasks
    for task in tasks[::10]:
        for split in task.splits:
            assert list(miniature.examples(task, split, collections.Counter())) == read[task.key, split]


def test_expand_keeps_plain_sources(tmp_path: Path) -> None:
    plain: Source = Reasoning(str(tmp_path))
    expanded = expand([plain, Miniature(str(tmp_path / "m"))])
    assert expanded[0] is plain
    assert {source.name for source in expanded[1:]} == BENCHMARKS


def test_folders_of_others_are_left_alone_and_damage_is_mended(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="holds something else"):
        Miniature(str(tmp_path)).parts()
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(UserError, match="holds something else"):
        Miniature(str(tmp_path / "mine.txt")).parts()
    folder = tmp_path / "made"
    folder.mkdir()
    Miniature(str(folder)).parts()
    assert json.loads((folder / MARKER).read_text())["settings"]["seed"] == 0
    before = _files(folder)
    broken = next(folder.rglob("train.parquet"))
    broken.write_bytes(b"")
    Miniature(str(folder)).parts()
    assert _files(folder) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made", "mine.txt"]


def test_settings_out_of_range(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"Miniature\.directory is empty"):
        Miniature("").parts()
    with pytest.raises(UserError, match=r"Miniature\.instances = 0"):
        Miniature(str(tmp_path), instances=0)
    (small,) = [spec for _, spec in all_specs() if spec.name == "analogy_young"]
    with pytest.raises(UserError, match="analogy_young cannot make 241 distinct instances"):
        generate(small, 0, 241)  # 8 people, 6 animals, 5 others
