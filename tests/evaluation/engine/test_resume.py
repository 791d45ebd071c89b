"""Answers of finished chunks on disk: of the same evaluation and undamaged, or not used."""

from __future__ import annotations

import json
import random
import zlib
from pathlib import Path

import pytest

from iml_jax.evaluation.engine.answering import Answered, Piece, chunks
from iml_jax.evaluation.engine.resume import PartialResults, TaskQuestions, folder_of
from iml_jax.evaluation.results import Prediction
from iml_jax.foundation.errors import Fault

ASKED = {"a:b:zero_shot": TaskQuestions("k", 4), "a/b": TaskQuestions("k", 5), "c": TaskQuestions("k", 2)}
CHUNKS = list(chunks({name: one.count for name, one in ASKED.items()}, 3))


def _answers(pieces: list[Piece]) -> list[Answered]:
    """Some dropped, some unfinished, with texts and numbers that are hard to keep."""
    found = []
    for piece in pieces:
        for n in range(piece.start, piece.stop):
            one = Prediction(
                task=piece.task, example_id=f"é{n}", template="", prompt="a\nb\u2028c", prediction="<b>",
                references=("x", "y"), options=("x", "z"), log_likelihoods=(-1.1 / (n + 3), -2.0),
                score=100.0, truncated_tokens=n,
            )  # fmt: skip
            found.append(Answered(None, dropped="empty_prompt") if n == 1 else Answered(one, n == 2))
    return found


def _write(folder: Path, numbers: list[int]) -> None:
    for number in numbers:
        PartialResults(folder).write(number, CHUNKS[number], ASKED, _answers(CHUNKS[number]))


def _read(folder: Path, asked=None, parts=None) -> tuple[dict, set[int], list[str]]:
    said: list[str] = []
    return *PartialResults(folder, said.append).read(asked or ASKED, parts or CHUNKS), said


def test_chunks_hold_every_question_once() -> None:
    for counts, size in (({"a": 7, "b": 0, "c": 2, "d": 1}, 3), ({"a": 20_000}, 4096), ({}, 5)):
        found = list(chunks(counts, size))
        sizes = [sum(one.stop - one.start for one in chunk) for chunk in found]
        assert all(held == size for held in sizes[:-1]) and all(0 < held <= size for held in sizes)
        for name, count in counts.items():
            mine = [one for chunk in found for one in chunk if one.task == name]
            assert [n for one in mine for n in range(one.start, one.stop)] == list(range(count))


def test_any_subset_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "5.unfinished"
    assert _read(folder)[1:] == (set(), [])
    _write(folder, [0, 2])
    answers, done, said = _read(folder)
    assert done == {0, 2}
    assert said == ["6 of 11 prompts were answered before; resuming with the rest"]
    for number, chunk in enumerate(CHUNKS):
        held = [one for piece in chunk for one in answers[piece.task][piece.start : piece.stop]]
        assert held == (_answers(chunk) if number in done else [None] * len(held))
    _write(folder, [1, 3])
    assert _read(folder)[1] == {0, 1, 2, 3}
    PartialResults(folder).clear()
    assert list(tmp_path.iterdir()) == []


def test_tasks_asked_otherwise_take_what_fits(tmp_path: Path) -> None:
    """Fewer tasks make other chunks; of a task with another key nothing is used."""
    _write(tmp_path, [0, 1, 2, 3])
    asked = {"a/b": TaskQuestions("k", 5), "c": TaskQuestions("other", 2)}
    parts = list(chunks({"a/b": 5, "c": 2}, 4))
    answers, done, _ = _read(tmp_path, asked, parts)
    assert done == {0}
    assert None not in answers["a/b"] and answers["c"] == [None, None]
    changed = {name: TaskQuestions("other", one.count) for name, one in ASKED.items()}
    _, done, said = _read(tmp_path, changed)
    assert (done, said) == (
        set(),
        [f"{tmp_path}: 4 file(s) of other weights, questions or settings are not used"],
    )


def test_damage_is_told_and_only_its_chunk_answered_again(tmp_path: Path) -> None:
    _write(tmp_path, [0, 1])
    file = min(tmp_path.iterdir())
    good = file.read_bytes()
    lines = good.splitlines(keepends=True)
    draw = random.Random(zlib.crc32(good))
    damaged = [b"", b"[]\n", b"".join(lines[:-1]), lines[0] + b'{"task": 3}\n', good[:-40], b"\xff" + good]
    damaged += [good.replace(b'"unfinished": [2]', b'"unfinished": []'), good.replace(b"100.0", b"90.0", 1)]
    for _ in range(40):
        at = draw.randrange(len(good))
        damaged.append(good[:at] + bytes([good[at] ^ 1 << draw.randrange(7)]) + good[at + 1 :])
    for broken in damaged:
        assert broken != good
        file.write_bytes(broken)
        answers, done, said = _read(tmp_path)
        assert (done, answers["a:b:zero_shot"][:3]) == ({1}, [None] * 3)
        assert len(said) == 2 and (said[0].startswith(f"{file}: damaged") or "are not used" in said[0])


def test_a_folder_of_the_format_before_is_ignored(tmp_path: Path) -> None:
    for name in ("a-0123456789ab.jsonl", "b-0123456789ac.jsonl"):
        head = {"task": name, "key": "k", "predictions": 0, "unfinished": 0, "dropped": {}}
        (tmp_path / name).write_text(json.dumps(head) + "\n")
    (tmp_path / "of somebody else.jsonl").write_text("{}\n")
    _, done, said = _read(tmp_path)
    assert (done, said) == (set(), [f"{tmp_path}: 3 file(s) of another format are not used"])
    PartialResults(tmp_path).clear()
    assert [file.name for file in tmp_path.iterdir()] == ["of somebody else.jsonl"]


def test_nothing_is_kept_without_a_folder() -> None:
    kept = PartialResults(None)
    kept.write(0, CHUNKS[0], ASKED, _answers(CHUNKS[0]))
    assert kept.read(ASKED, CHUNKS)[1] == set()
    kept.clear()


def test_a_disk_that_refuses(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Fault, match="cannot be written"):
        _write(tmp_path / "file" / "x", [0])


def test_name_of_the_folder() -> None:
    assert folder_of(Path("run/evaluation/500.json")) == Path("run/evaluation/500.unfinished")
