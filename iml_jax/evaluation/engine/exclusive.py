"""Locks: one process at a time writes a result or a page, and replaces only files of this project."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from iml_jax.foundation.errors import UserError
from iml_jax.storage import lease, ownership
from iml_jax.storage.reading import open_binary

_KEYS = {"format", "metadata", "tasks"}  # of an evaluation
PAGE_START = b"<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"


@contextlib.contextmanager
def held_result(
    file: Path, *, patient: bool = False, log: Callable[[str], None] = lease.tell
) -> Iterator[Callable[[], None]]:
    """Holds the lease of one evaluation (its result file); every process must call, the first one takes it.

    Args:
      file: the result file; its predictions and partial results belong to it.
      patient: wait for the other process instead of refusing.
      log: receives the line that reports the wait.

    Yields:
      The check to make before results are saved; it raises a Fault where another process took over.

    Raises:
      UserError: another process makes this evaluation.
      Fault: the disk refuses.
    """
    from iml_jax.parallel.hosts import first_host_does  # brings JAX, which a report does without

    with contextlib.ExitStack() as stack:
        taken: list[lease.Lease] = []

        def take() -> None:
            name = file.with_name(f".{file.stem}.lease")
            what = f"the evaluation {file}"
            taken.append(stack.enter_context(lease.hold(name, what, patient=patient, log=log)))

        first_host_does(take)
        yield taken[0].check if taken else lambda: None


@contextlib.contextmanager
def held_page(page: Path, *, patient: bool = False) -> Iterator[lease.Lease]:
    """Holds a page that one process writes.

    Raises:
      UserError: another process writes it.
      Fault: the disk refuses.
    """
    with lease.hold(page.with_name(f".{page.name}.lease"), f"the page {page}", patient=patient) as held:
        yield held


def check_page(page: Path) -> None:
    """Refuses to replace a file that is no page of this project.

    Raises:
      UserError: it was not written by this project.
    """
    if not page.exists():
        return
    with open_binary(page) as stream:
        start = stream.read(len(PAGE_START))
    if start and start != PAGE_START:
        raise UserError(f"{page}: exists and is no page of iml_jax; nothing was written; name another file")


def check_result(file: Path) -> None:
    """Refuses to replace a file that is no evaluation.

    Raises:
      UserError: it was not written by this project, or cannot be read.
    """
    ownership.check_record(file, _KEYS.issubset, "evaluation", "--output")
