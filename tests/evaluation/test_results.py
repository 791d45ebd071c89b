"""A file of results that was changed anywhere: read, or refused by one line that names it."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support.compared_results import make_results

from iml_jax.evaluation import results
from iml_jax.evaluation.pages import report_tables
from iml_jax.foundation.errors import UserError
from iml_jax.storage.sealed import CHECKSUM

OTHERS = (None, True, -1, 10**300, 1.5, "text", [], {}, [[]], {"a": 1}, ["x"], "\x1b[31m", 1e308)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a JSON value, itself included."""
    yield path
    if isinstance(value, (dict, list)):
        for key in value if isinstance(value, dict) else range(min(len(value), 2)):
            yield from places(value[key], (*path, key))


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    copy = json.loads(json.dumps(value))
    if not path:
        return new
    inner = copy
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = new
    return copy


def shown(path: Path) -> str:
    """What a terminal gets of a result file, or the message that refuses it."""
    stream = io.StringIO()
    try:
        found = results.load(path, predictions=True)
        report_tables.print_tables(found, console=Console(file=stream, width=200))
    except UserError as error:
        assert str(path.parent) in str(error), error
        return str(error)
    return stream.getvalue()


def test_values_of_other_types(tmp_path: Path) -> None:
    path = results.save(make_results(1, 0.5, tasks=2, examples=3), tmp_path / "1.json")
    record = json.loads(path.read_text())
    del record[CHECKSUM], record[results.PREDICTIONS_CHECKSUM]
    tried = refused = 0
    for place in places(record):
        for new in OTHERS:
            path.write_text(json.dumps(changed(record, place, new)))
            text = shown(path)
            assert "\x1b" not in text
            tried, refused = tried + 1, refused + text.startswith(str(tmp_path))
    assert tried > 500 and refused > tried / 2


def test_predictions_of_other_types(tmp_path: Path) -> None:
    path = results.save(make_results(1, 0.5, tasks=3, examples=2), tmp_path / "1.json")
    record = json.loads(path.read_text())
    del record[CHECKSUM], record[results.PREDICTIONS_CHECKSUM]
    path.write_text(json.dumps(record))
    beside = results.predictions_path(path)
    lines = beside.read_text().split("\n")
    for place in places(json.loads(lines[1])):
        for new in OTHERS:
            text = json.dumps(changed(json.loads(lines[1]), place, new))
            beside.write_text("\n".join([lines[0], text, *lines[2:]]))
            try:
                results.load(path, predictions=True)
            except UserError as error:
                assert str(error).startswith(f"{beside}:2: "), error


@pytest.mark.parametrize("kind", ["fifo", "folder", "device", "deep", "NaN", "digits", "half", "bytes"])
def test_what_is_no_file_of_results(kind: str, tmp_path: Path) -> None:
    path = results.save(make_results(1, 0.5, tasks=2, examples=3), tmp_path / "1.json")
    for file in (path, results.predictions_path(path)):
        kept = file.read_bytes()
        file.unlink()
        match kind:
            case "fifo":
                os.mkfifo(file)
            case "folder":
                file.mkdir()
            case "device":
                file.symlink_to("/dev/zero")
            case "deep":
                file.write_text("[" * 900 + "]" * 900)
            case "NaN":
                file.write_text('{"format": NaN}')
            case "digits":
                file.write_text(f'{{"format": {"9" * 400}}}')
            case "half":
                file.write_text('{"format": "\\ud83d"}')
            case "bytes":
                file.write_bytes(b'{"format": "\xff"}')
        with pytest.raises(UserError) as caught:
            results.load(path, predictions=True)
        assert str(file) in str(caught.value)
        file.rmdir() if file.is_dir() else file.unlink()
        file.write_bytes(kept)
    assert results.load(path, predictions=True).tasks
