"""Files are written, replaced and deleted in iml_jax/storage only.

Ruff's banned-api (pyproject.toml) refuses the functions of ``os``, ``shutil`` and ``tempfile``. These tests
refuse the methods of ``pathlib.Path`` and the modes of ``open``, which Ruff cannot see, and check that Ruff's
table works. Libraries that write by themselves (Orbax, safetensors, ArrayRecord, TensorBoard's writer, JAX's
compilation cache) get a directory that storage has made.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import iml_jax

PACKAGE = Path(iml_jax.__file__).parent
METHODS = {
    *("mkdir", "write_text", "write_bytes", "unlink", "rmdir", "touch", "rename"),
    *("symlink_to", "hardlink_to", "chmod", "lchmod", "truncate", "tofile"),
}
ARRAYS = {"save", "savez", "savez_compressed", "savetxt", "memmap", "open_memmap"}
MODE = re.compile(r"(?=[rwaxbtU+]*[wax+])[rwaxbtU+]{1,4}")
# Module -> (what it calls, why it may).
EXCEPTIONS: dict[str, tuple[set[str], str]] = {
    "bench/overlap_beam.py": ({"save"}, "NumPy writes into a stream of storage.writing.atomic_file"),
}


def writes(source: str) -> Iterator[tuple[int, str]]:
    """(line, name) of every call in ``source`` that changes files, other than those that Ruff finds."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        owner = node.func.value.id if method and isinstance(node.func.value, ast.Name) else ""
        # Of the `replace` methods, that of a path takes one argument, that of a str two, others keywords.
        renames = method == "replace" and len(node.args) == 1 and not node.keywords
        if method in METHODS or renames or (owner in ("np", "numpy") and method in ARRAYS):
            yield node.lineno, method
        name = node.func.id if isinstance(node.func, ast.Name) else method
        if name in ("open", "GzipFile", "FileIO"):
            arguments = [*node.args, *(one.value for one in node.keywords if one.arg in (None, "mode"))]
            inner = [leaf for one in arguments for leaf in ast.walk(one) if isinstance(leaf, ast.Constant)]
            if any(isinstance(leaf.value, str) and MODE.fullmatch(leaf.value) for leaf in inner):
                yield node.lineno, "open"


def test_no_other_package_changes_files() -> None:
    found: dict[str, set[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        module = path.relative_to(PACKAGE).as_posix()
        if not module.startswith("storage/"):
            for _, name in writes(path.read_text(encoding="utf-8")):
                found.setdefault(module, set()).add(name)
    assert found == {module: names for module, (names, _) in EXCEPTIONS.items()}


@pytest.mark.parametrize(
    "line",
    [
        "path.mkdir(parents=True)",
        "path.write_text('a')",
        "(folder / 'a').write_bytes(b'')",
        "path.unlink()",
        "part.replace(path)",
        "part.rename(path)",
        "open(path, 'w')",
        "open(path, mode='ab')",
        "path.open('r+b' if path.exists() else 'xb')",
        "gzip.open(path, 'wt')",
        "np.save(path, array)",
        "array.tofile(path)",
    ],
)
def test_a_call_that_changes_files_is_found(line: str) -> None:
    assert [number for number, _ in writes(f"\n{line}\n")] == [2]


@pytest.mark.parametrize(
    "line",
    [
        "open(path)",
        "open(path, 'rb')",
        "path.open(encoding='utf-8', newline='')",
        "archive.open('name')",
        "text.replace('a', 'b')",
        "dataclasses.replace(config, size=1)",
        "array.at[0].set(1)",
    ],
)
def test_other_calls_are_not_found(line: str) -> None:
    assert list(writes(line)) == []


@pytest.mark.parametrize(
    ("module", "text", "refused"),
    [
        ("checkpoints/planted.py", "import os\n\nos.replace('a', 'b')\n", True),
        ("checkpoints/planted.py", "from os import makedirs\n\nmakedirs('a')\n", True),
        ("data/planted.py", "import shutil\n\nshutil.rmtree('a')\n", True),
        ("planning/planted.py", "from tempfile import mkdtemp\n\nmkdtemp()\n", True),
        ("storage/planted.py", "import shutil\n\nshutil.rmtree('a')\n", False),
    ],
)
def test_ruff_refuses_the_functions(module: str, text: str, refused: bool) -> None:
    ruff = Path(sys.executable).with_name("ruff")
    done = subprocess.run(
        [ruff, "check", "--select=TID251", "--no-cache", f"--stdin-filename={PACKAGE / module}", "-"],
        cwd=PACKAGE.parent,
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ("TID251" in done.stdout, done.returncode) == (refused, int(refused)), done.stdout + done.stderr
