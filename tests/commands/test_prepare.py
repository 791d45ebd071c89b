"""`iml prepare` and `iml tasks` as the terminal meets them: exit status, one line, quiet."""

from __future__ import annotations

import pytest
from support import forking
from support.fake_source import FakeSource, simple_rows, write_rows

from iml_jax import cli
from iml_jax.bench import mixtures
from iml_jax.commands import tasks
from iml_jax.data import manifest as manifests


@pytest.fixture
def folder(tmp_path):
    """A chain-of-thought folder in the public format."""
    data = tmp_path / "cot"
    data.mkdir()
    for name in ("aqua", "gsm8k"):
        rows = [f"What is {i} plus {i}?\t{2 * i}\tWe add {i} and {i}.\n" for i in range(30)]
        (data / f"{name}_train.tsv").write_text("".join(rows))
    return data


def arguments(folder, out, *more):
    return [
        "--gin.Mixture.name='m'",
        "--gin.Mixture.sources=(@Reasoning(),)",
        f"--gin.Reasoning.data_dir='{folder}'",
        "--gin.Reasoning.held_out_rows=5",
        "--gin.Vocabulary.size=300",
        f"--gin.Prepare.output_dir='{out}'",
        "--gin.Prepare.length=64",
        *more,
    ]


def iml(*words):
    return forking.run(forking.IML, words)


@pytest.mark.slow
def test_prepare_twice_quietly(folder, tmp_path):
    out = tmp_path / "out"
    first = iml("prepare", *arguments(folder, out))
    assert (first.returncode, first.stderr) == (0, "")
    assert "reasoning:aqua:zero_shot" in first.stdout
    manifest = manifests.load(out)
    assert [t.splits["train"].examples for t in manifest.trained] == [25, 25]
    assert [t.splits["test"].examples for t in manifest.evaluated] == [5, 5]
    second = iml("prepare", *arguments(folder, out))
    assert second.returncode == 0
    assert "2 tasks, 2 of them already prepared" in second.stdout
    assert manifests.load(out) == manifest


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (["--gin.Reasoning.data_dir='/nowhere/at/all'"], "/nowhere/at/all"),
        (["--gin.Vocabulary.directory='x'"], "exactly one of"),
        (["--gin.Mixture.train=('reasoning:aquA',)"], "reasoning:aqua"),
        (["--gin.Prepare.length=1"], "Prepare.length"),
        (["--gin.Mixture.proportions={'flan': 2.0}"], "proportions"),
    ],
)
def test_mistakes_are_one_line(folder, tmp_path, capfd, change, told):
    assert cli.main(["prepare", *arguments(folder, tmp_path / "out", *change)]) == 2
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1
    assert told in lines[0]
    assert not (tmp_path / "out/manifest.json").exists()


def test_a_malformed_row_is_named(folder, tmp_path, capfd):
    with (folder / "aqua_train.tsv").open("a") as file:
        file.write("only one field\n")
    assert cli.main(["prepare", *arguments(folder, tmp_path / "out")]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert "aqua_train.tsv:31" in line
    assert not (tmp_path / "out/manifest.json").exists()


def test_wrong_beam_option(folder, tmp_path, capfd):
    assert (
        cli.main(["prepare", *arguments(folder, tmp_path / "out"), "--pipeline_options=--runner=Nonesuch"])
        == 2
    )
    (line,) = capfd.readouterr().err.splitlines()
    assert "Nonesuch" in line


def test_tasks_lists_what_the_mixture_takes(tmp_path):
    for task in ("a", "b", "c"):
        write_rows(tmp_path, task, "test", simple_rows(2))
    write_rows(tmp_path, "a", "train", simple_rows(2))
    source = FakeSource(str(tmp_path), roles={"b": "excluded"}, categories={"c": "QA"})
    rows = [line.split("\t") for line in tasks.render(mixtures.MixtureConfig("m", (source,))).splitlines()]
    assert rows[1] == ["fake:a", "Misc", "train", "accuracy", "test,train", "yes", "test", "fully_supervised"]
    assert rows[2][5:] == ["no", "no", "-"]
    assert rows[3][5:] == ["no", "test", "fully_held_out"]
    assert rows[4] == ["# 3 tasks in 2 categories: 1 trained, 2 evaluated"]
