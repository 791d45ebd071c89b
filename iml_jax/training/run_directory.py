"""The run directory: what a run leaves behind so that it can be read, resumed and explained."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jax

from iml_jax.checkpoints.in_use import TRAINING_LEASE
from iml_jax.data.tokenizer import Tokenizer
from iml_jax.foundation import versions
from iml_jax.foundation.errors import Fault, UserError
from iml_jax.parallel.hosts import first_host_does
from iml_jax.storage import lease, local, ownership
from iml_jax.storage.reading import read_json, read_text
from iml_jax.storage.writing import check_writable, write_atomically

CONFIG = "config.gin"


def environment() -> dict[str, object]:
    """Versions, devices, host and command line of this process."""
    return {
        "python": versions.python_version(),
        "platform": platform.platform(),
        "host": platform.node(),
        "command": sys.argv,
        "commit": _commit(),
        "devices": [str(device) for device in jax.devices()],
        "processes": jax.process_count(),
        "packages": versions.package_versions(versions.TRAINING),
    }


def _commit() -> str:
    """The checkout's commit, with ``+changes`` if it differs; empty outside a checkout."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
        status = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head.stdout.strip() + ("+changes" if status.stdout.strip() else "")


@dataclasses.dataclass(frozen=True)
class Held:
    """The training state of a run, held by this job alone; of several hosts the first has the lease."""

    lease: lease.Lease | None

    def check_here(self) -> None:
        """Before the first host writes a line: the run is still this job's.

        Raises:
          Fault: it was taken over.
        """
        if self.lease is not None:
            self.lease.check()

    def check(self) -> None:
        """The same, before what all hosts write together; every process must call.

        Raises:
          Fault: it was taken over; on every host.
        """
        first_host_does(self.check_here)


@contextlib.contextmanager
def exclusive(run_dir: Path) -> Iterator[Held]:
    """Holds the training state of a run; every process must call.

    Raises:
      UserError: another job trains it, or it is no directory for a run; on every host.
      Fault: the disk refuses.
    """
    with contextlib.ExitStack() as stack:
        taken: list[lease.Lease] = []

        def take() -> None:
            check_free(run_dir)
            taken.append(stack.enter_context(lease.hold(run_dir / TRAINING_LEASE, f"the run {run_dir}")))

        first_host_does(take)
        yield Held(taken[0] if taken else None)


def check_free(run_dir: Path) -> None:
    """Checks that ``run_dir`` is missing, empty, or a run.

    Raises:
      UserError: it is somebody else's directory.
    """
    ownership.check_given(str(run_dir), "Train.run_dir")
    ownership.check_own(run_dir, "run", "Train.run_dir", lambda folder: (folder / CONFIG).is_file())


def check_run(run_dir: Path, prepared_dir: Path, manifest_fingerprint: str) -> str:
    """Checks, before anything is written, that ``run_dir`` can hold this run.

    Args:
      run_dir: where; may be missing.
      prepared_dir: what is trained on.
      manifest_fingerprint: of the prepared manifest.

    Returns:
      The config of the process that ran here before; empty for a new run.

    Raises:
      UserError: ``run_dir`` holds something else, or was begun on other prepared data.
    """
    if not (prepared_dir / "tokenizer" / "vocab.json").is_file():
        raise UserError(f"{prepared_dir}: holds no tokenizer/vocab.json; run `iml prepare` again")
    saved_config = run_dir / CONFIG
    check_writable(saved_config, "choose another Train.run_dir")
    check_free(run_dir)
    if not saved_config.exists():
        return ""
    copy = run_dir / "manifest.json"
    try:
        known = read_json(copy)["fingerprint"]
    except (KeyError, TypeError) as error:
        raise UserError(f"{copy}: cannot be read ({error}); copy it from {prepared_dir}") from error
    if known != manifest_fingerprint:
        raise UserError(
            f"{run_dir}: was begun on prepared data {known[:12]}, but {prepared_dir} is "
            f"{manifest_fingerprint[:12]}; give the old Train.prepared_dir or a new Train.run_dir"
        )
    return read_text(saved_config)


def write_run(run_dir: Path, prepared_dir: Path, resolved: str, tokenizer: Tokenizer) -> None:
    """Writes what explains a run: manifest, tokenizer, environment, resolved config.

    The manifest is copied and the tokenizer written again, so that the run can be read when the prepared
    files are gone. Nothing else that lies in the prepared directory is copied.

    Raises:
      Fault: the disk refuses.
    """
    ownership.claim(run_dir, "run")
    try:
        write_atomically(run_dir / "manifest.json", read_text(prepared_dir / "manifest.json"))
        if not (run_dir / "tokenizer").exists():
            tokenizer.save(run_dir / "tokenizer.tmp")
            local.replace_directory(run_dir / "tokenizer.tmp", run_dir / "tokenizer")
    except OSError as error:
        raise Fault(f"{run_dir}: cannot be written ({error.strerror or error})") from error
    write_atomically(run_dir / "environment.json", json.dumps(environment(), indent=2) + "\n")
    # Last: config.gin is what marks the directory as a run.
    write_atomically(run_dir / CONFIG, resolved)
