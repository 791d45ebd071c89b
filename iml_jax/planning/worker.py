"""Compiles one job in a process of its own: ``python -m iml_jax.planning.worker JOB.json RESULT.json``.

The TPU compiler may abort the whole process; the parent turns that into one line (``compiling.py``). The
parent holds the other end of stdin: where it is killed, this process ends too.
"""

from __future__ import annotations

import dataclasses
import json
import os
import stat
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any


def main(arguments: list[str]) -> int:
    """Compiles, analyses and writes the result."""
    from iml_jax.foundation.errors import UserError
    from iml_jax.planning.job import Job

    folder = Path(arguments[1]).absolute().parent
    threading.Thread(target=_end_with_the_parent, args=(folder,), daemon=True).start()
    job = Job.from_json(Path(arguments[0]).read_text(encoding="utf-8"))
    started = time.perf_counter()
    try:
        result = _compile(job, folder, stage_file(Path(arguments[1])))
    except UserError as error:
        result = {"status": "refused", "reason": str(error)}
    except Exception as error:  # a bug or a lack of memory: the parent says it in one line
        traceback.print_exc()
        result = {
            "status": "failed",
            "reason": f"{type(error).__name__}: {' '.join(str(error).split())[:500]}",
        }
    result["seconds"] = round(time.perf_counter() - started, 1)
    target = Path(arguments[1])
    _write(target, json.dumps(result))
    return 0


def _write(path: Path, text: str) -> None:
    from iml_jax.storage.writing import atomic_file

    with atomic_file(path) as file:  # which does not make the folder again that the parent has removed
        file.write(text.encode())


def _end_with_the_parent(folder: Path) -> None:
    """Waits until stdin, a pipe from the parent, is closed."""
    if not stat.S_ISFIFO(os.fstat(0).st_mode):
        return  # started by hand
    from iml_jax.storage import local

    while os.read(0, 1):
        pass
    local.remove_tree(folder)  # the parent's and, below it, ours
    os._exit(1)


def stage_file(answer: Path) -> Path:
    """Where the worker that writes ``answer`` says what it is doing."""
    return answer.with_suffix(".stage")


def _compile(job: Any, parent: Path, stage: Path) -> dict[str, Any]:
    import jax

    from iml_jax.planning import analysis, memory, programs
    from iml_jax.storage import local

    if job.topology.kind == "cpu":
        jax.config.update("jax_num_cpu_devices", job.topology.devices)
    jax.config.update("jax_enable_compilation_cache", False)
    _write(stage, "tracing the program")
    try:
        mesh = programs.mesh_of(job)
    except jax.errors.JaxRuntimeError as error:
        return {"status": "refused", "reason": f"libtpu refuses {job.topology}: {str(error)[:300]}"}
    lowered = programs.lower(job, mesh)
    _write(stage, "XLA compiles it")
    with local.temporary_directory(parent) as folder:
        began = time.perf_counter()
        statistics: dict[str, int] = {}
        try:
            compiled = lowered.compile(compiler_options={"xla_dump_to": str(folder)})
            status: dict[str, Any] = {"status": "compiled"}
            statistics = analysis.statistics(compiled)
        except jax.errors.JaxRuntimeError as error:
            found = memory.out_of_memory(str(error))
            if found is None:
                return {"status": "failed", "reason": " ".join(str(error).split())[:600]}
            status = {"status": "does_not_fit", "needed_gib": found[0], "available_gib": found[1]}
        status["compile_seconds"] = round(time.perf_counter() - began, 1)
        _write(stage, "reading what the compiler left")
        status.update(analysis.analyse(job, mesh, folder, statistics))
        status["devices"] = dataclasses.asdict(job.topology) | {"mesh": dict(mesh.shape)}
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
