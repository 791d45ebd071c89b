"""A part of ``cache_job.py``: SeqIO's ``cache_tasks_main`` on the seqio.Tasks of a mixture.

    python cache_job_seqio.py GIN_FILE CACHE_DIRECTORY WORKERS

Beam's worker processes import this file as a module, which registers the tasks of ``CACHE_JOB_GIN``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import iml_jax.commands  # noqa: F401  registers the gin names
from iml_jax.bench import mixtures, tasks
from iml_jax.config import configuration


def register(gin_file: str) -> list[str]:
    """Registers the tasks of the mixture of a gin file; returns their names."""
    config = configuration.load([gin_file])
    vocabulary, prepare = config.build("Vocabulary"), config.build("Prepare")
    planned = mixtures.plan(config.build("Mixture"))
    for task in planned:
        tasks.build_task(task, vocabulary.directory, prepare.seed, prepare.length)
    return [task.name for task in planned]


def main() -> None:
    """Runs the pipeline."""
    gin_file, cache_dir, workers = sys.argv[1:]
    os.environ["CACHE_JOB_GIN"] = gin_file
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    import apache_beam as beam
    from absl import flags
    from seqio.scripts import cache_tasks_main

    flags.FLAGS(["cache_job_seqio"])
    names = register(gin_file)
    mode = "multi_processing" if int(workers) > 1 else "in_memory"
    options = beam.options.pipeline_options.PipelineOptions(
        [f"--direct_running_mode={mode}", f"--direct_num_workers={workers}", "--runner=DirectRunner"]
    )
    with beam.Pipeline(options=options) as pipeline:
        cache_tasks_main.run_pipeline(
            pipeline,
            names,
            cache_dir,
            modules_to_import=["cache_job_seqio"],
            output_format="arrayrecord",
        )


if __name__ == "__main__":
    main()
elif "CACHE_JOB_GIN" in os.environ:  # a worker of Beam
    register(os.environ["CACHE_JOB_GIN"])
