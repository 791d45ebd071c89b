"""Package versions and code hashes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import jax

from iml_jax.foundation import versions


def test_versions_of_installed_and_missing_packages():
    found = versions.package_versions(("jax", "no-such-package"))
    assert found == {"jax": jax.__version__, "no-such-package": versions.NOT_INSTALLED}
    assert set(versions.COMPILER) <= set(versions.TRAINING) <= set(versions.SCORING)


def test_hashes_of_folders_and_files(tmp_path):
    for name in ("a/one.py", "a/b/two.py", "c.py", "a/data.tsv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    everything = versions.code_hashes(package=tmp_path)
    assert list(everything) == ["a/b/two.py", "a/one.py", "c.py"]
    assert everything["c.py"] == hashlib.sha256(b"c.py").hexdigest()[:12]
    assert list(versions.code_hashes("a/b", "c.py", package=tmp_path)) == ["a/b/two.py", "c.py"]
    assert list(versions.code_hashes(without=("a",), package=tmp_path)) == ["c.py"]


def test_hashes_of_this_package():
    found = versions.code_hashes("foundation")
    own = Path(versions.__file__)
    assert found["foundation/versions.py"] == hashlib.sha256(own.read_bytes()).hexdigest()[:12]
    assert all(name.startswith("foundation/") for name in found)
