"""The undamaged world that the cases damage, and the commands that are run on it.

Small enough that a command takes seconds: three tasks of Super-NaturalInstructions in its public format, one
data set with PromptSource templates, one subject of MMLU, a model of two layers.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
import random
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from damage import server

MODEL = (
    *("--gin_file=models/opt_tiny.gin", "--gin.Model.layers=2", "--gin.Model.hidden=32"),
    *("--gin.Model.embed_dim=32", "--gin.Model.heads=2", "--gin.Model.ffn=64", "--gin.Model.dropout=0.0"),
    "--gin.Optimizer.total_steps=8",  # the same schedule however often the run is resumed
    *("--gin.Loader.batch_size=4", "--gin.Optimizer.warmup_steps=1", "--gin.Checkpoints.every=2"),
)
SOURCES = (
    "--gin.Mixture.name=m",
    "--gin.Mixture.sources=(@SuperNaturalInstructions(),@PromptSource(),@Mmlu())",
    "--gin.SuperNaturalInstructions.data_dir=ni/tasks",
    "--gin.SuperNaturalInstructions.split_dir=ni/splits",
    "--gin.SuperNaturalInstructions.held_out_instances=5",
    "--gin.PromptSource.data_dir=rows",
    "--gin.PromptSource.template_dir=templates",
    "--gin.Mmlu.data_dir=mmlu",
)
DROPPED = "rows dropped"  # among the hashes of what a command made: a count
SHORT = ("--gin.Generate.max_new_tokens=4",)
PLAN = (
    *("plan", "--gin_file=own.gin", *MODEL[:6], "--topology=cpu:1", "--only=train", "--cache=plans"),
    *("--gin.Model.vocab_rows=608", "--gin.Model.vocab_tokens=600", "--gin.Loader.length=64"),
    *("--gin.Loader.batch_size=2", "--json=plan.json"),
)
HARNESS = (
    *("--model", "iml", "--model_args", "checkpoint=run", "--tasks", "animals", "--include_path", "harness"),
    *("--batch_size", "4", "--output_path", "out"),
)


@dataclasses.dataclass(frozen=True)
class Target:
    """One command and the files that it reads.

    Attributes:
      command: its name in the table.
      argv: what follows the program's name; relative to the case's folder.
      inputs: what of the world it needs.
      files: globs in the case's folder of what is damaged, each with its form and whether it carries a
        checksum of ours (``kinds.damage``).
      digest: hashes of what it made.
      weight: its share of the cases.
      program: that ``argv`` is given to.
    """

    command: str
    argv: tuple[str, ...]
    inputs: tuple[str, ...]
    files: tuple[tuple[str, str, bool], ...]
    digest: Callable[[Path, str], dict[str, str]]
    weight: int
    program: str = server.IML


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _stable(text: str) -> str:
    """A text without what the clock wrote into it."""
    return re.sub(r"\d+(\.\d+)? ?(ms|s|seconds|min)\b|\d\d:\d\d(:\d\d)?|\d{4}-\d\d-\d\d", "TIME", text)


def _tree(folder: Path, ignored: Sequence[str] = (), unseen: str = "") -> dict[str, str]:
    """Hashes of a folder's files, of JSON without what the pattern ``unseen`` matches."""

    def content(path: Path) -> bytes:
        found = path.read_bytes()
        return re.sub(unseen.encode(), b"", found) if unseen and path.suffix == ".json" else found

    return {
        str(path.relative_to(folder)): _sha(content(path))
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(word in path.name for word in ignored)
    }


def _printed(folder: Path, out: str) -> dict[str, str]:
    return {"stdout": _sha(_stable(out).encode())}


def _prepared(folder: Path, out: str) -> dict[str, str]:
    tasks = json.loads((folder / "out" / "manifest.json").read_text())["tasks"]
    splits = [split for task in tasks for split in task["splits"].values()]
    dropped = sum(sum(split["dropped"].values()) for split in splits)
    # Fingerprints of the sources' files differ where any byte does, also one that no example is made of.
    made = _tree(folder / "out", ("lock", "lease"), r'"fingerprint": "[0-9a-f]{64}"')
    return {**made, DROPPED: str(dropped)}


def _weights(place: Path) -> dict[str, str]:
    import jax
    import numpy as np

    from iml_jax.checkpoints import restore

    steps = [path for path in (place / "checkpoints").iterdir() if path.name.isdecimal()]
    step = max(steps, key=lambda path: int(path.name))
    _, params, metadata = restore.open_params(step)
    leaves = jax.tree_util.tree_leaves_with_path(params, is_leaf=lambda leaf: hasattr(leaf, "__array__"))
    found = {restore.leaf_name(path): _sha(np.asarray(leaf).tobytes()) for path, leaf in leaves}
    return {**found, "step": step.name, "updates": str(metadata["updates"])}


def _trained(folder: Path, out: str) -> dict[str, str]:
    return _weights(folder / "run")


def _evaluated(folder: Path, out: str) -> dict[str, str]:
    record = json.loads((folder / "result.json").read_text())
    predictions = (folder / "result.predictions.jsonl").read_bytes()
    return {"tasks": _sha(json.dumps(record["tasks"]).encode()), "predictions": _sha(predictions)}


def _huggingface(folder: Path, out: str) -> dict[str, str]:
    return _tree(folder / "out", ("README",))


def _orbax(folder: Path, out: str) -> dict[str, str]:
    return {**_weights(folder / "out"), **_tree(folder / "out" / "tokenizer")}


def _reported(folder: Path, out: str) -> dict[str, str]:
    page = (folder / "page.html").read_text("utf-8")
    return {**_printed(folder, out), "page": _sha(_stable(page).encode())}


def _audited(folder: Path, out: str) -> dict[str, str]:
    return {"leakage.json": _sha((folder / "prepared" / "leakage.json").read_bytes())}


def _harness(folder: Path, out: str) -> dict[str, str]:
    (file,) = (folder / "out").rglob("results_*.json")
    results = json.loads(file.read_text())["results"]
    return {"results": _sha(json.dumps(results, sort_keys=True).encode())}


def _planned(folder: Path, out: str) -> dict[str, str]:
    text = re.sub(r'"(compile_seconds|seconds|cached)": [^,}]+', "", (folder / "plan.json").read_text())
    return {"plan.json": _sha(text.encode())}


_TOKENIZER = (
    ("{}/vocab.json", "json", True),
    ("{}/merges.txt", "lines", True),
    ("{}/tokenizer_config.json", "json", True),
)
_CHECKPOINT = (
    ("{}/checkpoints/6/inventory.json", "json", True),
    ("{}/checkpoints/6/metadata/metadata", "json", True),
    ("{}/checkpoints/6/_CHECKPOINT_METADATA", "json", True),
    ("{}/checkpoints/6/state/_METADATA", "json", True),
    ("{}/checkpoints/6/state/*.ocdbt", "binary", True),
    ("{}/checkpoints/6/state/d/*", "binary", True),
    ("{}/checkpoints/6/state/ocdbt.process_0/d/*", "binary", True),
)
_MANIFEST = (("prepared/manifest.json", "json", True),)
_SHARDS = (("prepared/cache/*/*/*/*.array_record*", "shard", True),)
_SOURCE_FILES = (
    ("ni/tasks/*.json", "json", False),
    ("ni/tasks/*.json", "json", False),
    ("ni/splits/*.txt", "lines", False),
    ("rows/*/*.jsonl", "jsonl", False),
    ("rows/*/*.jsonl", "jsonl", False),
    ("templates/*/templates.yaml", "lines", False),
    ("mmlu/*/*.csv", "lines", False),
)


def _at(files: Sequence[tuple[str, str, bool]], place: str) -> tuple[tuple[str, str, bool], ...]:
    return tuple((glob.format(place), form, own) for glob, form, own in files)


def targets(case: Path) -> tuple[Target, ...]:
    """The commands, for a case folder ``case`` (absolute: what a run saves of itself names it)."""
    train = (*MODEL, f"--gin.Train.prepared_dir={case}/prepared", f"--gin.Train.run_dir={case}/run")
    prepare = (
        *SOURCES,
        "--gin.Prepare.length=128",
        "--gin.Prepare.output_dir=out",
        "--gin.Vocabulary.directory=tokenizer",
    )
    sources = ("ni", "rows", "templates", "mmlu")
    evaluate = ("evaluate", "run", *SHORT, f"--gin.Evaluate.prepared_dir={case}/prepared")
    return (
        Target(
            "prepare", ("prepare", "--gin_file=own.gin", *prepare), (*sources, "tokenizer", "own.gin"),
            (*_SOURCE_FILES, *_at(_TOKENIZER[:2], "tokenizer"), ("own.gin", "gin", False)), _prepared, 5,
        ),
        Target(
            "tasks", ("tasks", "--show=2", *SOURCES), sources,
            _SOURCE_FILES, _printed, 7,
        ),
        Target(
            "leakage", ("leakage", "--gin.Leakage.prepared_dir=prepared"), ("prepared",),
            (*_MANIFEST, *_SHARDS), _audited, 3,
        ),
        Target(
            "train, begin",
            (
                *("train", "--gin_file=own.gin", *train, "--gin.Train.steps=2"),
                "--gin.Train.initial_checkpoint=orb",
            ),
            ("prepared", "orb", "own.gin"),
            (
                *_MANIFEST, *_SHARDS, *_SHARDS, *_at(_TOKENIZER, "prepared/tokenizer"),
                ("own.gin", "gin", False),
                ("orb/checkpoints/0/metadata/metadata", "json", True),
                ("orb/checkpoints/0/inventory.json", "json", True),
                ("orb/checkpoints/0/state/d/*", "binary", True),
            ),
            _trained, 4,
        ),
        Target(
            "train, resume", ("train", *train, "--gin.Train.steps=8"), ("prepared", "run"),
            (
                *_MANIFEST, *_SHARDS, *_at(_CHECKPOINT, "run"),
                ("run/metrics.jsonl", "jsonl", False), ("run/goodput.jsonl", "jsonl", False),
                ("run/config.gin", "gin", False), ("run/manifest.json", "json", True),
                ("run/sampled_counts.json", "json", False), ("run/best.json", "json", False),
            ),
            _trained, 5,
        ),
        Target(
            "evaluate", (*evaluate, "--output=result.json"), ("prepared", "run"),
            (
                *_MANIFEST, *_SHARDS, *_at(_CHECKPOINT, "run"), *_at(_TOKENIZER, "prepared/tokenizer"),
                ("run/evaluation/0.json", "json", True), ("run/config.gin", "gin", False),
            ),
            _evaluated, 5,
        ),
        Target(
            "generate", ("generate", "run", "--input=prompts.jsonl", *SHORT), ("run", "prompts.jsonl"),
            (
                ("prompts.jsonl", "jsonl", False), ("prompts.jsonl", "jsonl", False),
                *_at(_CHECKPOINT, "run"), *_at(_TOKENIZER, "run/tokenizer"),
            ),
            _printed, 5,
        ),
        Target(
            "convert, out", ("convert", "--to", "huggingface", "run", "out", "--no_compare"), ("run",),
            (*_at(_CHECKPOINT, "run"), *_at(_TOKENIZER, "run/tokenizer"), ("run/config.gin", "gin", False)),
            _huggingface, 5,
        ),
        Target(
            "convert, in", ("convert", "--to", "orbax", "hf", "out", "--no_compare"), ("hf",),
            (
                ("hf/config.json", "json", False), ("hf/config.json", "json", False),
                ("hf/model.safetensors", "safetensors", False),
                ("hf/model.safetensors", "safetensors", False),
                ("hf/vocab.json", "json", False), ("hf/tokenizer_config.json", "json", False),
            ),
            _orbax, 6,
        ),
        Target(
            "report", ("report", "run/evaluation/0.json", "run/evaluation/6.json", "--output=page.html"),
            ("run",),
            (
                ("run/evaluation/*.predictions.jsonl", "jsonl", True),
                ("run/evaluation/[06].json", "json", True),
            ),
            _reported, 6,
        ),
        Target(
            "plan", PLAN, ("plans", "own.gin"),
            (("own.gin", "gin", False), ("plans/*/*.json", "json", True)), _planned, 2,
        ),
        Target(
            "lm-eval", HARNESS, ("run", "harness"),
            (*_at(_CHECKPOINT, "run"), *_at(_TOKENIZER, "run/tokenizer"), *_at(_TOKENIZER, "run/tokenizer")),
            _harness, 1, server.LM_EVAL,
        ),
    )  # fmt: skip


def write_sources(folder: Path) -> None:
    """Writes the task files, templates, prompts and the gin file."""
    draws = random.Random(0)
    animals = ("cat", "dog", "hen", "fox", "owl", "cow")
    places = ("mat", "log", "box", "sofa", "wall", "roof", "barn", "tree")
    pairs = [(animal, place) for animal in animals for place in places]
    draws.shuffle(pairs)
    sat = [(f"Sentence: the {a} sat on the {p}. Which animal sat?", a) for a, p in pairs]
    even = [(f"Is {n} an even number?", "no" if n % 2 else "yes") for n in range(60)]
    copied = [(f"Write the word {a} and then the word {p}.", f"{a} {p}") for a, p in pairs]
    tasks = {
        "task9001_animals": ("Question Answering", "Answer with one word.", sat),
        "task9002_parity": ("Number Classification", "Say whether the number is even.", even),
        "task9003_copy": ("Text Copying", "Follow the request.", copied),
    }
    for name in ("ni/tasks", "ni/splits", "rows/animals", "templates/animals", "mmlu/test", "mmlu/dev"):
        (folder / name).mkdir(parents=True)
    for name, (category, definition, rows) in tasks.items():
        record: dict[str, Any] = {
            "Categories": [category],
            "Definition": [definition],
            "Positive Examples": [{"input": rows[0][0], "output": rows[0][1], "explanation": "-"}],
            "Negative Examples": [],
            "Instances": [
                {"id": f"{name}-{number}", "input": source, "output": [target]}
                for number, (source, target) in enumerate(rows)
            ],
        }
        (folder / "ni" / "tasks" / f"{name}.json").write_text(json.dumps(record))
    (folder / "ni/splits/train_tasks.txt").write_text("task9001_animals\ntask9002_parity\n")
    (folder / "ni/splits/test_tasks.txt").write_text("task9003_copy\n")
    for split, part in (("train", pairs[:30]), ("validation", pairs[30:])):
        lines = [json.dumps({"place": place, "label": animals.index(animal)}) for animal, place in part]
        (folder / "rows" / "animals" / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "templates/animals/templates.yaml").write_text(_TEMPLATES)
    for split, name in (("test", "astronomy_test.csv"), ("dev", "astronomy_dev.csv")):
        with (folder / "mmlu" / split / name).open("w", newline="") as file:
            writer = csv.writer(file)
            for number in range(6):
                options = [str(number + extra) for extra in range(4)]
                writer.writerow([f"Which number is {number}?", *options, "ABCD"[number % 4]])
    # A task of lm-evaluation-harness whose result changes with any weight.
    (folder / "harness").mkdir()
    (folder / "harness/rows.jsonl").write_text((folder / "rows/animals/validation.jsonl").read_text())
    task = {
        "task": "animals", "dataset_path": "json", "output_type": "loglikelihood", "test_split": "test",
        "dataset_kwargs": {"data_files": {"test": "harness/rows.jsonl"}},
        "doc_to_text": "Who is at the {{place}}?", "doc_to_target": " {{label}}",
        "metric_list": [{"metric": "perplexity"}],
    }  # fmt: skip
    (folder / "harness/animals.yaml").write_text(json.dumps(task))
    prompts = [json.dumps({"prompt": f"Is {number} even? A:"}) for number in range(5)]
    (folder / "prompts.jsonl").write_text("\n".join(prompts) + "\n")
    (folder / "own.gin").write_text("Mesh.data = 1\nPrepare.seed = 7\nTrain.seed = 11\nLoader.seed = 3\n")


_TEMPLATES = """dataset: animals
templates:
  11111111-1111-1111-1111-111111111111: !Template
    answer_choices: cat ||| dog ||| hen ||| fox ||| owl ||| cow
    id: 11111111-1111-1111-1111-111111111111
    jinja: 'Who is at the {{ place }}? ||| {{ answer_choices[label] }}'
    metadata: !TemplateMetadata
      choices_in_prompt: false
      languages:
      - en
      metrics:
      - Accuracy
      original_task: true
    name: who
    reference: ''
"""


def build_steps(case: Path) -> tuple[tuple[str, ...], ...]:
    """The commands that make the rest of the world in ``case``, in order."""
    train = (*MODEL, f"--gin.Train.prepared_dir={case}/prepared", f"--gin.Train.run_dir={case}/run")
    return (
        (
            "prepare", *SOURCES, "--gin.Vocabulary.size=600", "--gin.Prepare.length=128",
            f"--gin.Prepare.output_dir={case}/prepared",
        ),
        ("train", *train, *SHORT, "--gin.Train.steps=6", "--gin.Train.evaluate_ends=True"),
        ("convert", "--to", "huggingface", "run", "hf", "--no_compare"),
        ("convert", "--to", "orbax", "hf", "orb", "--no_compare"),
        PLAN,
    )  # fmt: skip


def keep(case: Path, world: Path) -> None:
    """Moves what was built to where the cases copy it from."""
    shutil.copytree(case / "prepared" / "tokenizer", case / "tokenizer")
    shutil.move(case, world)
