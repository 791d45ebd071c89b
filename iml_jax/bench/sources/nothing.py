"""Moved to ``base``; this name stays until the last source imports it from there."""

from __future__ import annotations

from iml_jax.bench.sources.base import NothingFoundError

__all__ = ["NothingFoundError"]
