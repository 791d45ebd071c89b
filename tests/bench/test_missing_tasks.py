"""What a suite lacks is named."""

from __future__ import annotations

from pathlib import Path

from iml_jax.bench import missing_tasks
from iml_jax.bench.mixtures import MixtureConfig
from iml_jax.bench.sources.flan.source import Flan
from iml_jax.bench.sources.suites.bbh import TASKS, BigBenchHard
from iml_jax.bench.sources.suites.mmlu import Mmlu
from iml_jax.bench.sources.suites.opt14 import Opt14
from iml_jax.bench.sources.suites.raft import Raft
from iml_jax.data.manifest import Manifest, SplitEntry, TaskEntry, VocabularyEntry

SPLIT = SplitEntry((), 1, 1, 1, 0, {})


def _manifest(*tasks: str, empty: tuple[str, ...] = ()) -> Manifest:
    """Evaluated tasks, and planned ones of which no example is left; ``benchmark:task``."""
    entries = []
    for key in (*tasks, *empty):
        benchmark, _, task = key.partition(":")
        asked = key in tasks
        entries.append(
            TaskEntry(
                name=f"{key}:zero_shot",
                benchmark=benchmark,
                task=task,
                category="C",
                role="evaluation",
                level="fully_held_out" if asked else "",
                metric="accuracy",
                trained=False,
                evaluated=asked,
                evaluation_split="test" if asked else "",
                cap=0,
                rate=0.0,
                fingerprint="",
                splits={"test": SPLIT},
            )
        )
    return Manifest("suite", 16, VocabularyEntry(8, 8, ""), tuple(entries))


def test_files_that_are_not_there_are_named(tmp_path: Path) -> None:
    (tmp_path / "bbh").mkdir()
    config = MixtureConfig("bbh", (BigBenchHard("bbh"),), str(tmp_path), train=())
    whole = _manifest(*(f"bbh:{task}" for task in TASKS))
    assert not list(missing_tasks.notes(config, whole))
    fewer = _manifest(*(f"bbh:{task}" for task in TASKS[2:]))
    (line,) = missing_tasks.notes(config, fewer)
    wanted = "bbh: 2 of 27 tasks of this suite are not in its folder: boolean_expressions, causal_judgement ("
    assert line.startswith(wanted)


def test_a_task_of_which_nothing_is_left_is_named() -> None:
    config = MixtureConfig("bbh", (BigBenchHard("bbh"),), train=(), evaluate=("bbh:navigate", "bbh:snarks"))
    lines = list(missing_tasks.notes(config, _manifest("bbh:navigate", empty=("bbh:snarks",))))
    assert lines == ["nothing is left to ask of 1 tasks: bbh:snarks:zero_shot (the table says why)"]


def test_a_mixture_that_trains_asks_for_no_certain_tasks() -> None:
    assert not list(
        missing_tasks.notes(MixtureConfig("m", (BigBenchHard("bbh"),)), _manifest("bbh:navigate"))
    )


def test_what_each_suite_expects() -> None:
    def count(source, **settings) -> int:
        return len(missing_tasks.expected(MixtureConfig("m", (source,), train=(), **settings), source))

    assert count(Mmlu("mmlu")) == 57
    assert count(BigBenchHard("bbh")) == 27
    assert count(Raft("raft")) == 11
    assert (count(Opt14("o")), count(Opt14("o", hellaswag=True))) == (14, 15)
    assert count(Flan("flan")) == 0  # rows of anything are read
    assert count(Flan("flan"), roles="opt_iml", evaluation_set="test") > 5
    assert count(Mmlu("mmlu"), roles="opt_iml", evaluation_set="test") == 0
    assert count(Mmlu("mmlu"), roles="opt_iml", evaluation_set="dev") == 57


def test_raft_names_are_those_of_the_public_files(shared: Path) -> None:
    raft, bbh = Raft(str(shared / "data" / "raft")), BigBenchHard(str(shared / "data" / "bbh"))
    assert {task.task for task in raft.tasks() if task.role == "evaluation"} <= set(raft.expected())
    assert {task.task for task in bbh.tasks()} <= set(TASKS)
