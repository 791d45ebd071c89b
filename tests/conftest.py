"""Shared fixtures. Eight simulated devices stand in for a mesh, before any backend starts."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import gc
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import jax
import numpy as np
import pytest
from support import durations, selection
from support.fixtures_prepared import make_prepared  # noqa: F401

import iml_jax.commands  # noqa: F401  registers the gin names

jax.config.update("jax_num_cpu_devices", 8)


# XLA's flags for programs that are compiled fast and run slowly. The fusion emitters alone are three quarters
# of what compiling a train step costs (jaxlib 0.10).
QUICK_XLA_FLAGS = (
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
    "--xla_cpu_use_fusion_emitters=false",
)


def _compile_quickly() -> None:
    """Most of the suite's time would be XLA's compiler: LLVM optimises little, no program is compiled twice.

    Variables, because xdist's workers and the commands that tests start inherit them and so compute the
    same bits. The cache is new for each session unless ``IML_TEST_CACHE`` names a directory.
    """
    flags = os.environ.get("XLA_FLAGS", "").split()
    os.environ["XLA_FLAGS"] = " ".join([*flags, *(flag for flag in QUICK_XLA_FLAGS if flag not in flags)])
    # On many of Intel's, XLA refuses each program of the cache with a line on stderr (jax issue 38445).
    if "PYTEST_XDIST_WORKER" in os.environ or "AuthenticAMD" not in Path("/proc/cpuinfo").read_text():
        return
    folder = os.environ.get("IML_TEST_CACHE", "")  # for a developer who runs one file many times
    if not folder:
        folder = tempfile.mkdtemp(prefix="iml-compiled-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name, value in (
        ("jax_compilation_cache_dir", folder),
        ("jax_persistent_cache_min_compile_time_secs", 0.0),
        ("jax_persistent_cache_min_entry_size_bytes", -1),
    ):
        os.environ[name.upper()] = str(value)
        jax.config.update(name, value)


_compile_quickly()

# Random inputs repeat from run to run, so that CI fails only where the code changed; IML_TEST_SEED=$RANDOM
# draws fresh ones.
SEED = int(os.environ.get("IML_TEST_SEED", "0"))
hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=SEED == 0)
hypothesis.settings.load_profile("repeatable")


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--nightly`` and ``--strict-skips``."""
    selection.add_options(parser)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves the nightly tests out unless they are asked for; the files that take longest come first."""
    selection.deselect_nightly(config, items)
    durations.longest_first(items)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """With ``--strict-skips``: a test that is skipped for an unexpected reason fails the run."""
    selection.finish(session)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Counts the skipped tests by reason."""
    selection.summarise(terminalreporter, config)


@pytest.fixture(autouse=True)
def seeded_generators(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """``np.random.default_rng()`` without a seed takes one made of SEED and the test's name."""
    made = np.random.default_rng
    own = zlib.crc32(f"{SEED} {request.node.name}".encode())

    @functools.wraps(made)
    def default_rng(seed=None):
        return made(own if seed is None else seed)

    monkeypatch.setattr(np.random, "default_rng", default_rng)


RELEASE_ABOVE = 3 << 30  # bytes in memory


def _resident() -> int:
    """Bytes of this process that are in memory; 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture(scope="module", autouse=True)
def released_programs() -> Iterator[None]:
    """After a file, what was compiled is freed in a large worker: the suite's programs are 5 GB in each."""
    yield
    if _resident() < RELEASE_ABOVE:
        return
    jax.clear_caches()
    gc.collect()
    with contextlib.suppress(AttributeError, OSError):  # without glibc
        ctypes.CDLL(None).malloc_trim(0)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real task data (``IML_SHARED``); tests that need it skip without it."""
    folder = os.environ.get("IML_SHARED")
    if not folder or not Path(folder, "data").is_dir():
        pytest.skip("IML_SHARED does not name the folder with real task data")
    return Path(folder).resolve()
