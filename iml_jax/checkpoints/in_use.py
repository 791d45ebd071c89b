"""Checkpoints that somebody reads are not deleted by the run that goes on training.

A reader holds a mark of its own, ``RUN/.readers/STEP.TOKEN.lease``, while it works; the mark is a lease, so
that a reader that died keeps nothing for longer than its time. Before the run deletes it names the steps in
``RUN/.readers/deleting.json`` and then looks for marks; a reader makes its mark and then looks into that
file. Of the two at least one sees the other.
"""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import orbax.checkpoint as ocp

from iml_jax.checkpoints import locate
from iml_jax.foundation.errors import Fault, UserError
from iml_jax.parallel.hosts import first_host_does
from iml_jax.storage import holders, lease
from iml_jax.storage.conditional import ConditionalFile
from iml_jax.storage.reading import read_json
from iml_jax.storage.writing import delete, write_atomically

TRAINING_LEASE = ".training.lease"
FOLDER = ".readers"
DELETING = "deleting.json"


BEING_DELETED = "the run that trains is deleting it (Checkpoints.keep)"


@contextlib.contextmanager
def marked(place: Path) -> Iterator[str]:
    """Marks a step directory as read while the body runs; every process of a job must call.

    A checkpoint that stands alone or cannot be written beside (a read-only run) gets no mark: nobody who
    deletes there could be told.

    Yields:
      "", or why it must not be read: its run is deleting it just now.
    """
    with contextlib.ExitStack() as stack:

        def mark() -> str:
            if place.parent.name != locate.FOLDER:
                return ""
            file = place.parent.parent / FOLDER / f"{place.name}.{secrets.token_hex(8)}.lease"
            with contextlib.suppress(UserError, Fault):
                stack.enter_context(lease.hold(file, f"checkpoint {place}"))
            return BEING_DELETED if _is_deleted(place) else ""

        yield first_host_does(mark)


def _is_deleted(place: Path) -> bool:
    run_dir = place.parent.parent
    try:
        deleting = read_json(run_dir / FOLDER / DELETING)
    except UserError:
        return False
    if not (isinstance(deleting, list) and int(place.name) in deleting):
        return False
    trainer = ConditionalFile(run_dir / TRAINING_LEASE).read()  # a killed run deletes nothing more
    holder = holders.parse(trainer.content) if trainer else None
    return trainer is not None and (holder is None or holder.state() != "ended")


class NotInUse(ocp.checkpoint_managers.PreservationPolicy):
    """Orbax's rule of what stays on disk: what ``inner`` keeps, and the steps that somebody reads."""

    def __init__(self, run_dir: Path, inner: ocp.checkpoint_managers.PreservationPolicy) -> None:
        self._folder, self._inner = run_dir / FOLDER, inner
        self._marks = lease.Sightings()

    def should_preserve(
        self,
        checkpoints: Sequence[ocp.checkpoint_managers.PolicyCheckpointInfo],
        *,
        context: ocp.checkpoint_managers.PreservationContext,
    ) -> Sequence[bool]:
        """One answer a checkpoint; every process must call."""
        kept = self._inner.should_preserve(checkpoints, context=context)
        dropped = [one.step for one, stays in zip(checkpoints, kept, strict=True) if not stays]
        if not dropped:
            return kept
        read = first_host_does(lambda: self._read_steps(dropped))
        return [stays or one.step in read for one, stays in zip(checkpoints, kept, strict=True)]

    def _read_steps(self, dropped: list[int]) -> list[int]:
        write_atomically(self._folder / DELETING, json.dumps(dropped) + "\n")
        read = set()
        for file in self._folder.iterdir():
            step = file.name.partition(".")[0]
            if file.suffix == ".lease" and step.isdecimal() and int(step) in dropped:
                if self._marks.alive(ConditionalFile(file)):
                    read.add(int(step))
                else:
                    with contextlib.suppress(OSError):
                        delete(file)
        if read:  # others may begin to read these
            remaining = [step for step in dropped if step not in read]
            write_atomically(self._folder / DELETING, json.dumps(remaining) + "\n")
        return sorted(read)


def end_deleting(run_dir: Path) -> None:
    """The run deletes nothing more: call it when the deletions decided on are done."""
    if jax.process_index() == 0:
        with contextlib.suppress(OSError):
            delete(run_dir / FOLDER / DELETING)
