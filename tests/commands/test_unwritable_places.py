"""Where results cannot be written is said before anything is read or computed.

What is to be read is missing, too, so that a line about the place shows which of the two was looked at first.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.fixtures_prepared import SyntheticTask, random_rows, write_prepared

from iml_jax import cli
from iml_jax.foundation.errors import UserError
from iml_jax.training.run_directory import check_run

TINY = ("--gin_file=models/opt_tiny.gin", "--gin.Loader.batch_size=4")


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (["report", "none.json", "none2.json", "--output=file/x.html"], "give --output FILE.html in a"),
        (["convert", "--to=orbax", "none", "file/out"], "name another directory"),
        (["plan", *TINY, "--topology=v5e:2x4", "--json=file/x.json"], "give another --json FILE"),
        (["plan", *TINY, "--topology=v5e:2x4", "--cache=file/cache"], "give another --cache DIR"),
    ],
)
def test_a_place_below_a_file(
    arguments: list[str], remedy: str, tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    assert cli.main(arguments) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "cannot be written (Not a directory); " + remedy in line
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


def test_a_checkpoint_that_orbax_could_not_find_again(tmp_path: Path, capsys) -> None:
    assert cli.main(["convert", "--to=orbax", "none", str(tmp_path / "a[1]")]) == 2
    assert "a[1]: checkpoints cannot be saved below" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_somebody_elses_file_is_no_place_for_a_plan(tmp_path: Path, capsys) -> None:
    file = tmp_path / "mine.json"
    file.write_text('{"name": "mine"}')
    assert cli.main(["plan", *TINY, "--topology=v5e:2x4", f"--json={file}"]) == 2
    assert "mine.json: exists and is no plan; nothing was written" in capsys.readouterr().err
    assert file.read_text() == '{"name": "mine"}'


def test_a_run_directory_below_a_file(tmp_path: Path) -> None:
    """``check_run`` precedes the first device and the first file of a run."""
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / "vocab.json").touch()
    (tmp_path / "file").write_text("")
    with pytest.raises(
        UserError, match=r"cannot be written \(Not a directory\); choose another Train.run_dir"
    ):
        check_run(tmp_path / "file" / "run", tmp_path, "fingerprint")


@pytest.mark.parametrize("name", ["leakage.json", "leakage.txt"])
def test_a_leakage_report(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_prepared(
        tmp_path,
        [SyntheticTask("bench:t:zero_shot", {"train": random_rows(np.random.default_rng(), 3)}, rate=1.0)],
    )
    (tmp_path / name).mkdir()
    assert cli.main(["leakage", f"--gin.Leakage.prepared_dir='{tmp_path}'"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert f"{name}: cannot be written (Is a directory); audit a copy" in line
