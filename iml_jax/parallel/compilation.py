"""JAX's persistent compilation cache: a second run of the same shape loads its programs from disk."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import filelock
import jax

from iml_jax.config.paths import OptionalPath
from iml_jax.foundation.errors import UserError
from iml_jax.storage import local
from iml_jax.storage.paths import absolute, check_local
from iml_jax.storage.writing import delete

_LOCK = ".lockfile"  # JAX's name for it; it locks each read and write of a cache with a limit on its size
_LOCK_SECONDS = 10.0
_ENTRY, _USED = "-cache", "-atime"  # the suffixes of JAX's two files an entry


@dataclasses.dataclass(frozen=True)
class CompilationConfig:
    """Where compiled programs are kept between runs; gin name ``Compilation``.

    The variable ``JAX_COMPILATION_CACHE_DIR`` has precedence: where it is set, all is as JAX's own settings
    say. On CPUs of Intel nothing is kept unless ``cache_dir`` is set: there XLA refuses many programs that it
    has kept, each with a line of its own (jax issue 38445).
    """

    cache: bool = dataclasses.field(
        default=True, metadata={"help": "keep compiled programs and use those kept."}
    )
    cache_dir: OptionalPath = dataclasses.field(
        default="",
        metadata={
            "help": "a folder that nobody else can write, as what it holds is executed; empty means "
            "``iml_jax/compiled`` in ``$XDG_CACHE_HOME`` or ``~/.cache``."
        },
    )
    cache_gib: float = dataclasses.field(
        default=4.0,
        metadata={
            "help": "largest size of the folder in GiB; programs that were not used for the longest time go."
        },
    )

    def __post_init__(self) -> None:
        if not 0 < self.cache_gib < float("inf"):
            raise UserError(f"Compilation.cache_gib = {self.cache_gib}: must be more than 0 GiB")
        check_local(self.cache_dir, "Compilation.cache_dir")


def _print(text: str) -> None:
    print(f"note: {text}", file=sys.stderr, flush=True)


def use_cache(config: CompilationConfig, log: Callable[[str], None] = _print) -> Path | None:
    """Switches the cache on for this process, as ``config`` says; several processes may share one.

    To be called after the process has joined its job: it asks JAX for the kind of device.

    Args:
      config: see there.
      log: gets one line where the folder cannot be used; the programs are then compiled as without a cache.

    Returns:
      The folder, or None where this call switched nothing on.
    """
    if not config.cache or jax.config.jax_compilation_cache_dir:  # type: ignore[attr-defined]
        return None
    processor = _processor()
    if not config.cache_dir and jax.default_backend() == "cpu" and "GenuineIntel" in processor:
        return None
    # Programs for a CPU hold its instructions, and a home directory may be shared by unlike machines.
    kind = hashlib.sha256(processor.encode()).hexdigest()[:12]
    try:
        folder = _base(config) / kind
        local.make_directory(folder, 0o700)
        if not config.cache_dir:
            _check_private(folder)
        with local.temporary_file(folder):
            pass
        _remove_unfinished(folder)
    except (OSError, RuntimeError) as error:  # RuntimeError: no home directory
        reason = getattr(error, "strerror", None) or error
        where = config.cache_dir or "the default folder of Compilation.cache_dir"
        log(f"{where}: cannot be used ({reason}); compiled programs are not kept for the next run")
        return None
    for name, value in (
        ("jax_compilation_cache_max_size", int(config.cache_gib * 2**30)),
        ("jax_persistent_cache_min_compile_time_secs", 0.0),  # a start has many small programs
        ("jax_compilation_cache_dir", str(folder)),
    ):
        if name.upper() not in os.environ:
            jax.config.update(name, value)
    return folder


def _base(config: CompilationConfig) -> Path:
    if config.cache_dir:
        return absolute(config.cache_dir)
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The specification of XDG_CACHE_HOME has relative paths ignored.
    return (given if given.is_absolute() else Path.home() / ".cache") / "iml_jax" / "compiled"


def _processor() -> str:
    """The model and the instructions of this machine's CPU; the architecture where Linux names none."""
    names = ("vendor_id", "model name", "flags", "Features", "CPU implementer", "CPU part")
    found = {os.uname().machine}
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith(names):
                found.add(line)
    except OSError:
        pass
    return "\n".join(sorted(found))


def _check_private(folder: Path) -> None:
    """Whoever can write the cache can make this process execute anything.

    Raises:
      PermissionError: others can.
    """
    found = folder.stat()
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o022:
        raise PermissionError(f"{folder} can be written by another user; chmod 700 it")


def _remove_unfinished(folder: Path) -> None:
    """Removes entries that a killed process left unfinished.

    JAX writes the entry and then the file of its last use, under a lock. An entry without the latter is
    perhaps cut short, and JAX neither replaces it nor writes anything beside it.

    Raises:
      OSError: the folder cannot be read, or another process held the lock for long.
    """
    with filelock.FileLock(folder / _LOCK, timeout=_LOCK_SECONDS):
        names = {place.name for place in folder.iterdir()}
        for name in names:
            if name.endswith(_ENTRY) and name.removesuffix(_ENTRY) + _USED not in names:
                delete(folder / name)
