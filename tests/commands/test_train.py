"""What ``iml train`` checks before it touches anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from iml_jax.commands import train
from iml_jax.foundation.errors import UserError


def test_a_run_that_was_moved(tmp_path: Path) -> None:
    """Its config.gin names where it was: the command must not begin a second run there."""
    run = tmp_path / "moved"
    (run / "checkpoints").mkdir(parents=True)
    file = run / "config.gin"
    file.write_text(f"Train.run_dir = '{tmp_path}/before'\nTrain.prepared_dir = '{tmp_path}/prepared'\n")
    with pytest.raises(UserError, match=rf"before does not exist; .*--gin\.Train\.run_dir={run}"):
        train.check_not_moved([str(file)], f"{tmp_path}/before")
    train.check_not_moved([str(file)], str(run))
    train.check_not_moved([str(file)], f"{tmp_path}/another")  # a new run with the same parameters
    (tmp_path / "before").mkdir()
    train.check_not_moved([str(file)], f"{tmp_path}/before")
    (run / "checkpoints").rmdir()
    (tmp_path / "before").rmdir()
    train.check_not_moved([str(file)], f"{tmp_path}/before")  # a file of parameters, not a run
