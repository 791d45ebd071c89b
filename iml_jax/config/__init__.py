"""Configuration: gin files and ``--gin.NAME=VALUE`` flags over registered dataclasses."""

from iml_jax.config.configuration import Config, load, load_text
from iml_jax.config.registry import REGISTRY, Registry

__all__ = ["REGISTRY", "Config", "Registry", "load", "load_text"]
