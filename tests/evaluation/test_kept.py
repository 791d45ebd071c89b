"""Answers of finished tasks on disk: whole, of the same evaluation, or not used."""

from __future__ import annotations

import collections
from pathlib import Path

import pytest

from iml_jax.errors import Fault
from iml_jax.evaluation.kept import KeptAnswers, TaskAnswers, folder_of, key_of
from iml_jax.evaluation.results import Prediction


def _answers(task: str, count: int = 3) -> TaskAnswers:
    predictions = [
        Prediction(
            task=task, example_id=f"é{n}", template="", prompt="a\nb\u2028c", prediction="<b>",
            references=("x", "y"), options=("x", "z"), log_likelihoods=(-1.1 / (n + 3), -2.0),
            score=100.0, truncated_tokens=n,
        )
        for n in range(count)
    ]  # fmt: skip
    return TaskAnswers(predictions, unfinished=1, dropped=collections.Counter(empty_prompt=2))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    said: list[str] = []
    kept = KeptAnswers(tmp_path / "5.unfinished", said.append)
    assert kept.read({"a:b:zero_shot": "k"}) == {}
    for name in ("a:b:zero_shot", "a/b", "a_b"):
        kept.write(name, "k", _answers(name))
    found = kept.read({"a:b:zero_shot": "k", "a/b": "k", "a_b": "another key", "c": "k"})
    assert found == {name: _answers(name) for name in ("a:b:zero_shot", "a/b")}
    assert said == ["2 of 4 tasks were answered before; going on with the rest"]
    kept.clear()
    assert list(tmp_path.iterdir()) == []


def test_damage_is_told_and_answered_anew(tmp_path: Path) -> None:
    said: list[str] = []
    kept = KeptAnswers(tmp_path, said.append)
    kept.write("a", "k", _answers("a"))
    (file,) = tmp_path.iterdir()
    lines = file.read_text().splitlines(keepends=True)
    for broken in ("", "[]\n", "".join(lines[:-1]), lines[0] + '{"task": 3}\n', "".join(lines)[:-40]):
        file.write_text(broken)
        assert kept.read({"a": "k"}) == {}
    assert len(said) == 5
    assert all(line.startswith(f"{file}: not used, a is answered anew") for line in said)
    file.write_bytes(b"\xff" + file.read_bytes())
    assert kept.read({"a": "k"}) == {}


def test_nothing_is_kept_without_a_folder() -> None:
    kept = KeptAnswers(None)
    kept.write("a", "k", _answers("a"))
    assert kept.read({"a": "k"}) == {}
    kept.clear()


def test_a_disk_that_refuses(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Fault, match="cannot be made"):
        KeptAnswers(tmp_path / "file" / "x").write("a", "k", _answers("a"))


def test_names_and_keys() -> None:
    assert folder_of(Path("run/evaluation/500.json")) == Path("run/evaluation/500.unfinished")
    assert key_of(["a", 1]) == key_of(["a", 1]) != key_of(["a", 2])
