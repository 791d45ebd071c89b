"""Finds checkpoints on disk, and distinguishes a finished one from what a crash left behind."""

from __future__ import annotations

import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from iml_jax.checkpoints import best, inventory, places
from iml_jax.checkpoints.metadata import check_metadata
from iml_jax.foundation.errors import Fault, UserError
from iml_jax.storage import paths
from iml_jax.storage.reading import read_json

FOLDER = "checkpoints"
BEST = "best"
TOKENIZER = "tokenizer"
COMMIT_MARKER = "commit_success.txt"  # Orbax writes it last, into each item and into the step
_NONE: Mapping[Path, str] = types.MappingProxyType({})
_REQUIRED_JSON = ("_CHECKPOINT_METADATA", "state/_METADATA", "metadata/metadata")
_REQUIRED = (COMMIT_MARKER, f"state/{COMMIT_MARKER}", f"metadata/{COMMIT_MARKER}", "state/manifest.ocdbt")


def damage(step_directory: Path) -> str:
    """Why this directory is no usable checkpoint; ``""`` if it is one.

    Looks at commit markers, at the small JSON files and, where an inventory was written after the
    commit, at the size of every file. It does not read the arrays; ``verifying.read_newest`` does.
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
            read_json(step_directory / name)
        except (UserError, Fault):
            return f"it is damaged ({name} is missing or no JSON)"
    return inventory.compare_sizes(step_directory)


def steps_on_disk(folder: Path) -> list[int]:
    """Numbers of the step directories in ``RUN/checkpoints``, ascending, usable or not."""
    if not folder.is_dir():
        return []
    return sorted(int(entry.name) for entry in folder.iterdir() if entry.is_dir() and entry.name.isdecimal())


def latest_usable(folder: Path, known: Mapping[Path, str] = _NONE) -> tuple[int | None, dict[int, str]]:
    """The newest usable step in ``RUN/checkpoints`` and why each newer one is not.

    ``known``: steps whose damage was found already, and what it is.
    """
    refused: dict[int, str] = {}
    for step in reversed(steps_on_disk(folder)):
        place = folder / str(step)
        reason = known.get(place) or damage(place)
        if not reason:
            return step, refused
        refused[step] = reason
    return None, refused


def resolve(path: str | Path, known: Mapping[Path, str] = _NONE) -> Path:
    """The step directory meant by RUN (its newest usable one), RUN/best, RUN/checkpoints[/STEP].

    ``known`` as for ``latest_usable``.

    Raises:
      UserError: nothing there, no checkpoint in it, or the one named is unfinished or damaged.
    """
    place = paths.absolute(path)
    places.check_readable(place)
    if place.name == BEST and not place.exists() and (place.parent / FOLDER).is_dir():
        chosen = best.read(place.parent)
        if chosen is None:
            raise UserError(
                f"{path}: no evaluation has chosen a best checkpoint yet; `iml train` does with "
                "Train.evaluate_every"
            )
        return resolve(place.parent / FOLDER / str(chosen.step), known)
    if not place.exists():
        raise UserError(f"{path}: no such run or checkpoint")
    folder = place / FOLDER if (place / FOLDER).is_dir() else place
    if folder.name != FOLDER and not steps_on_disk(folder):
        reason = known.get(folder) or damage(folder)
        if not reason:
            return folder
        if folder.name.isdecimal() or ".orbax-checkpoint-tmp" in folder.name:
            raise UserError(f"{path}: not a usable checkpoint: {reason}")
        raise UserError(f"{path}: neither a run (no {FOLDER}/ in it) nor a checkpoint")
    step, refused = latest_usable(folder, known)
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


def data_state(step_directory: Path) -> Path:
    """The file with the state of the data iterator, as Orbax lays it out: one JSON object."""
    return step_directory / "data" / "metadata"


def read_metadata(step_directory: Path) -> dict[str, Any]:
    """The ``metadata`` item of a checkpoint, without touching its arrays.

    Raises:
      UserError: it cannot be read, or is of another format.
    """
    metadata = read_json(step_directory / "metadata" / "metadata")
    check_metadata(metadata, str(step_directory))
    return metadata
