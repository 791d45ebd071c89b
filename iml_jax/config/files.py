"""Finds gin files and follows their includes."""

from __future__ import annotations

from pathlib import Path

import iml_jax
from iml_jax.config.statements import Statement, read_file
from iml_jax.foundation.errors import UserError
from iml_jax.foundation.suggestions import nearest
from iml_jax.storage import paths


def gin_folders() -> tuple[Path, ...]:
    """The folder of the gin files that come with the package."""
    return (Path(iml_jax.__file__).resolve().parent / "gin",)


def find(name: str, where: str = "", beside: Path | None = None) -> Path:
    """The first existing file called ``name``.

    Looks beside the including file, in the current directory, then in the shipped ``gin`` folder, whose
    own name may be given or left out (``gin/models/opt_125m.gin`` = ``models/opt_125m.gin``).

    Args:
      name: as given, absolute or relative.
      where: the place of the include, for the message.
      beside: the folder of the including file.

    Raises:
      UserError: there is none; names the nearest shipped file.
    """
    roots = [root for root in (beside, Path()) if root is not None]
    for folder in gin_folders():
        roots += [folder, *([folder.parent] if Path(name).parts[:1] == ("gin",) else [])]
    for root in roots:
        candidate = root / paths.expand(name)
        try:
            if candidate.is_file():
                return candidate
        except (OSError, ValueError):  # a name too long, or with a null byte, is the name of no file
            break
    shipped = [str(file.relative_to(folder)) for folder in gin_folders() for file in folder.rglob("*.gin")]
    here = [str(file) for file in Path().glob("*.gin")]
    wanted = name.removeprefix("gin/")
    advice = nearest(wanted, [*here, *shipped])
    if not advice:
        advice = nearest(Path(wanted).name, [Path(file).name for file in (*here, *shipped)])
    prefix = f"{where}: " if where else ""
    searched = (
        "the current directory and gin/"
        if beside is None
        else "its own folder, the current directory and gin/"
    )
    raise UserError(f"{prefix}no gin file {name!r} in {searched}{advice}")


def read(name: str) -> list[Statement]:
    """Reads a gin file with all that it includes, in order.

    Raises:
      UserError: a file is missing, unreadable, not gin, or includes itself.
    """
    return _read(find(name), ())


def _read(path: Path, chain: tuple[Path, ...]) -> list[Statement]:
    here = path.resolve()

    def include(name: str, where: str) -> list[Statement]:
        target = find(name, where, path.parent)
        if target.resolve() in (*chain, here):
            names = [file.name for file in (*chain, here, target.resolve())]
            raise UserError(f"{where}: the includes go in a circle: {' -> '.join(names)}")
        return _read(target, (*chain, here))

    return read_file(path, include)
