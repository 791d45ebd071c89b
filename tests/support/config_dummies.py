"""A registry of toy configurables, so that these tests depend on no other room."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Literal

from iml_jax.config import Registry


class Base:
    """What both toy sources are."""


@dataclasses.dataclass(frozen=True)
class Toy(Base):
    """A toy source."""

    size: int = dataclasses.field(default=3, metadata={"help": "how many, in examples."})
    name: str = dataclasses.field(default="toy", metadata={"help": "its name"})
    rate: float = 0.5
    seed: int = dataclasses.field(default=0, metadata={"help": "of the draw, or ``0``."})


@dataclasses.dataclass(frozen=True)
class Folder(Base):
    """A folder source, with a required path."""

    path: Path
    splits: tuple[str, ...] = ("train",)


@dataclasses.dataclass(frozen=True)
class Pair(Base):
    """A source of sources."""

    first: Base | None = None
    second: Base | None = None


@dataclasses.dataclass(frozen=True)
class Holder:
    """Has sources for defaults, one plain and one not."""

    plain: Toy = Toy()
    other: Toy = Toy(size=99)


@dataclasses.dataclass(frozen=True)
class Run:
    """A toy run, with one field of every kind of type."""

    run_dir: str
    steps: int = 10
    rate: float = 1e-3
    resume: bool = True
    mode: str = dataclasses.field(default="fast", metadata={"choices": ("fast", "careful")})
    policy: Literal["none", "full"] = "none"
    limit: int | None = None
    shares: dict[str, float] = dataclasses.field(default_factory=dict)
    pair: tuple[int, str] = (1, "a")
    sizes: list[int] = dataclasses.field(default_factory=list)
    sources: tuple[Base, ...] = ()
    main: Base | None = None
    extra: Any = None


@dataclasses.dataclass(frozen=True)
class Strict:
    """Refuses some values of the right type."""

    low: int = 0
    high: int = 1

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError(f"low {self.low} exceeds {self.high}")


def registry() -> Registry:
    """A fresh registry of them."""
    return Registry(
        {"Run": Run, "Toy": Toy, "Folder": Folder, "Pair": Pair, "Holder": Holder, "Strict": Strict}
    )
