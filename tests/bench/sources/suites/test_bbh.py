"""BIG-Bench Hard's files: the authors' answer-only prompt, and no canary in it."""

from __future__ import annotations

import collections
import gzip
import json
from pathlib import Path

import pytest

from iml_jax.bench.example import Example
from iml_jax.bench.mixtures import MixtureConfig, plan
from iml_jax.bench.prompted_examples import prompted_examples
from iml_jax.bench.sources.suites.bbh import LEAD, BigBenchHard, read_prompt
from iml_jax.bench.variants import FewShot
from iml_jax.evaluation.metrics.answer_metrics import stated_match
from iml_jax.foundation.errors import UserError

CANARY = "DATA SHOULD NEVER APPEAR. canary GUID 1234-5678"
PROMPT = f"""{CANARY}
-----
Say whether the answer is here.

More of the instruction.

Q: First?
Options:
- yes
- no
A: Let's think step by step.
One might say the answer is no. It is not. So the answer is yes.

Q: Second. [
A: Let's think step by step.
Brackets. So the answer is ] }}.
"""


def clone(folder: Path, *examples: dict[str, object], prompt: str = PROMPT) -> Path:
    (folder / "bbh").mkdir()
    content = {"canary": CANARY, "examples": examples or ({"input": "Third?", "target": "yes"},)}
    with gzip.open(folder / "bbh/own.json.gz", "wt") as stream:
        json.dump(content, stream)
    if prompt:
        (folder / "cot-prompts").mkdir()
        (folder / "cot-prompts/own.txt").write_text(prompt)
    return folder


def examples(source: BigBenchHard, task: str = "own") -> tuple[list[Example], dict[str, int]]:
    skipped: collections.Counter[str] = collections.Counter()
    (info,) = [info for info in source.tasks() if info.task == task]
    return list(source.examples(info, "test", skipped)), dict(skipped)


def test_prompt_file(tmp_path: Path) -> None:
    clone(tmp_path)
    instruction, shown = read_prompt(tmp_path / "cot-prompts/own.txt")
    assert instruction == "Say whether the answer is here.\n\nMore of the instruction."
    assert [(one.source, one.target) for one in shown] == [
        ("Q: First?\nOptions:\n- yes\n- no\nA:", "yes"),
        ("Q: Second. [\nA:", "] }"),
    ]


def test_task_and_prompt(tmp_path: Path) -> None:
    clone(tmp_path)
    for place in (tmp_path, tmp_path / "bbh"):
        (info,) = BigBenchHard(str(place)).tasks()
        assert (info.task, info.metric, info.role, info.splits) == (
            "own",
            "exact_match",
            "evaluation",
            ("test",),
        )
        assert len(info.files) == 2
    config = MixtureConfig(
        "m",
        (BigBenchHard(str(tmp_path)),),
        evaluation_prompts=(FewShot(shots=2, separators=("\n\n",)),),
    )
    (planned,) = plan(config)
    (row,) = prompted_examples(planned, "test", 0, collections.Counter())
    text = row.prompt_text
    assert text == (
        "Say whether the answer is here.\n\nMore of the instruction.\n\n"
        "Q: First?\nOptions:\n- yes\n- no\nA: yes\n\nQ: Second. [\nA: ] }\n\nQ: Third?\nA:"
    )
    assert (row.references, row.options) == (("yes",), ())


def test_chain_of_thought_is_the_published_prompt(tmp_path: Path) -> None:
    """Instruction and solved questions as they stand in the file, then the question and the lead."""
    clone(tmp_path)
    source = BigBenchHard(str(tmp_path), chain_of_thought=True)
    (info,) = source.tasks()
    assert (info.key, info.category, info.metric) == ("bbh_cot:own", "BBH chain of thought", "stated_answer")
    variant = FewShot(shots=3, separators=("\n\n",))
    config = MixtureConfig("m", (source, BigBenchHard(str(tmp_path))), evaluation_prompts=(variant,))
    (plain, planned) = plan(config)  # both forms in one mixture
    assert (plain.name, planned.name) == ("bbh:own:three_shot_n2", "bbh_cot:own:three_shot_n2")
    (row,) = prompted_examples(planned, "test", 0, collections.Counter())
    published = PROMPT.split("-----\n")[1].rstrip()
    assert row.prompt_text == f"{published}\n\nQ: Third?\nA: Let's think step by step."
    assert (row.references, row.options) == (("yes",), ())
    assert source.settings() != BigBenchHard(str(tmp_path)).settings()


def test_without_prompt_files(tmp_path: Path) -> None:
    (one,), _ = examples(BigBenchHard(str(clone(tmp_path, prompt=""))))
    assert (one.instruction, one.source, one.demonstrations) == ("", "Q: Third?\nA:", ())


def test_canary_and_blanks_are_counted(tmp_path: Path) -> None:
    rows = [
        {"input": "a", "target": "b"},
        {"input": f"a\n{CANARY}", "target": "b"},
        {"input": " ", "target": "b"},
        {"input": "\ud800", "target": "b"},
    ]
    found, skipped = examples(BigBenchHard(str(clone(tmp_path, *rows))))
    assert [one.example_id for one in found] == ["0"]
    assert sum(skipped.values()) == 3
    assert skipped["holds the canary of BIG-bench"] == 1


@pytest.mark.parametrize(
    ("row", "prompt", "told"),
    [
        ({"input": "a"}, PROMPT, r"own\.json\.gz: examples\[0\]: 'target' must be a string"),
        ({"input": "a", "target_scores": {}}, PROMPT, "'target' must be a string"),
        ({"input": "a", "target": "b"}, "Do.\n\nQ: q\nA: no end", r"own\.txt: question 1 has no answer"),
    ],
)
def test_malformed(tmp_path: Path, row: dict[str, object], prompt: str, told: str) -> None:
    clone(tmp_path, row, prompt=prompt)
    with pytest.raises(UserError, match=told):
        examples(BigBenchHard(str(tmp_path)))


def test_other_folders(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no file TASK\.json"):
        BigBenchHard(str(tmp_path)).tasks()
    (tmp_path / "own.json").write_text('{"examples": []}')
    with pytest.raises(UserError, match="no list 'examples'"):
        examples(BigBenchHard(str(tmp_path)))


def test_real_files(shared: Path) -> None:
    source = BigBenchHard(str(shared / "data/bbh"))
    tasks = source.tasks()
    assert len(tasks) >= 20
    for info in tasks:
        found, skipped = examples(source, info.task)
        with gzip.open(info.files[0], "rt", encoding="utf-8") as stream:
            rows = json.load(stream)["examples"]
        assert not skipped
        assert [one.references[0] for one in found] == [row["target"].strip() for row in rows]
        assert {len(one.demonstrations) for one in found} == {3}
        wanted = {row["target"] for row in rows}
        for shown in found[0].demonstrations:
            assert "think step" not in shown.source + shown.target
            if len(wanted) < 10:
                assert shown.target in wanted  # the exemplars answer in the form that is asked for
        assert "canary" not in (found[0].instruction + found[0].source).lower()


def test_real_chains_of_thought(shared: Path) -> None:
    """Every prompt is the published file without its canary, and the file's own answers score 100."""
    reasoned = BigBenchHard(str(shared / "data/bbh"), chain_of_thought=True)
    variant = FewShot(shots=3, separators=("\n\n",))
    planned = plan(MixtureConfig("m", (reasoned,), evaluation_prompts=(variant,)))
    assert len(planned) >= 20
    for task in planned:
        row = next(prompted_examples(task, "test", 0, collections.Counter()))
        content = task.info.files[1].read_bytes().decode().replace("\r\n", "\n")
        published = content.partition("-----\n")[2].strip()
        asked = row.prompt_text
        assert asked.startswith(f"{published}\n\nQ: ")
        assert asked.endswith(f"\nA: {LEAD}")
        answers = read_prompt(task.info.files[1])[1]
        for block, one in zip(published.split("\nA: ")[1:], answers, strict=True):
            assert stated_match(block.partition("\n\nQ:")[0], [one.target]) == 100, task.name
            # A model that goes on asking itself is judged by its first answer.
            assert stated_match(f"{block.strip()}\n\nQ: x\nA: So the answer is 17.", [one.target]) == 100
