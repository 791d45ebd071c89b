"""What another process writes at this moment is not written: each place has a lease."""

from __future__ import annotations

from pathlib import Path

import pytest

from iml_jax import cli
from iml_jax.bench.sources.miniature.source import Miniature, write_miniature
from iml_jax.evaluation.engine import exclusive
from iml_jax.foundation.errors import UserError
from iml_jax.storage import lease

IN_USE = r"is in use: host .*, pid \d+, since"


def test_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("1.json", "2.json"):
        (tmp_path / name).write_text("{}")
    page = tmp_path / "page.html"
    with exclusive.held_page(page):
        assert cli.main(["report", *(str(tmp_path / f"{n}.json") for n in (1, 2)), f"--output={page}"]) == 2
    assert "is in use: host " in capsys.readouterr().err
    assert not page.exists()


def test_a_miniature(tmp_path: Path) -> None:
    directory = tmp_path / "bench"
    with lease.hold(tmp_path / ".bench.lease", "the miniature"), pytest.raises(UserError, match=IN_USE):
        write_miniature(directory, Miniature(directory=directory))
    assert not directory.exists()
