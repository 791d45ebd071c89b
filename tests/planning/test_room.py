from __future__ import annotations

import dataclasses
import random
import re

import pytest

from iml_jax.planning import format, room

GIB = 1024**3
# OPT-175B's step of 768 rows on v6e:16x16, as libtpu 0.0.42.1 left it. ``temporaries`` of ``memory_analysis``
# made 32.63 of 31.25 GiB, for a program that the compiler accepts.
ISSUE = {
    "status": "compiled",
    "assigned": {"arguments": 8368441344, "temporaries": 21342748832, "outputs": 2848, "constants": 48640},
    "memory": {
        "arguments": 8368441344, "outputs": 8368280352, "aliased": 8368277504, "temporaries": 26629937760,
        "code": 39392768, "peak": 29581138208, "host": 0,
    },
}  # fmt: skip


def judged(result, usable):
    return {**result, "room": dataclasses.asdict(room.of(result, usable))}


def test_the_verdict_is_the_sum_of_the_compilers_buffer_assignment():
    found = judged(ISSUE, 31.25)
    assert room.verdict(found) == "fits: 27.71 of 31.25 GiB a device, 3.54 GiB to spare"
    assert room.account(found) == [
        "arithmetic: arguments 7.79 + temporaries 19.88 + outputs 0.00 + constants 0.00 + code 0.04 = "
        "27.71 GiB a device, the compiler's buffer assignment and code",
        "compiler: accepts it; the peak of its live values and code is 27.55 GiB",
    ]
    assert found["room"]["needed_gib"] == sum(found["room"]["parts"].values())


def test_what_the_compiler_refuses_has_the_compilers_number():
    refused = {**ISSUE, "status": "does_not_fit", "needed_gib": 48.83, "available_gib": 31.2}
    found = judged(refused, 31.25)
    said = "DOES NOT FIT: 48.83 of 31.20 GiB a device, 17.63 GiB too many (the compiler refuses it)"
    assert room.verdict(found) == said and not room.fits(found)
    assert room.account(found)[1] == "compiler: refuses it, naming 48.83 GiB of 31.20"
    assert room.too_many(found) == pytest.approx(17.63)


def test_without_a_limit_nothing_is_said_to_fit():
    found = judged(ISSUE, None)
    assert room.verdict(found) == "compiles; 27.71 GiB a device"
    assert room.fits(found) and found["room"]["fits"] is None


def test_without_sums_it_only_compiles():
    assert room.of({"status": "compiled", "memory": {}}, 31.25) is None
    assert room.verdict({"status": "compiled"}) == "compiles"
    assert room.account({"status": "compiled"}) == []


def test_no_verdict_says_fits_with_too_little_room():
    numbers = random.Random(random.random())
    both = set()
    for _ in range(500):
        assigned = {name: int(numbers.uniform(0, 12) * GIB) for name in ISSUE["assigned"]}
        status = numbers.choice(["compiled", "compiled", "does_not_fit"])
        result = {**ISSUE, "status": status, "assigned": assigned}
        if status == "does_not_fit":
            result |= {
                "needed_gib": numbers.choice([31.25, numbers.uniform(31.25, 40)]),
                "available_gib": 31.25,
            }
        said = room.verdict(judged(result, numbers.choice([31.25, numbers.uniform(1, 60)])))
        needed, usable, spare = map(float, re.findall(r"(-?[\d.]+) (?:of|GiB)", said))
        assert spare >= 0 and spare == pytest.approx(abs(usable - needed), abs=0.011)
        assert said.startswith("fits") == (needed <= usable and status == "compiled") or needed == usable
        both.add(said[:4])
    assert both == {"fits", "DOES"}


def test_the_verdicts_stand_together_with_advice_and_reasons():
    fits, fails = judged(ISSUE, 31.25), judged(ISSUE, 20.0) | {"advice": ["--gin.Model.remat=full: less"]}
    broken = {"status": "failed", "reason": "it broke"}
    lines = format.verdicts({"train": fails, "score": fits, "decode": broken})
    assert lines[:2] == [
        "verdict",
        "  train step: DOES NOT FIT: 27.71 of 20.00 GiB a device, 7.71 GiB too many "
        "(compiled, but too large)",
    ]
    assert "    might fit with --gin.Model.remat=full: less" in lines
    assert "  evaluation: scoring options: fits: 27.71 of 31.25 GiB a device, 3.54 GiB to spare" in lines
    assert lines[-1] == "  evaluation: writing answers: failed: it broke"
