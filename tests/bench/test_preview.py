"""`iml tasks --show`: rendered prompts of a folder and of a mixture."""

from __future__ import annotations

import collections
import re
from pathlib import Path

import pytest
from support.fake_source import FakeSource, simple_rows, write_rows

from iml_jax import cli
from iml_jax.bench import mixtures, preview
from iml_jax.bench.mixtures import MixtureConfig
from iml_jax.bench.prompted_examples import prompted_examples
from iml_jax.bench.prompting import PromptedExample
from iml_jax.bench.variants import FewShot, ZeroShot
from iml_jax.foundation.errors import UserError


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "reasoning"
    folder.mkdir(parents=True)
    rows = [f"What is {i} plus {i}?\t{2 * i}\tWe add {i} twice.\n" for i in range(9)]
    (folder / "aqua_train.tsv").write_text("".join(rows))
    (folder / "gsm8k_train.tsv").write_text("no tabs here\n")
    return folder.parent


def test_prompts_are_those_that_are_prepared(tmp_path: Path) -> None:
    for task in ("a", "b"):
        write_rows(tmp_path, task, "train", [*simple_rows(30), {"source": "x", "references": [], "skip": 1}])
        write_rows(tmp_path, task, "test", simple_rows(3, offset=100))
    config = MixtureConfig(
        "m", (FakeSource(str(tmp_path)),), evaluation_prompts=(ZeroShot(), FewShot()), example_cap=2
    )
    texts = list(preview.of_mixture(config, "fake:b", 4))
    heads = [text.split(" | ")[:2] for text in texts]
    zero, five = "===== fake:b:zero_shot", "===== fake:b:five_shot"
    assert sum(head == [zero, "train"] for head in heads) == 4 + 1  # one line tells what was skipped
    assert sum(head == [zero, "test"] for head in heads) == sum(head == [five, "test"] for head in heads) == 3
    assert "===== fake:b:zero_shot | train | skipped before these: 1 marked\n" in texts
    prepared = {
        f"{row.prompt_text}[[ {row.target_text} ]]"
        for task in mixtures.plan(
            MixtureConfig("m", config.sources, evaluation_prompts=(ZeroShot(), FewShot()))
        )
        if task.info.task == "b"
        for split in task.caps
        for row in prompted_examples(task, split, 0, collections.Counter())
    }
    shown = [text.split("\n", 1)[1].partition("\n----- ")[0] for text in texts if "[[" in text]
    assert len(set(shown)) == 10 and set(shown) <= prepared
    assert shown[0].partition("[[")[0] and "----- options: ['red', 'green', 'deep blue']" in texts[0]
    assert texts == list(preview.of_mixture(config, "fake:b", 4))


def test_templates_take_turns() -> None:
    rows = [
        PromptedExample("a?", "b", ("b",), (), example_id=str(row), template=str(template))
        for row in range(6)
        for template in range(3)
    ]
    first = preview._drawn(rows, 3, "k")
    assert len({row.template for row in first}) == len({row.example_id for row in first}) == 3
    assert len(preview._drawn(rows, 100, "k")) == 18


def test_a_folder(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["tasks", f"--data_dir={data_dir}", "--show", "2"]) == 0
    out = capsys.readouterr().out
    assert out.count("===== reasoning:aqua:zero_shot | train | ") == 2
    assert re.search(r"What is (\d) plus \1\?.*\[\[ We add \1 twice", out, re.DOTALL)
    assert f"===== reasoning:gsm8k: broken: {data_dir}/reasoning/gsm8k_train.tsv:1: " in out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--show=0"], "--show=0: give the number"),
        (["--show=1", "--count"], "--show goes with"),
        (["--tasks=x"], "--tasks goes with --show"),
        (["--show=1", "--tasks=reasoning:aqa"], "matches no task; the nearest is 'reasoning:aqua'"),
    ],
)
def test_mistakes(data_dir: Path, flags: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["tasks", f"--data_dir={data_dir}", *flags]) == 2
    assert message in capsys.readouterr().err


def test_a_pattern_of_a_mixture(tmp_path: Path) -> None:
    write_rows(tmp_path, "a", "train", simple_rows(1))
    with pytest.raises(UserError, match="matches no task; the nearest is 'fake:a'"):
        next(preview.of_mixture(MixtureConfig("m", (FakeSource(str(tmp_path)),)), "fake:aa", 1))


def positioned(folder: Path, task: str, first: bool, count: int = 60) -> None:
    """Rows whose right option is always the first, or each in turn."""
    rows = []
    for number in range(count):
        options = [f"{number} {letter}" for letter in "abc"]
        right = options[0 if first else number % 3]
        rows.append({"source": f"Which? {number}", "references": [right], "options": options})
    write_rows(folder, task, "train", rows)


def test_positions_of_right_options(tmp_path: Path) -> None:
    positioned(tmp_path, "given_away", first=True)
    positioned(tmp_path, "even", first=False)
    texts = list(preview.of_mixture(MixtureConfig("m", (FakeSource(str(tmp_path)),)), "*", 1))
    counted = [text for text in texts if "right options by position" in text]
    assert len(counted) == 2
    assert "fake:even:zero_shot | train | right options by position: 1: 20, 2: 20, 3: 20 (of 60" in counted[0]
    assert "1: 60, 2: 0, 3: 0 (of 60 examples); always option 1 would score 100.0; p = " in counted[1]
    assert texts[-1] == (
        "===== warning: in 1 of 2 the right option's position is not random (Holm-corrected over them, "
        "p < 0.05): fake:given_away:zero_shot | train: always option 1 100.0\n"
    )
    assert not any("warning" in text for text in preview.of_mixture(
        MixtureConfig("m", (FakeSource(str(tmp_path)),)), "*even", 1))  # fmt: skip
