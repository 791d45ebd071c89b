from __future__ import annotations

import warnings

import pytest

from iml_jax.config.statements import MacroUse, Reference, Unparsed, read_file, read_flag, read_text
from iml_jax.foundation.errors import UserError


def refuse(text: str) -> str:
    with pytest.raises(UserError) as caught:
        read_text(text, "f.gin", None)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


def test_bindings_blocks_macros_and_references_with_their_lines():
    text = "# head\nN = 4\n\na/Toy.size = %N\n"
    text += "Run:\n  steps = 3  # three\n  sources = (\n    @a/Toy(),\n    @Toy)\n"
    macro, binding, head, steps, sources = read_text(text, "f.gin", None)
    assert macro.is_macro and macro.name == "N" and macro.value == 4 and macro.where == "f.gin:2"
    assert (binding.scope, binding.name, binding.field) == (("a",), "Toy", "size")
    assert binding.value == MacroUse("N") and binding.where == "f.gin:4"
    assert head.block and head.name == "Run" and not head.is_macro
    assert (steps.name, steps.field, steps.value, steps.where) == ("Run", "steps", 3, "f.gin:6")
    assert sources.value == (Reference(("a",), "Toy"), Reference(None, "Toy", called=False))


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("a.b = 1\na.c = foo\n", "f.gin:2:", "cannot read the value foo; a text needs quotes"),
        ("a.b = true\n", "f.gin:1:", "write True"),
        ("a.b = 1\n\na.c = (1,\n\n", "f.gin:3:", "never closed"),
        ("# one\n\n# two\na.c = [\n", "f.gin:4:", "never closed"),
        ("a.b = '''x\n", "f.gin:1:", "never closed"),
        ("a.b = 'x\n", "f.gin:1:", "syntax error"),
        ("a.b 1\n", "f.gin:1:", "expected ':' or '='"),
        ("a.b = 1 2\n", "f.gin:1:", "Expected newline"),
        ("a.b = \n", "f.gin:1:", "syntax error"),
        ("a:\nb = 1\n", "f.gin:2:", "Expected indentation"),
        ("a:\n  b = 1\n c = 2\n", "f.gin:3:", "unindent"),
        ("a.b = {[]: 1}\n", "f.gin:1:", "syntax error"),
        ("a..b = 1\n", "f.gin:1:", "syntax error"),
        ("a.b = f'{open}'\n", "f.gin:1:", "syntax error"),
        ("a.b = 1 + 1\n", "f.gin:1:", "syntax error"),
        ("a.b = __import__('os')\n", "f.gin:1:", "syntax error"),
        ("a.b = " + "[" * 40 + "]" * 40, "f.gin:1:", "nested more than 32 deep"),
        ("a.b = " + "[" * 4000 + "]" * 4000, "f.gin:1:", "nested"),
        ("a.b = 1" + "0" * 5000, "f.gin:1:", "syntax error"),
        ("a.b = '\\x00\0'", "f.gin:1:", "syntax error"),
        ("\x00", "f.gin:1:", "syntax error"),
        ("import os\n", "f.gin:1:", "may not run code"),
        ("from os import path\n", "f.gin:1:", "may not run code"),
        ("x = 1\nimport os as o\n", "f.gin:2:", "may not run code"),
        ("include 'x.gin'\n", "f.gin:1:", "not allowed here"),
        ("include x\n", "f.gin:1:", "syntax error"),
    ],
)
def test_syntax_errors_name_the_line(text, place, words):
    message = refuse(text)
    assert message.startswith(place), message
    assert words in message, message
    assert len(message) < 250


def test_backslashes_in_text_give_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_text("a.b = '\\d'", "f.gin", None)[0].value == "\\d"


def test_import_executes_nothing(tmp_path, monkeypatch):
    (tmp_path / "gin_bomb.py").write_text("raise SystemExit('ran')\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert "may not run code" in refuse("import gin_bomb\n")
    assert "may not run code" in refuse("from __gin__ import dynamic_registration\n")


def test_flag_literals_and_bare_text():
    assert read_flag("--gin.Run.steps=3").value == 3
    assert read_flag("--gin.a/Run.pair=(1, 'b')").scope == ("a",)
    assert read_flag("--gin.Run.run_dir=/tmp/x").value == Unparsed("/tmp/x")
    assert read_flag("--gin.Run.run_dir=a=b").value == Unparsed("a=b")
    assert read_flag("--gin.Run.run_dir=").value == Unparsed("")
    assert read_flag("--gin.Run.run_dir='x'").value == "x"
    assert read_flag("--gin.N=4").is_macro
    assert read_flag("--gin.Run.main=@Toy()").value == Reference(None, "Toy")


def test_flag_cannot_smuggle_a_second_statement():
    statement = read_flag("--gin.Run.steps=3\nRun.run_dir='x'")
    assert isinstance(statement.value, Unparsed) and "\n" not in statement.where


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--gin.Run.steps", "write --gin.Run.steps=VALUE"),
        ("--gin.=3", "not a gin name"),
        ("--gin.import os\nx=3", "not a gin name"),
        ("--gin.Run.main=@", "cannot be read"),
        ("--gin.Run.main=%", "cannot be read"),
        ("--gin.Run.pair=(1, 2", "never closed"),
        ("--gin.Run.mode='fast", "cannot be read"),
    ],
)
def test_flag_errors_name_the_flag(flag, words):
    with pytest.raises(UserError) as caught:
        read_flag(flag)
    message = str(caught.value)
    assert message.startswith("--gin.") and words in message and "\n" not in message


def test_files_that_cannot_be_read(tmp_path):
    bad = tmp_path / "bad.gin"
    bad.write_bytes(b"a.b = 1\na.c = '\xff'\n")
    with pytest.raises(UserError, match=r"bad\.gin:2: byte 0xff is not UTF-8"):
        read_file(bad, lambda name, where: [])
    with pytest.raises(UserError, match=r"cannot be read \(Is a directory\)"):
        read_file(tmp_path, lambda name, where: [])


def test_windows_line_ends_and_byte_order_mark(tmp_path):
    file = tmp_path / "windows.gin"
    file.write_bytes(b"\xef\xbb\xbfa.b = 1\r\na:\r\n  c = 2\r\n")
    assert [s.value for s in read_file(file, lambda name, where: []) if not s.block] == [1, 2]
