"""`iml tasks` as the terminal meets it: what each flag prints, and one line for a mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from iml_jax import cli
from iml_jax.bench import known_tables


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A data folder with two chain-of-thought tasks, one of them broken."""
    folder = tmp_path / "data" / "reasoning"
    folder.mkdir(parents=True)
    rows = [f"What is {i} plus {i}?\t{2 * i}\tWe add.\n" for i in range(9)]
    (folder / "aqua_train.tsv").write_text("".join(rows))
    (folder / "gsm8k_train.tsv").write_text("no tabs here\n")
    return folder.parent


def table(text: str) -> dict[str, list[str]]:
    """Rows of the printed table by their first cell, without header and summary."""
    lines = [line.split("\t") for line in text.splitlines() if not line.startswith("#")]
    return {cells[0]: cells[1:] for cells in lines[1:]}


def test_a_data_folder(data_dir: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["tasks", f"--data_dir={data_dir}", "--count"]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    rows = table(out)
    assert rows["reasoning:aqua"] == ["present", "Reasoning", "train", "-", "1", "9", ""]
    broken = rows["reasoning:gsm8k"]
    assert broken[:4] == ["broken", "Reasoning", "dev", "partially_supervised"]
    assert broken[6].startswith(f"{data_dir}/reasoning/gsm8k_train.tsv:1: ")
    assert rows["reasoning:math"][0] == "missing"
    assert out.splitlines()[-1].endswith("1 of the 1991 of OPT-IML Bench present")


def test_the_taxonomy(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["tasks", "--known"]) == 0
    assert capfd.readouterr().out == known_tables.table()


def test_the_realised_mixture(data_dir: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (data_dir / "reasoning/gsm8k_train.tsv").write_text("How many?\t3\tCount them.\n")
    flags = [
        "--gin.Mixture.name='m'",
        "--gin.Mixture.sources=(@Reasoning(),)",
        f"--gin.Reasoning.data_dir='{data_dir / 'reasoning'}'",
    ]
    assert cli.main(["tasks", *flags, "--mixture"]) == 0
    rows = table(capfd.readouterr().out)
    assert rows == {
        "reasoning:aqua:zero_shot": ["Reasoning", "9", "9", "0.900000"],
        "reasoning:gsm8k:zero_shot": ["Reasoning", "1", "1", "0.100000"],
    }


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--data_dir=/no/where"], "/no/where: no such folder"),
        (["--run=/no/where"], "/no/where"),
        (["--known", "--data_dir=x"], "give one of them"),
        (["--data_dir=x", "--mixture"], "give one of them"),
        (["--count"], "--count goes with --data_dir"),
        ([], "Mixture"),
    ],
)
def test_mistakes_are_one_line(flags: list[str], told: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["tasks", *flags]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert told in line
