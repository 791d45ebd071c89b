"""Pipeline options that Beam would drop, or answer with its usage, are one line."""

from __future__ import annotations

import sys

import pytest

from iml_jax import cli
from iml_jax.bench import beam_options
from iml_jax.foundation.errors import UserError


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--runnr=FlinkRunner", "--paralelism=64"], "no option '--runnr'; did you mean --runner?"),
        (
            ["--runner=FlinkRunner", "--paralelism=64"],
            "'--paralelism'; did you mean --parallelism?",
        ),
        (["--direct-num-workers=2"], "'--direct-num-workers'; did you mean --direct_num_workers?"),
        (["direct_num_workers=2"], "'direct_num_workers'; did you mean --direct_num_workers?"),
        (["-runner=DirectRunner"], "no option '-runner'; did you mean --runner?"),
        (["--runner=DirectRunner", "stray"], "no option 'stray'"),
        (["--direct_num_workers=two"], "argument --direct_num_workers: invalid int value: 'two'"),
        (["--direct_running_mode=three"], "argument --direct_running_mode: invalid choice: 'three'"),
        (["--runner"], "argument --runner: expected one argument"),
        (["--help"], "--help is no option of a pipeline"),
        (["--runner=DirectRunner", "--object_reuse=true"], "no option '--object_reuse'"),
    ],
)
def test_wrong_options_are_one_line(
    options: list[str], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError) as caught:
        beam_options.check(options)
    assert str(caught.value).startswith("--pipeline_options: ") and message in str(caught.value)
    assert "\n" not in str(caught.value) and "usage" not in str(caught.value)
    assert "usage" not in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--runner=DirectRunner", "--direct_num_workers=2", "--direct_running_mode=in_memory"],
        ["--runner", "DirectRunner"],
        ["--runner=FlinkRunner", "--parallelism=64", "--flink_master=host:1"],
        ["--runner=FlinkRunner", "--object_reuse=true"],  # the job server's own
    ],
)
def test_right_options_pass(options: list[str]) -> None:
    beam_options.check(options)


def test_commands_refuse_them_before_any_work(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    words = ["--gin.Mixture.name=m", "--gin.Mixture.sources=(@Miniature(),)", "--gin.Vocabulary.size=300"]
    words += [f"--gin.Prepare.output_dir='{out}'"]
    words += [f"--gin.Miniature.directory='{tmp_path / 'mini'}'"]
    assert cli.main(["prepare", *words, "--pipeline_options=--runnr=x"]) == 2
    assert cli.main(["leakage", f"--gin.Leakage.prepared_dir='{out}'", "--pipeline_options=--runnr=x"]) == 2
    lines = capsys.readouterr().err.splitlines()
    line = "iml: error: --pipeline_options: Apache Beam has no option '--runnr'; did you mean --runner?"
    assert lines == [line, line]
    assert not out.exists() and not (tmp_path / "mini").exists()


def test_the_runner_for_dask_names_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dask", None)
    with pytest.raises(UserError, match=r"needs dask, .*pip install 'apache-beam\[dask\]'"):
        beam_options.check(["--runner=apache_beam.runners.dask.dask_runner.DaskRunner"])
