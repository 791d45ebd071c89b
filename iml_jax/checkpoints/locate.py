"""Finding checkpoints on disk, and telling a finished one from what a crash left behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from iml_jax.checkpoints import best
from iml_jax.errors import Fault, UserError
from iml_jax.storage import paths

FOLDER = "checkpoints"
BEST = "best"
TOKENIZER = "tokenizer"
COMMIT_MARKER = "commit_success.txt"  # Orbax writes it last, into each item and into the step
INVENTORY = "inventory.json"
_REQUIRED_JSON = ("_CHECKPOINT_METADATA", "state/_METADATA", "metadata/metadata")
_REQUIRED = (COMMIT_MARKER, f"state/{COMMIT_MARKER}", f"metadata/{COMMIT_MARKER}", "state/manifest.ocdbt")


def damage(step_directory: Path) -> str:
    """Why this directory is no usable checkpoint; ``""`` if it is one.

    Looks at commit markers, at the small JSON files and, where an inventory was written after the
    commit, at the size of every file. It does not read the arrays.
    """
    if not step_directory.is_dir():
        return "there is no such directory"
    if not step_directory.name.isdecimal():
        return "its name is not a number of updates (an unfinished save has a longer name)"
    for name in _REQUIRED:
        if not (step_directory / name).is_file():
            what = "its save was never finished" if name == COMMIT_MARKER else "it is damaged"
            return f"{what} ({name} is missing)"
    for name in _REQUIRED_JSON:
        try:
            json.loads((step_directory / name).read_text("utf-8"))
        except (OSError, ValueError):
            return f"it is damaged ({name} is missing or no JSON)"
    return _compare_inventory(step_directory)


def write_inventory(step_directory: Path) -> None:
    """Records the size of every file of a committed checkpoint, so that a later loss is noticed."""
    sizes = {
        file.relative_to(step_directory).as_posix(): file.stat().st_size
        for file in sorted(step_directory.rglob("*"))
        if file.is_file() and file.name != INVENTORY
    }
    temporary = step_directory / f"{INVENTORY}.tmp"
    temporary.write_text(json.dumps(sizes, indent=1) + "\n", "utf-8")
    temporary.replace(step_directory / INVENTORY)


def _compare_inventory(step_directory: Path) -> str:
    inventory = step_directory / INVENTORY
    if not inventory.is_file():  # killed between the commit and the inventory: still a whole checkpoint
        return ""
    try:
        sizes = json.loads(inventory.read_text("utf-8"))
        for name, size in sizes.items():
            file = step_directory / name
            found = file.stat().st_size if file.is_file() else None
            if found != size:
                return f"it is damaged ({name} has {found if found is not None else 'no'} bytes of {size})"
    except (OSError, ValueError, AttributeError):
        return f"it is damaged ({INVENTORY} cannot be read)"
    return ""


def steps_on_disk(folder: Path) -> list[int]:
    """Numbers of the step directories in ``RUN/checkpoints``, ascending, usable or not."""
    if not folder.is_dir():
        return []
    return sorted(int(entry.name) for entry in folder.iterdir() if entry.is_dir() and entry.name.isdecimal())


def latest_usable(folder: Path) -> tuple[int | None, dict[int, str]]:
    """The newest usable step in ``RUN/checkpoints`` and why each newer one is not."""
    refused: dict[int, str] = {}
    for step in reversed(steps_on_disk(folder)):
        reason = damage(folder / str(step))
        if not reason:
            return step, refused
        refused[step] = reason
    return None, refused


def resolve(path: str | Path) -> Path:
    """The step directory meant by RUN (its newest usable one), RUN/best, RUN/checkpoints[/STEP].

    Raises:
      UserError: nothing there, no checkpoint in it, or the one named is unfinished or damaged.
    """
    place = paths.absolute(path)
    if place.name == BEST and not place.exists() and (place.parent / FOLDER).is_dir():
        known = best.read(place.parent)
        if known is None:
            raise UserError(
                f"{path}: no evaluation has chosen a best checkpoint yet; `iml train` does with "
                "Train.evaluate_every"
            )
        return resolve(place.parent / FOLDER / str(known.step))
    if not place.exists():
        raise UserError(f"{path}: no such run or checkpoint")
    folder = place / FOLDER if (place / FOLDER).is_dir() else place
    if folder.name != FOLDER and not steps_on_disk(folder):
        reason = damage(folder)
        if not reason:
            return folder
        if folder.name.isdecimal() or ".orbax-checkpoint-tmp" in folder.name:
            raise UserError(f"{path}: not a usable checkpoint: {reason}")
        raise UserError(f"{path}: neither a run (no {FOLDER}/ in it) nor a checkpoint")
    step, refused = latest_usable(folder)
    if step is None:
        detail = "; ".join(f"{number}: {reason}" for number, reason in refused.items())
        raise UserError(f"{path}: holds no finished checkpoint" + (f" ({detail})" if detail else ""))
    return folder / str(step)


def tokenizer_of(step_directory: Path) -> Path:
    """The tokenizer directory of the run that a step directory belongs to.

    Raises:
      UserError: the checkpoint stands alone, without its run's ``tokenizer/``.
    """
    folder = step_directory.parent.parent / TOKENIZER
    if not folder.is_dir():
        raise UserError(f"{step_directory}: {folder} is missing; copy the run's {TOKENIZER}/ there")
    return folder


def read_metadata(step_directory: Path) -> dict[str, Any]:
    """The ``metadata`` item of a checkpoint, without touching its arrays.

    Raises:
      Fault: it cannot be read.
    """
    try:
        return json.loads((step_directory / "metadata" / "metadata").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise Fault(f"{step_directory}: cannot read its metadata: {error}") from error
