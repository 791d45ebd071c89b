"""Which of asyncio's complaints are kept off the terminal."""

from __future__ import annotations

import logging

import pytest

from iml_jax.checkpoints.quiet import silence_orbax


@pytest.mark.parametrize(
    ("file", "text", "shown"),
    [
        ("/site-packages/orbax/checkpoint/async_path.py", "Future exception was never retrieved", False),
        ("/site-packages/other/async_path.py", "Future exception was never retrieved", True),
        ("", "Task was destroyed: <orbax.checkpoint task>", False),
        ("", "Task was destroyed: <another task>", True),
    ],
)
def test_only_orbax_is_silenced(caplog: pytest.LogCaptureFixture, file: str, text: str, shown: bool) -> None:
    silence_orbax()
    error = None
    if file:
        try:
            exec(compile("open('/nowhere/at/all')", file, "exec"))
        except OSError as caught:
            error = caught
    logging.getLogger("asyncio").error(text, exc_info=error)
    assert [record.getMessage() for record in caplog.records] == ([text] if shown else [])


@pytest.mark.parametrize(
    ("told", "shown"),
    [('DATA_LOSS: Error opening "zarr" driver: Error reading "params.w/.zarray" in OCDBT database', False),
     ("DATA_LOSS: of another library", True)],
)  # fmt: skip
def test_arrays_that_nobody_awaits_any_more(caplog: pytest.LogCaptureFixture, told: str, shown: bool) -> None:
    silence_orbax()
    error = ValueError(told)
    logging.getLogger("asyncio").error("Task exception was never retrieved", exc_info=error)
    assert bool(caplog.records) == shown
