"""Prepared data for short training runs."""

from support.training_runs import prepare, prepared  # noqa: F401
