"""What others wrote reaches a terminal as text only, and data as it is."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

from iml_jax import cli
from iml_jax.foundation import printing
from iml_jax.foundation.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = "a\x1b]0;title\x07b\x9b31mc\u202ed\u2066e\u2028f\ud83dg\rh\x7f"


def test_nothing_that_a_terminal_obeys_is_left() -> None:
    every = "".join(map(chr, range(0x2100))) + "\ud800\udfff\U0001f600\u3000\ufeff"
    shown = printing.printable(every)
    assert not {unicodedata.category(one) for one in shown} & {"Cc", "Cs", "Zl", "Zp"}
    assert not set(shown) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
    for kept in ("é", "\u00a0", "\u200d", "\u0627", "\U0001f600", "\u3000"):
        assert kept in shown
    assert printing.printable("a\n\tb\r", keep="\n\t") == "a\n\tb\\r"
    assert printing.printable(HOSTILE).startswith("a\\x1b]0;title\\x07b\\x9b31mc\\u202ed")


def test_messages_are_one_line_of_glyphs() -> None:
    for error in (UserError(f"x.json: {HOSTILE}\n\u200b"), UserError(HOSTILE * 1000)):
        assert str(error).isprintable() and len(str(error)) < 3000
    assert printing.one_line("a\n b\u200b") == "a b\\u200b"


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1", "UTF8"])
def test_json_lines_are_exact_in_any_encoding(encoding: str) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    record = {"prompt": HOSTILE + "é\U0001f600", "n": 1}
    line = printing.json_line(record, stream)
    line.encode(encoding)
    assert json.loads(line) == record and line.splitlines() == [line] and "\x7f" not in line
    assert ("é" in line) == (encoding in ("utf-8", "UTF8"))
    with pytest.raises(ValueError, match="not JSON compliant"):
        printing.json_line({"x": float("nan")}, stream)


def test_a_stream_that_is_not_utf8(tmp_path: Path) -> None:
    folder = tmp_path / "café-任务"
    folder.mkdir()
    (folder / "._x.json").write_bytes(b"\x92")
    task = {
        "Categories": ["QAé"],
        "Definition": ["Do \x1b[31m é."],
        "Instances": [{"input": "i", "output": "o"}],
    }
    (folder / "task1_é.json").write_text(json.dumps(task))
    bound = ["--gin.Mixture.name=m", "--gin.Mixture.sources=(@SuperNaturalInstructions(),)"]
    bound += [f"--gin.SuperNaturalInstructions.data_dir='{folder}'"]
    for show in ([], ["--show=1"]):
        ran = subprocess.run(
            [sys.executable, "-m", "iml_jax.cli", "tasks", *bound, *show],
            env=os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONPATH": str(ROOT)},
            capture_output=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        assert ran.stdout.isascii() and b"\x1b" not in ran.stdout and b"\\xe9" in ran.stdout
    assert b"\\x1b[31m" in ran.stdout


def test_arguments_that_are_not_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["generate", "run", "--prompt", os.fsdecode(b"caf\xe9")]) == 2
    assert capsys.readouterr().err == (
        "iml: error: argument 'caf\\udce9' is not valid Unicode; rename the file, or type it again\n"
    )
