"""Python packages that only some commands need: which extra of iml_jax brings each."""

from __future__ import annotations

import importlib.util

from iml_jax.foundation.errors import UserError

# Extra of pyproject.toml -> the modules that its packages are imported as.
EXTRAS: dict[str, tuple[str, ...]] = {
    "prepare": (
        "seqio",
        "tensorflow",
        "tensorflow_text",
        "tensorflow_datasets",
        "t5",
        "apache_beam",
        "sentencepiece",
    ),
    "torch": ("torch", "transformers"),
    "harness": ("lm_eval",),
    "tpu": ("libtpu",),
}
# Of Apache Beam's own extras; its runner for a Dask cluster.
_BEAM = {"dask": "dask", "distributed": "dask"}


def remedy(module: str) -> str:
    """How to install a module that is missing, as one command."""
    top = module.partition(".")[0]
    if top in _BEAM:
        return f"pip install 'apache-beam[{_BEAM[top]}]'"
    for extra, modules in EXTRAS.items():
        if top in modules:
            return f"pip install 'iml_jax[{extra}]'"
    return "pip install iml_jax, which brings it"


def message(error: ModuleNotFoundError) -> str | None:
    """The line for a module that is not installed; None where it is one of iml_jax's own."""
    name = (error.name or "").partition(".")[0]
    if not name or name == "iml_jax":
        return None
    return f"this needs the Python package {name}, which is not installed: {remedy(name)}"


def require(*modules: str, what: str) -> None:
    """Checks that modules are installed, without importing them.

    Args:
      modules: their names.
      what: what needs them, as the beginning of the message.

    Raises:
      UserError: one is not; the message has the command that installs it.
    """
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise UserError(f"{what} needs {module}, which is not installed: {remedy(module)}")
