"""Paths as people write them: ``~``, ``..`` and relative ones; buckets that are not folders are refused.

The one place that turns what was given into a path: parameters of a configuration pass through ``absolute``
when it is built, arguments of the command line through ``argument``, checkpoints through
``checkpoints.locate``.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from iml_jax.foundation.errors import UserError

# As a path, ``gs://b`` is a folder ``gs:`` here: a run would look saved and be gone with the machine.
_BUCKET = re.compile(r"(gs|s3|az|hdfs):/")


def check_local(path: str | Path, what: str = "") -> None:
    """Refuses the URL of a bucket.

    Args:
      path: as given.
      what: stands before the message; the path itself where empty.

    Raises:
      UserError: it is one.
    """
    if bucket := _BUCKET.match(str(path)):
        raise UserError(
            f"{what or path}: {bucket[1]}:// is no folder; mount the bucket (docs/tpu_pods.md) and name the "
            "mounted folder"
        )


def expand(path: str | Path) -> str:
    """The path with a leading ``~`` or ``~user`` replaced by the home directory.

    Raises:
      UserError: no such home directory is known.
    """
    text = os.fspath(path)
    if not text.startswith("~"):
        return text
    found = os.path.expanduser(text)  # noqa: PTH111  pathlib's raises where there is no home directory
    if found.startswith("~"):
        raise UserError(f"{text}: no such home directory; a file of this name is written ./{text}")
    return found


def absolute(path: str | Path) -> Path:
    """The path from the root, without ``~``, ``.`` and ``..``; symbolic links stay.

    TensorStore and Orbax refuse paths with ``..``, and a relative path that is saved is wrong in every other
    working directory. ``LINK/..`` is the parent of what the link names, as the operating system has it
    (``os.path.abspath`` would take the parent of the link).

    Raises:
      UserError: no such home directory, or the working directory was removed.
    """
    place = Path(expand(path))
    if not place.is_absolute():
        try:
            place = Path.cwd() / place
        except FileNotFoundError:
            raise UserError(f"{path}: the working directory is gone; give an absolute path") from None
    found = Path(place.anchor)
    for part in place.parts[1:]:
        if part != "..":
            found /= part
        else:
            found = (Path(os.path.realpath(found)) if found.is_symlink() else found).parent
    return found


def argument(text: str) -> str:
    """A path of the command line (the ``type`` of its argparse argument): ``~`` replaced, "" left alone.

    Raises:
      UserError: a bucket, or no such home directory.
    """
    check_local(text)
    return expand(text)


def required_argument(text: str) -> str:
    """As ``argument``, for a path that cannot be left out.

    Raises:
      UserError: also where it is empty, which would mean the working directory.
    """
    if not text:
        raise UserError('an empty path ("") was given; write . for the working directory')
    return argument(text)
