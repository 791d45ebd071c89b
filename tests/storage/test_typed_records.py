"""Dataclasses from JSON: what is of another type is refused with its place."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from iml_jax.storage.decoding import decode


@dataclasses.dataclass(frozen=True)
class Inner:
    name: str
    score: float


@dataclasses.dataclass(frozen=True)
class Outer:
    count: int
    flag: bool
    inner: Inner
    many: tuple[Inner, ...]
    by_name: dict[str, float]
    anything: Any
    pair: tuple[float, float] | None = None
    notes: dict[str, int] = dataclasses.field(default_factory=dict)


GOOD = {
    "count": 3,
    "flag": True,
    "inner": {"name": "a", "score": 1},
    "many": [{"name": "b", "score": 2.5}],
    "by_name": {"x": 1.5},
    "anything": [None],
    "pair": [1, 2.0],
}


def test_what_fits_is_built() -> None:
    wanted = Outer(3, True, Inner("a", 1.0), (Inner("b", 2.5),), {"x": 1.5}, [None], (1.0, 2.0))
    assert decode(Outer, GOOD, "outer") == wanted
    assert decode(Outer, GOOD | {"pair": None}, "outer").pair is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"count": True}, "outer.count must be int, not True"),
        ({"count": 1.0}, "outer.count must be int"),
        ({"flag": 1}, "outer.flag must be bool"),
        ({"inner": None}, "outer.inner must be an object"),
        ({"inner": {"name": 3, "score": 1}}, "outer.inner.name must be str, not 3"),
        ({"inner": {"name": "a", "score": "1"}}, "outer.inner.score must be float"),
        ({"inner": {"name": "a", "score": 10**400}}, "outer.inner.score is not finite"),
        ({"inner": {"name": "a", "score": float("nan")}}, "outer.inner.score is not finite"),
        ({"many": {"0": 1}}, "outer.many must be a list"),
        ({"many": [3]}, r"outer.many\[0\] must be an object"),
        ({"by_name": {"x": []}}, r"outer.by_name\['x'\] must be float"),
        ({"by_name": []}, "outer.by_name must be an object"),
        ({"pair": [1]}, "outer.pair must be a list of 2"),
        ({"more": 1}, r"missing fields \[\] and unknown fields \['more'\]"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        decode(Outer, GOOD | change, "outer")


def test_what_is_missing_is_named() -> None:
    with pytest.raises(ValueError, match=r"missing fields \['count'\]"):
        decode(Outer, {key: value for key, value in GOOD.items() if key != "count"}, "outer")
    for wrong in (None, [], "text", 3):
        with pytest.raises(ValueError, match="outer must be an object"):
            decode(Outer, wrong, "outer")
