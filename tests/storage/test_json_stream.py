"""JSON from a stream: what the library reads, in small parts, with what is too long passed over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iml_jax.foundation.errors import UserError
from iml_jax.storage import json_stream
from iml_jax.storage.json_stream import TOO_LONG, elements, open_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(-1e9, 1e9) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


def length(value: Any, text: dict[str, Any]) -> int:
    return len(json.dumps(value, **text))


@settings(max_examples=150, deadline=None)
@given(
    values=st.lists(VALUES, max_size=6),
    chunk=st.integers(1, 40),
    limit=st.integers(1, 60),
    ascii_only=st.booleans(),
)
def test_elements_are_the_librarys(tmp_path_factory, values, chunk, limit, ascii_only) -> None:
    path = tmp_path_factory.mktemp("json") / "a.json"
    path.write_text(json.dumps(values, ensure_ascii=ascii_only), "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "_CHUNK", chunk)
        patch.setattr(json_stream, "LINE_LIMIT", limit)
        found = [value for _, value in elements(path)]
    long = [length(value, {"ensure_ascii": ascii_only}) > limit for value in values]
    assert [one is TOO_LONG for one in found] == long
    assert [one for one in found if one is not TOO_LONG] == [
        one for one, too in zip(values, long, strict=True) if not too
    ]


@pytest.mark.parametrize("chunk", [1, 3, 1 << 16])
def test_members_are_taken_skipped_or_walked_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(json_stream, "_CHUNK", chunk)
    path = tmp_path / "a.json"
    content = {"a": 1, "skipped": [{"x": ']}\\"'}, 2], "also": -1.5e3, "list": [1, "é", None], "s": "\\"}
    path.write_text("\ufeff" + json.dumps(content, indent=1))
    found: dict[str, Any] = {}
    with open_json(path) as text:
        for key in text.members():
            if key in ("skipped", "also"):
                text.skip()
            elif key == "list":
                found[key] = list(text.array())
            else:
                found[key] = text.value()
        text.end()
    assert (found["a"], found["s"]) == (1, "\\")
    assert [value for _, value in found["list"]] == [1, "é", None]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[1, 2", r":1: malformed JSON: '\]' expected, not the end of the file"),
        ("[1,\n2,\n]", ":3: malformed JSON: Expecting value"),
        ("[1] 2", ":1: text after the end"),
        ('["a', ":1: malformed JSON: Unterminated string"),
        ("[NaN]", "NaN is not a JSON value"),
        ("[1e999]", "beyond float64"),
        (f"[{'9' * 400}]", "an integer of 400 digits"),
        ("[" * 105 + "]" * 105, "nested too deeply"),
        ("[" * 5000, "nested too deeply|malformed JSON"),
        ("{}", r"'\[' expected, not '\{'"),
        ("[tru, " + '"x", ' * 20_000 + "1]", ":1: malformed JSON: Expecting value"),
    ],
)
def test_malformed_json_is_refused_with_its_line(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(UserError, match=said) as caught:
        list(elements(path))
    assert str(caught.value).startswith(f"{path}:")
