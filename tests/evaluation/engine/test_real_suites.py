"""Real files of seven sources: prepared, evaluated with a small model, killed and continued."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from support.random_opt import PRE_NORM, random_params

from iml_jax import cli
from iml_jax.checkpoints.metadata import make_metadata
from iml_jax.checkpoints.store import CheckpointStore
from iml_jax.data import manifest as manifests

BENCHMARK = Path(__file__).parents[3] / "benchmarks" / "killed_evaluation.py"
WRITTEN = {"bbh:navigate", "super_natural_instructions:task033_winogrande_answer_generation"}
SCORED = {
    "flan:openbookqa",
    "mmlu:virology",
    "opt14:wsc",
    "promptsource:super_glue/copa",
    "raft:twitter_complaints",
}
EXAMPLES = 4
MIXTURE = """
Mixture.name = "real"
Mixture.data_dir = {data!r}
Mixture.sources = (
    @Mmlu(), @BigBenchHard(), @Raft(), @Opt14(), @SuperNaturalInstructions(), @PromptSource(), @Flan()
)
Mixture.train = ()
Mixture.evaluate = {tasks!r}
Mixture.evaluation_cap = {examples}
Mmlu.data_dir = "mmlu"
BigBenchHard.data_dir = "bbh"
Raft.data_dir = "raft"
Opt14.data_dir = "opt_eval"
SuperNaturalInstructions.data_dir = "superni/tasks"
SuperNaturalInstructions.split_dir = "superni/splits/default"
PromptSource.data_dir = "promptsource/hf_jsonl"
PromptSource.template_dir = "promptsource/templates"
PromptSource.role_table = "promptsource/meta/t0_datasets.csv"
Flan.data_dir = "flan/tfds_jsonl"
Flan.template_file = "flan/templates_v1.json"
Vocabulary.directory = {vocabulary!r}
Prepare.output_dir = {output!r}
Prepare.workers = 1
"""


def prepare(data: Path, folder: Path) -> Path:
    """The tasks from their files, through ``iml prepare``."""
    gin, prepared = folder / "real.gin", folder / "prepared"
    tasks, vocabulary = tuple(sorted(WRITTEN | SCORED)), str(data / "tokenizer" / "opt")
    gin.write_text(
        MIXTURE.format(
            data=str(data), tasks=tasks, examples=EXAMPLES, vocabulary=vocabulary, output=str(prepared)
        )
    )
    assert cli.main(["prepare", f"--gin_file={gin}"]) == 0
    return prepared


def save_model(prepared: Path, folder: Path) -> Path:
    """A checkpoint of random weights with the vocabulary of the prepared tasks."""
    vocabulary = manifests.load(prepared).vocabulary
    config = dataclasses.replace(
        PRE_NORM, vocab_rows=vocabulary.rows, vocab_tokens=vocabulary.tokens, max_positions=256
    )
    metadata = make_metadata(
        config,
        0,
        manifest_fingerprint="",
        vocabulary_fingerprint=vocabulary.fingerprint,
        vocabulary_tokens=vocabulary.tokens,
    )
    params = jax.tree.map(jax.numpy.asarray, random_params(config, np.random.default_rng()))
    with CheckpointStore(folder) as store:
        store.save(0, {"params": params}, None, metadata)
    return folder / "checkpoints" / "0"


@pytest.mark.slow
def test_killed_and_continued_on_real_files_it_is_the_same_to_the_byte(shared: Path, tmp_path: Path) -> None:
    prepared = prepare(shared / "data", tmp_path)
    checkpoint, output = save_model(prepared, tmp_path / "model"), tmp_path / "results"
    command = [sys.executable, str(BENCHMARK), str(checkpoint), f"--prepared={prepared}"]
    # Two tasks at a time, so that one is written and one scored before the kill, and some of both after it.
    command += [f"--output={output}", f"--examples={EXAMPLES}", f"--chunk={2 * EXAMPLES}"]
    # Three processes compile the same programs: only the first has to.
    compiled = {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    ran = subprocess.run(
        [*command, "--new_tokens=3", "--kills=1"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **compiled},
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.endswith("predictions identical; results identical\n")
    (chunks,) = re.findall(r"^killed: had 0 of 4 chunks, kept (\d+)$", ran.stdout, re.MULTILINE)
    assert 0 < int(chunks) < 4
    said = (output / "killed.log").read_text()
    kept = int(chunks) * 2 * EXAMPLES
    assert f"{kept} of {7 * EXAMPLES} prompts were answered before; resuming with the rest" in said
    record = json.loads((output / "killed.json").read_text())
    assert {f"{task['benchmark']}:{task['task']}" for task in record["tasks"]} == WRITTEN | SCORED
    lines = (output / "killed.predictions.jsonl").read_text().splitlines()
    answers = [json.loads(line) for line in lines]
    written = {":".join(one["task"].split(":")[:2]) for one in answers if not one["options"]}
    assert {name.replace("#2f", "/") for name in written} == WRITTEN
    assert len(answers) == EXAMPLES * len(WRITTEN | SCORED)
    assert len({one["prediction"] for one in answers}) > EXAMPLES
