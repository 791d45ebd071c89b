"""Reading a checkpoint while its checksums are compared; of a damaged one the checkpoint before it."""

from __future__ import annotations

import concurrent.futures
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import jax

from iml_jax.checkpoints import in_use, inventory, locate
from iml_jax.foundation.errors import Fault, UserError
from iml_jax.parallel.hosts import first_host_does, gather_json
from iml_jax.storage import paths

T = TypeVar("T")
Log = Callable[[str], None]


class Damaged(UserError):  # noqa: N818 - as its parent
    """A checkpoint that cannot be used; ``reason`` says why without its place. Raised on every host alike."""

    def __init__(self, place: Path, reason: str) -> None:
        super().__init__(f"{place}: not a usable checkpoint: {reason}; name another checkpoint")
        self.reason = reason


def log(text: str) -> None:
    """One line on stderr, by the first host."""
    if jax.process_index() == 0:
        print(text, file=sys.stderr, flush=True)


def read_verified(place: Path, read: Callable[[Path], T], log: Log = log) -> T:
    """``read(place)``, and every file of the checkpoint compared with its checksum.

    In one process the comparison runs beside ``read``. On several hosts each compares its share first and
    all learn the outcome, because a host that fails in ``read`` would leave the others waiting in it.

    Args:
      place: the step directory.
      read: what to do with it; its result is given up where the checkpoint turns out to be damaged.
      log: takes the line about a checkpoint without checksums.

    Raises:
      Damaged: a file is missing or is not what was saved.
      UserError, Fault: of ``read``, where the files are what was saved.
    """
    with in_use.marked(place) as deleted:
        damage = deleted or locate.damage(place)
        if damage:
            raise Damaged(place, damage)
        return _read_verified(place, read, log)


def _read_verified(place: Path, read: Callable[[Path], T], log: Log) -> T:
    if jax.process_count() > 1:
        own = inventory.verify(place, jax.process_index(), jax.process_count())
        _settle(place, [inventory.Verdict(*verdict) for verdict in gather_json(own)], log)
        return read(place)
    with concurrent.futures.ThreadPoolExecutor(1, "verify") as thread:
        comparison = thread.submit(inventory.verify, place)
        try:
            value = read(place)
        except (UserError, Fault):
            _settle(place, [comparison.result()], log)  # damage explains what `read` found
            raise
        _settle(place, [comparison.result()], log)
        return value


def read_newest(path: str | Path, read: Callable[[Path], T], log: Log = log) -> T:
    """``read_verified`` of the checkpoint that ``path`` means (``locate.resolve``).

    Where ``path`` leaves the step open, a damaged checkpoint is named by ``log`` and the one before is read.

    Raises:
      UserError: no usable checkpoint there; or of ``read``.
      Fault: of ``read``.
    """
    known: dict[Path, str] = {}
    while True:
        place = Path(first_host_does(functools.partial(_resolve, path, known)))
        try:
            value = read_verified(place, read, log)
        except Damaged as damaged:
            known[place] = damaged.reason
            continue
        for newer in _passed_over(paths.absolute(path), place):
            reason = known.get(newer) or locate.damage(newer)
            log(f"checkpoint {newer} is not usable ({reason}); taking the one before")
        return value


def _resolve(path: str | Path, known: dict[Path, str]) -> str:
    return str(locate.resolve(path, known))


def _passed_over(path: Path, place: Path) -> list[Path]:
    """Newer steps than ``place``, which ``path`` was found to mean; none where it names a step."""
    if path == place or path.name == locate.BEST:
        return []
    newer = [step for step in locate.steps_on_disk(place.parent) if step > int(place.name)]
    return [place.parent / str(step) for step in reversed(newer)]


def _settle(place: Path, verdicts: list[inventory.Verdict], log: Log) -> None:
    damage = next((verdict.damage for verdict in verdicts if verdict.damage), "")
    if damage:
        raise Damaged(place, damage)
    unverified = sum(verdict.unverified for verdict in verdicts)
    if unverified:
        log(
            f"checkpoint {place} is read unverified: {unverified} of its files have no checksum (an older "
            "version saved it, or the process was killed right after)"
        )
