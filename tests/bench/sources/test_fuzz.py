"""Damaged files of every source: a clear refusal or a counted skip, whatever they hold."""

from __future__ import annotations

import collections
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.source_bases import BASES, build
from support.source_mutations import mutate
from support.source_reading import READ, REFUSED, SKIPPED, read_all

from iml_jax import cli

# Damaged files of each base: fewer where reading one takes long (Jinja up to its limits, many folders).
FILES = dict.fromkeys(BASES, 300) | {
    "Super-NaturalInstructions": 120,
    "PromptSource": 80,
    "P3": 120,
    "FLAN, rows": 80,
    "FLAN, templates.py": 80,
    "T5": 80,
    "ExMix": 120,
    "UnifiedSKG": 200,
    "Reasoning": 200,
}
MORE = int(os.environ.get("IML_FUZZ_TIMES", "1"))
SEED = int(os.environ.get("IML_TEST_SEED", "0"))
# MiB that reading any file may take: the widest text of a whole file (96 MiB, four bytes a character) beside
# its bytes and what is parsed of it, or a JSON text with as many values as are let through. Measured: 500.
_MOST = 1536
_OF_A_LINE = 160  # a line that is too long is never held whole
_HANG = 120  # seconds for one file of some hundred bytes: a guard, not a measure


@contextmanager
def _guarded() -> Iterator[None]:
    """Ends what hangs."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"no end after {_HANG} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(_HANG)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_the_fuzz_is_as_large_as_promised() -> None:
    assert sum(FILES.values()) >= 2000


@pytest.mark.parametrize("name", BASES)
def test_bases_are_read_whole(name: str, tmp_path: Path) -> None:
    """Else the damage below would be done to files that nobody reads."""
    source, _ = build(name, tmp_path)
    assert read_all(source, tmp_path) != REFUSED


@pytest.mark.parametrize("name", BASES)
def test_damaged_files(name: str, tmp_path: Path) -> None:
    source, files = build(name, tmp_path)
    draws = random.Random(int(np.random.default_rng().integers(2**32)))
    outcomes: collections.Counter[str] = collections.Counter()
    for number in range(FILES[name] * MORE):
        path = files[number % len(files)] if number < 2 * len(files) else draws.choice(files)
        content, seed = path.read_bytes(), draws.randrange(2**32)
        how = mutate(path, random.Random(seed))
        try:
            with _guarded():
                outcomes[read_all(source, tmp_path, path, strict=number % 4 == 0)] += 1
        except Exception as error:
            error.add_note(f"{path.relative_to(tmp_path)}: {how}; mutate(path, random.Random({seed}))")
            raise
        if path.is_dir():
            shutil.rmtree(path)
        path.write_bytes(content)
    print(name, dict(outcomes))
    assert outcomes.total() == FILES[name] * MORE
    assert outcomes[REFUSED] and outcomes[READ] + outcomes[SKIPPED]


_SLICE = 5  # in each run of the suite one bomb of so many; SEED says which


def test_a_slice_of_the_bombs_is_refused_in_bounded_memory(tmp_path: Path) -> None:
    bombs, _ = _read_bombs(tmp_path, _SLICE, SEED % _SLICE)
    assert len(bombs) > 60 // _SLICE


@pytest.mark.nightly(seconds=170, reason="reads every bomb; a slice of a fifth runs in the suite")
def test_all_bombs_are_refused_in_bounded_memory(tmp_path: Path) -> None:
    bombs, counted = _read_bombs(tmp_path)
    assert {bomb["base"] for bomb in bombs} == set(BASES)
    assert len(bombs) > 60
    whole = {"Super-NaturalInstructions"}  # JSON documents, which the line follows
    assert counted == set(BASES) - whole - {"FLAN, collection"}, counted  # whose lines have no task's name


def _read_bombs(folder: Path, every: int = 1, first: int = 0) -> tuple[list[dict[str, Any]], set[str]]:
    """The bombs, and the bases that counted a long row.

    They are read in a process of their own, whose memory is measured; its limit on time only ends what hangs.
    """
    tests = Path(__file__).parents[2]
    path = os.pathsep.join([str(tests), *sys.path])
    ran = subprocess.run(
        [sys.executable, str(tests / "support" / "source_bombs.py"), str(folder), str(every), str(first)],
        env=os.environ | {"PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    bombs = [json.loads(line) for line in ran.stdout.splitlines()]
    print("\n".join(map(str, sorted(bombs, key=lambda bomb: -bomb["MiB"])[:5])))
    for bomb in bombs:
        assert bomb["outcome"] in (REFUSED, SKIPPED, READ), bomb
        assert bomb["MiB"] < _MOST, bomb
    lines = [bomb for bomb in bombs if "a long line" in bomb["name"]]
    held = [bomb for bomb in lines if bomb["MiB"] >= _OF_A_LINE]
    assert not held, held
    # The file as a whole is refused, or its row is dropped and counted, or it is optional and counted.
    untold = [bomb for bomb in lines if bomb["outcome"] != REFUSED and not bomb["long"] + bomb["unused"]]
    assert not untold, untold
    return bombs, {bomb["base"] for bomb in lines if bomb["long"]}


DAMAGE = {
    "cut in a string": b'{"question": "How m',
    "a list in a list": b"[[]]",
    "UTF-16": '{"question": "q"}\n'.encode("utf-16"),
    "NULs": b"\0" * 100,
    "another type": b'{"question": ["q"], "answer": 3}\n',
    "a surrogate as a key": b'{"\\ud800\\n": 1}\n',
    "too deep": b"[" * 100_000,
}


@pytest.mark.parametrize("how", DAMAGE)
def test_the_commands_end_in_one_line(how: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``iml prepare`` with status 2 and one line that names the file, ``iml tasks --data_dir`` with a row."""
    path = tmp_path / "data" / "reasoning" / "gsm8k" / "train.jsonl"
    path.parent.mkdir(parents=True)
    path.write_bytes(DAMAGE[how])
    folder, out = path.parents[1], tmp_path / "out"
    bound = ["--gin.Mixture.name='m'", "--gin.Mixture.sources=(@Reasoning(),)"]
    bound += [f"--gin.Reasoning.data_dir='{folder}'", "--gin.Vocabulary.size=300"]
    status = cli.main(["prepare", *bound, f"--gin.Prepare.output_dir='{out}'", "--gin.Prepare.workers=1"])
    said = capsys.readouterr()
    assert status == 2, said.err
    lines = said.err.splitlines()
    assert len(lines) == 1, said.err
    assert lines[0].startswith("iml: error: ")
    assert str(path) in lines[0]
    assert cli.main(["tasks", f"--data_dir={tmp_path / 'data'}"]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines() if "gsm8k\t" in line]
    (row,) = [row for row in rows if "broken" in row]
    assert str(path) in row[-1]
