"""Types of parameters that hold a path; ``Config.build`` makes the path absolute by them."""

from __future__ import annotations

import dataclasses
import typing
from typing import Annotated, Any

from iml_jax.foundation.errors import UserError
from iml_jax.storage import paths


@dataclasses.dataclass(frozen=True)
class PathRule:
    """How a parameter's path is read.

    Attributes:
      may_be_empty: an empty text is allowed; the parameter's documentation says what it means.
      from_working_directory: a relative path starts at the working directory and is made absolute. Paths of
        sources start at ``Mixture.data_dir`` instead: only their ``~`` is replaced here.
    """

    may_be_empty: bool = False
    from_working_directory: bool = True


RequiredPath = Annotated[str, PathRule()]
OptionalPath = Annotated[str, PathRule(may_be_empty=True)]
SourcePath = Annotated[str, PathRule(from_working_directory=False)]
OptionalSourcePath = Annotated[str, PathRule(may_be_empty=True, from_working_directory=False)]


def rule_of(hint: Any) -> PathRule | None:
    """The rule of an annotation; None where it is not a path's."""
    if typing.get_origin(hint) is not Annotated:
        return None
    return next((item for item in typing.get_args(hint)[1:] if isinstance(item, PathRule)), None)


def read(text: str, rule: PathRule) -> str:
    """The path that a parameter means.

    Raises:
      UserError: it is empty and may not be, or names no home directory.
    """
    if not text:
        if rule.may_be_empty:
            return ""
        raise UserError("is empty; name a folder or file (. is the working directory)")
    return str(paths.absolute(text)) if rule.from_working_directory else paths.expand(text)
