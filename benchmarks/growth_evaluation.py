"""What evaluation, report and generation cost as their work grows: CPU seconds and peak memory at n, 2n, 4n.

    python benchmarks/growth_evaluation.py [intervals|prompts|tasks|report|generate ...] [--scale 1]

A tiny random model, synthetic questions; every measurement is a process of its own, in which the work is done
once before (compilation) and then measured. ``--python OTHER/.venv/bin/python`` measures another checkout,
with the helpers of its own tests.

  intervals  50,000, 100,000 and 200,000 answers of 20 tasks: what follows them (intervals, page, table)
  prompts    1,000, 2,000 and 4,000 prompts of 4 tasks, evaluated
  tasks      100, 200 and 400 tasks of 10 prompts, evaluated
  report     10,000, 20,000 and 40,000 answers in each of two evaluations, compared
  generate   500, 1,000 and 2,000 prompts, answered
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SIZES = {"intervals": 50_000, "prompts": 1000, "tasks": 100, "report": 10_000, "generate": 500}


def intervals(count: int, folder: Path) -> Callable[[], None]:
    """Every answer has points of its own, as under Rouge-L."""
    import numpy as np

    from iml_jax.evaluation.metrics import confidence
    from iml_jax.evaluation.pages import report, report_tables
    from iml_jax.evaluation.results import Prediction, Results, TaskScore, TemplateScore

    rng = np.random.default_rng(0)
    names = [f"bench:task{number}:zero_shot" for number in range(20)]
    points = rng.uniform(0, 100, count).tolist()
    answers = [
        Prediction(names[n % 20], str(n), "", "p", "a", ("a",), (), (), one, 0)
        for n, one in enumerate(points)
    ]
    answers.sort(key=lambda one: one.task)

    def work() -> None:
        metrics = dict.fromkeys(names, "rouge_l")
        spreads = confidence.spreads(answers, metrics)
        tasks = tuple(
            TaskScore(
                name, "bench", name.split(":")[1], "c", "fully_held_out", "rouge_l", "test", 50.0,
                {"": TemplateScore(50.0, count // 20)}, 1.0, "a", count // 20, 0, 0, {}, {},
                spreads[name].interval().ends,
            )
            for name in names
        )  # fmt: skip
        found = Results({"step": 1}, tasks, tuple(answers), spreads)
        report.write_report(folder / "page.html", found)
        with contextlib.redirect_stdout(io.StringIO()):
            report_tables.print_tables(found)

    return work


def _prepare(folder: Path, tasks: int, prompts: int) -> None:
    """Every second task has options."""
    import numpy as np
    from support.fixtures_prepared import SyntheticTask, write_prepared
    from support.prepared_questions import record

    from iml_jax.data import manifest as manifests
    from iml_jax.data import tokenizer as tokenizers

    tokenizer = tokenizers.train(["yes no maybe one two three what is the answer"] * 4, 300)
    tokenizer.save(folder / "tokenizer")
    rng = np.random.default_rng(0)
    made = []
    for number in range(tasks):
        options = ("yes", "no", "maybe") if number % 2 else ()
        rows = [
            record(tokenizer, n, f"what is {rng.integers(10**6)}?", ["yes"], options) for n in range(prompts)
        ]
        made.append(
            SyntheticTask(
                f"bench:t{number}:zero_shot",
                {"test": rows},
                trained=False,
                level="fully_held_out",
                evaluation_split="test",
                category="c",
                metric="accuracy" if options else "rouge_l",
                shards=1,
            )
        )
    write_prepared(folder, made)
    manifest = manifests.load(folder)
    vocabulary = dataclasses.replace(
        manifest.vocabulary, tokens=tokenizer.tokens, rows=tokenizer.rows, fingerprint=tokenizer.fingerprint
    )
    manifests.save(dataclasses.replace(manifest, vocabulary=vocabulary), folder)


def _evaluation(folder: Path, tasks: int, prompts: int) -> Callable[[], None]:
    import numpy as np
    from support.random_opt import PRE_NORM, on_mesh, random_params

    from iml_jax.data import manifest as manifests
    from iml_jax.evaluation import results
    from iml_jax.evaluation.engine.generation import GenerateConfig
    from iml_jax.evaluation.engine.runner import EvaluateConfig, evaluate
    from iml_jax.models.handle import Model

    _prepare(folder, tasks, prompts)
    vocabulary = manifests.load(folder).vocabulary
    config = dataclasses.replace(PRE_NORM, vocab_rows=vocabulary.rows, vocab_tokens=vocabulary.tokens)
    params, mesh = on_mesh(config, random_params(config, np.random.default_rng(5)))
    asked = EvaluateConfig(generate=GenerateConfig(max_new_tokens=4))
    turn = iter(range(9))

    def work() -> None:
        keep = folder / f"{next(turn)}.unfinished"
        found = evaluate(Model(config, params, mesh), folder, asked, log=lambda text: None, keep=keep)
        results.save(found, folder / "result.json")

    return work


def report(count: int, folder: Path) -> Callable[[], None]:
    """The command, from the files to the page."""
    from support.compared_results import make_results

    from iml_jax import cli
    from iml_jax.evaluation import results

    files = [folder / f"{seed}.json" for seed in (1, 2)]
    for seed, file in enumerate(files, start=1):
        results.save(make_results(seed, 0.4 + 0.1 * seed, tasks=8, examples=count // 12), file)

    def work() -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            assert cli.main(["report", *map(str, files), f"--output={folder / 'page.html'}"]) == 0

    return work


def generate(count: int, folder: Path) -> Callable[[], None]:
    """The command, its answers to a file by ``>``."""
    import jax
    import numpy as np
    from support.random_opt import PRE_NORM, random_params

    from iml_jax import cli
    from iml_jax.checkpoints.metadata import make_metadata
    from iml_jax.checkpoints.store import CheckpointStore
    from iml_jax.data import manifest as manifests

    _prepare(folder, 1, 3)
    manifest = manifests.load(folder)
    words = manifest.vocabulary
    config = dataclasses.replace(PRE_NORM, vocab_rows=words.rows, vocab_tokens=words.tokens)
    metadata = make_metadata(
        config, 3, manifest_fingerprint=manifest.fingerprint, vocabulary_fingerprint=words.fingerprint,
        vocabulary_tokens=words.tokens,
    )  # fmt: skip
    params = jax.tree.map(jax.numpy.asarray, random_params(config, np.random.default_rng(2)))
    with CheckpointStore(folder) as store:
        store.save(3, {"params": params}, None, metadata)
    (folder / "prompts.txt").write_text("".join(f"what is {n}?\n" for n in range(count)))
    flags = [f"--input={folder / 'prompts.txt'}", "--gin.Generate.max_new_tokens=4"]

    def work() -> None:
        with (folder / "answers").open("w") as out, contextlib.redirect_stdout(out):
            assert cli.main(["generate", str(folder), *flags]) == 0

    return work


def prompts(count: int, folder: Path) -> Callable[[], None]:
    """More prompts of the same tasks."""
    return _evaluation(folder, 4, count // 4)


def tasks(count: int, folder: Path) -> Callable[[], None]:
    """More tasks of as many prompts."""
    return _evaluation(folder, count, 10)


KINDS: dict[str, Callable[[int, Path], Callable[[], None]]] = {
    one.__name__: one for one in (intervals, prompts, tasks, report, generate)
}


def child(kind: str, count: int) -> dict[str, Any]:
    """Does the work twice, measures the second time."""
    import iml_jax

    tests = Path(iml_jax.__file__).parents[1] / "tests"
    sys.path.append(str(tests))
    with tempfile.TemporaryDirectory() as folder:
        work = KINDS[kind](count, Path(folder))
        if kind != "intervals":
            work()
        start = time.process_time()
        work()
        seconds = time.process_time() - start
    return {"cpu": seconds, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def main() -> None:
    """Prints a line for every kind and size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kinds", nargs="*", choices=[[], *KINDS], help="all of them, if none is given")
    parser.add_argument("--scale", type=float, default=1.0, help="times the sizes above (1)")
    parser.add_argument("--python", default=sys.executable, help="the interpreter whose code is measured")
    parser.add_argument("--child", nargs=2, metavar=("KIND", "N"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(child(arguments.child[0], int(arguments.child[1]))))
        return
    for kind in arguments.kinds or KINDS:
        for part in (1, 2, 4):
            count = int(SIZES[kind] * arguments.scale) * part
            done = subprocess.run(
                [arguments.python, "-P", "-W", "ignore", __file__, "--child", kind, str(count)],
                capture_output=True, text=True, check=False, env={**os.environ, "JAX_PLATFORMS": "cpu"},
            )  # fmt: skip
            if done.returncode:
                sys.exit(f"{kind} {count}: {done.stderr[-3000:]}")
            found = json.loads(done.stdout.splitlines()[-1])
            print(
                f"{kind:10} {count:8,}   CPU {found['cpu']:7.2f} s   peak {found['peak']:7.0f} MiB",
                flush=True,
            )


if __name__ == "__main__":
    main()
