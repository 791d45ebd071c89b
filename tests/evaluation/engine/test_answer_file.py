"""The file of `iml generate --output` after kills, damage, and other settings."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from iml_jax.evaluation.engine.answer_file import AnswerFile
from iml_jax.foundation.errors import UserError
from iml_jax.storage.reading import LINE_LIMIT

SETTINGS = {"Generate.max_new_tokens": 5, "Generate.stop": ("x",), "weights": "abc"}
PROMPTS = ["one é", "two\u2028 \x1b", "three \U0001f600", 'four "', "five"]
RECORDS = [
    {"prompt": prompt, "answer": f"{prompt}!", "finished": n % 2 == 0, "truncated_tokens": n}
    for n, prompt in enumerate(PROMPTS)
]


def write(path: Path, prompts=PROMPTS, settings=SETTINGS, most: int = 99) -> int:
    """Continues the file as the command does; how many answers were there."""
    with AnswerFile(path) as file:
        file.check({name: value for name, value in settings.items() if name != "weights"})
        done = file.resume(settings, iter(prompts), "prompts.txt")
        file.append(RECORDS[done : done + most])
    return done


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "answers.jsonl"


def test_cut_anywhere_it_becomes_the_same(path: Path) -> None:
    assert write(path) == 0
    whole = path.read_bytes()
    assert [json.loads(line) for line in whole.decode().split("\n")[:-1]] == RECORDS
    assert "é".encode() in whole and b"\x1b" not in whole
    places = [*range(30), *random.Random(3).sample(range(len(whole)), 60), len(whole) - 1, len(whole)]
    for size in places:
        path.write_bytes(whole[:size])
        assert write(path) == whole[:size].count(b"\n")
        assert path.read_bytes() == whole
    assert sorted(one.name for one in path.parent.iterdir()) == ["answers.jsonl", "answers.settings.json"]


def test_a_part_is_kept_and_more_of_it_written(path: Path) -> None:
    assert [write(path, most=2) for _ in range(4)] == [0, 2, 4, 5]
    assert len(path.read_text().splitlines()) == 5


def refused(path: Path, **changes) -> str:
    before = {one: one.read_bytes() for one in path.parent.iterdir() if one.is_file()}
    with pytest.raises(UserError) as error:
        write(path, **changes)
    assert {one: one.read_bytes() for one in path.parent.iterdir() if one.is_file()} == before
    return str(error.value)


def test_other_settings_and_prompts_are_refused(path: Path) -> None:
    write(path, most=3)
    for name, value, said in (
        ("Generate.max_new_tokens", 6, "was written with Generate.max_new_tokens 5, now it is 6"),
        ("Generate.stop", (), 'was written with Generate.stop ["x"], now it is []'),
        ("weights", "def", 'was written with weights "abc", now it is "def"'),
        ("new", 1, "was written with new null, now it is 1"),
    ):
        assert said in refused(path, settings={**SETTINGS, name: value})
    assert "answers.jsonl:2: answers another prompt than prompts.txt has there" in refused(
        path, prompts=[PROMPTS[0], "other", *PROMPTS[2:]]
    )
    assert "answers.jsonl:3: has no prompt in prompts.txt" in refused(path, prompts=PROMPTS[:2])


def test_damage_is_a_line(path: Path) -> None:
    write(path, most=3)
    good = path.read_bytes().splitlines(keepends=True)
    for line, said in (
        (b"{\n", "malformed JSON"),
        (b'"x"\n', "not an answer of `iml generate`"),
        (b'{"prompt": "one"}\n', "not an answer of `iml generate`"),
        (good[1].replace(b"1}", b'"1"}'), "not an answer of `iml generate`"),
        (b"\xff\n", "not UTF-8"),
        (b"x" * (LINE_LIMIT + 2), "malformed JSON"),
    ):
        path.write_bytes(good[0] + line + good[2])
        error = refused(path)
        assert "answers.jsonl:2" in error and said in error
    path.write_bytes(b"".join(good))
    settings = path.with_suffix(".settings.json")
    settings.write_text(settings.read_text().replace('_tokens": 5', '_tokens": 6'))
    assert "answers.settings.json: damaged" in refused(path)


def test_files_of_others_are_not_touched(path: Path) -> None:
    path.write_text("mine\n")
    assert "exists without answers.settings.json, which records how its answers were made" in refused(path)
    path.unlink()
    path.with_suffix(".settings.json").write_text('{"mine": 1}')
    assert "is not of `iml generate`" in refused(path)
    assert "must end in .jsonl" in refused(path.with_suffix(".txt"))
    (path.parent / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be written \(Not a directory\)"):
        AnswerFile(path.parent / "file" / "a.jsonl")
