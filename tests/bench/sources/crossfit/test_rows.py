"""Lines of CrossFit's TSV and MetaICL's JSONL files; choices inside inputs."""

from __future__ import annotations

import gzip
import json
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iml_jax.bench.sources.base import Item
from iml_jax.bench.sources.crossfit import rows as crossfit_rows
from iml_jax.bench.sources.crossfit.rows import labels, options_in, with_answers
from iml_jax.foundation.errors import UserError


def _read(path: Path, *, single: bool = False) -> list[Item | str]:
    return [row for _, row in crossfit_rows.read(path, single=single)]


def test_tsv_lines(tmp_path: Path) -> None:
    path = tmp_path / "a_16_13_train.tsv"
    path.write_bytes(
        b'\xef\xbb\xbfq "one"\t a \r\nq2\tb\tc\tb\t\n\nno tab\n\tc\nq3\t \nbreak\xe2\x80\xa8in\tx\n'
    )
    assert [number for number, _ in crossfit_rows.read(path, single=False)] == list(range(1, 8))
    assert _read(path) == [
        Item('q "one"', ("a",)),
        Item("q2", ("b", "c")),  # further outputs are further references
        "empty line",
        "line without a tab",
        "empty input",
        "empty output",
        Item("break\u2028in", ("x",)),  # only line feeds end lines
    ]
    assert _read(path, single=True)[1] == "several outputs where there is one"
    packed = tmp_path / "a_16_13_train.tsv.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert _read(packed) == _read(path)


def test_jsonl_rows(tmp_path: Path) -> None:
    path = tmp_path / "a_16_13_train.jsonl"
    rows = [
        {"task": "a", "input": " q\nr ", "output": "x", "options": ["x", "y ", "x"]},
        {"input": "q", "output": ["x", "y"], "options": None},
        {"input": "", "output": "x"},
        {"input": "q", "output": "", "options": []},
        {"input": "q \ud800", "output": "x", "options": []},
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    assert _read(path) == [
        Item("q\nr", ("x",), ("x", "y")),
        Item("q", ("x", "y")),
        "empty input",
        "empty output",
        "text that is not valid Unicode",
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a_1_1_train.tsv", "input,output\nq,a\n", r"a_1_1_train\.tsv:1: no line has a tab"),
        ("a_1_1_train.jsonl", '{"input": 3, "output": "x"}', r":1: 'input' must be a string"),
        ("a_1_1_train.jsonl", '{"input": "q"}', r":1: 'output' must be a string or a list"),
        ("a_1_1_train.jsonl", '{"input": "q", "output": [3]}', r":1: 'output' must be a string or a list"),
        (
            "a_1_1_train.jsonl",
            '{"input": "q", "output": "x", "options": {"x": 1}}',
            r"'options' must be a string or",
        ),
        ("a_1_1_train.jsonl", "[[]]", r":1: a list; expected a JSON object"),
    ],
)
def test_malformed_files(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message):
        _read(tmp_path / name)


@pytest.mark.parametrize(
    ("source", "options"),
    [
        ("Why? (A) one (B) two words (C) three.", ("one", "two words", "three.")),
        ("Why? (1) one (2) two", ("one", "two")),  # ARC has both
        ("Why? (A) one (B) two [SEP] A text with (C) in it.", ("one", "two")),
        ("question [SEP] text [SEP]  (A) one (B) two", ("one", "two")),
        (
            "What?(A)not enough information(B)the dog [SEP] text",
            ("not enough information", "the dog"),
        ),  # QuAIL
        ("Is it (A) more or (B) less?", ("more", "less?")),  # QuaRel
        ("Say (A). (A) x (B) y", ("x", "y")),  # a marker stands alone
        ("(A) x (C) y", ()),
        ("(A) same (B) same", ()),
        ("no choices (A)", ()),
        ("(A) (B) y (C) z", ("y", "z")),
        ("", ()),
    ],
)
def test_choices_in_inputs(source: str, options: tuple[str, ...]) -> None:
    assert options_in(source) == options


TEXTS = st.text(st.characters(categories=("L", "N", "P"), exclude_characters="()[]"), min_size=1).filter(
    lambda text: not text.endswith("or")
)


@given(question=TEXTS, choices=st.lists(TEXTS, min_size=2, max_size=9, unique=True), context=st.booleans())
def test_choices_as_the_scripts_write_them(question: str, choices: list[str], context: bool) -> None:
    source = question + "".join(
        f" ({letter}) {choice}" for letter, choice in zip(string.ascii_uppercase, choices, strict=False)
    )
    assert options_in(source + " [SEP] context (A) here" * context) == tuple(choices)
    assert with_answers(Item(question, (choices[0],), tuple(choices)), (), choices=True) == Item(
        source, (choices[0],), tuple(choices)
    )  # MetaICL's rows get back what it took out


def test_rows_with_answers() -> None:
    listed = Item("q (A) two  words (B) y", ("two words",))
    made = with_answers(listed, (), choices=True)
    assert made == Item(listed.source, ("two  words",), ("two  words", "y"))
    assert with_answers(Item("q", ("x",)), (), choices=True) == "no options in the input"
    assert with_answers(Item("q", ("x",)), (), choices=False) == "no options listed"
    assert with_answers(Item("q", ("z",)), ("x", "y"), choices=False) == "output that is none of the options"
    assert with_answers(Item("q", ("x",)), ("x", "y"), choices=False) == Item("q", ("x",), ("x", "y"))
    own = Item("q", ("a",), ("b", "a"))
    assert with_answers(own, ("x", "y"), choices=False) == own
    many = tuple(f"o{index}" for index in range(27))
    assert with_answers(Item("q", ("o26",), many), (), choices=True) == Item("q", ("o26",), many)


def test_labels_of_all_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [tmp_path / f"a_16_{seed}_test.tsv" for seed in (1, 2, 3)]
    for path, text in zip(paths, ("q\tno\nq\ta\tb\n", "q\tno\nq\ta\tb\n", "q\tyes\n\nq\t \n"), strict=True):
        path.write_text(text)
    read = []
    original = crossfit_rows.read
    monkeypatch.setattr(crossfit_rows, "read", lambda path, **how: read.append(path) or original(path, **how))
    assert labels(paths) == ("no", "yes")
    assert read == [paths[0], paths[2]]  # a copy is not read again
    assert labels(paths[:1]) == ()  # one label is no choice
    paths[1].write_text("".join(f"q\t{index}\n" for index in range(62)))
    assert len(labels(paths)) == 64
    paths[1].write_text("".join(f"q\t{index}\n" for index in range(63)))
    assert labels(paths) == ()
