"""Bad task files, vocabularies and configuration: one line, the right exit status, nothing left behind."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.bad_input import FAULT, MISTAKE, replacing

from iml_jax.data import tokenizer as tokenizers

# --- prepare -----------------------------------------------------------------------------------------------

TEMPLATES = """\
dataset: d
templates:
  one: !Template
    answer_choices: null
    id: one
    jinja: '{{text}} ||| {{answer}}'
    metadata: !TemplateMetadata
      original_task: true
    name: first
    reference: ''
"""


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """One small task in each of the three formats, and a vocabulary."""
    folder = tmp_path / "sources"
    task = {
        "Definition": ["Say it backwards."],
        "Categories": ["Misc"],
        "Instances": [{"id": str(n), "input": f"word {n}", "output": [f"{n} word"]} for n in range(8)],
    }
    rows = [{"text": f"Is {n} even?", "answer": "no" if n % 2 else "yes"} for n in range(8)]
    for name, content in {
        "sni/task1_words.json": json.dumps(task, indent=1),
        "data/d/train.jsonl": "".join(json.dumps(row) + "\n" for row in rows),
        "templates/d/templates.yaml": TEMPLATES,
        "cot/gsm8k_train.tsv": "".join(f"What is {n}?\t{n}\tIt is {n}.\n" for n in range(8)),
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True)
        path.write_text(content)
    tokenizers.train(["one two three"] * 3, 280).save(folder / "vocabulary")
    return folder


def prepare(sources: Path, *more: str) -> list[str]:
    return [
        "prepare",
        "--gin.Mixture.name=mixture",
        "--gin.Mixture.sources=(@SuperNaturalInstructions(), @PromptSource(), @Reasoning())",
        f"--gin.SuperNaturalInstructions.data_dir={sources / 'sni'}",
        f"--gin.PromptSource.data_dir={sources / 'data'}",
        f"--gin.PromptSource.template_dir={sources / 'templates'}",
        f"--gin.Reasoning.data_dir={sources / 'cot'}",
        "--gin.Vocabulary.size=300",
        f"--gin.Prepare.output_dir={sources.parent / 'prepared'}",
        *more,
    ]


def bad_utf8(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"word 3", b"w\xf6rd 3"))


def cut_gzip(path: Path) -> None:
    path.with_name("train.jsonl.gz").write_bytes(gzip.compress(path.read_bytes() * 50)[:-20])
    path.unlink()


YAML = "templates/d/templates.yaml"


@pytest.mark.parametrize(
    ("name", "spoil", "tells"),
    [
        ("sni/task1_words.json", replacing('"word 3",', '"word 3"'), ("task1_words.json:33", "fix it")),
        ("sni/task1_words.json", bad_utf8, ("task1_words.json:", "0xf6 is not UTF-8", "convert")),
        ("sni/task1_words.json", replacing('"Instances"', '"Instance"'), ("task1_words.json", "Instances")),
        ("data/d/train.jsonl", replacing('"Is 2 even?"', '"Is 2 even?'), ("train.jsonl:3", "fix it")),
        ("data/d/train.jsonl", cut_gzip, ("train.jsonl.gz", "cut-short", "fetch it again")),
        ("cot/gsm8k_train.tsv", replacing("5\tIt is 5.", "5"), ("gsm8k_train.tsv:6",)),
        (YAML, replacing("{{text}}", "{{text"), ("templates.yaml", "first")),
        (YAML, replacing("{{text}}", "{% for %}"), ("templates.yaml", "first")),
        (YAML, replacing("{{text}}", "{{text.__class__}}"), ("templates.yaml", "first", "__class__")),
        (YAML, replacing("!Template\n", "!!python/object/apply:os.system\n"), ("templates.yaml:3",)),
        (YAML, replacing("name: first", "name: [first]"), ("templates.yaml", "'name'", "string")),
    ],
    ids=lambda value: Path(value).name if isinstance(value, str) else None,
)
def test_source_files(sources, refused, name, spoil, tells) -> None:
    spoil(sources / name)
    refused(MISTAKE, *prepare(sources), tells=tells, may_leave=("prepared",))
    assert sorted(path.name for path in (sources.parent / "prepared").glob("*")) == []


@pytest.mark.parametrize(
    ("binding", "tells"),
    [
        ("SuperNaturalInstructions.data_dir=/nowhere", ("data_dir = /nowhere", "check the path")),
        ("Mixture.train=('promptsource:dd',)", ("Mixture.train", "'promptsource:dd'", "promptsource:d'")),
        ("Vocabulary.size=20", ("Vocabulary.size = 20", "at least 260")),
        ("Prepare.length=0", ("Prepare.length", "at least 2")),
        ("Mixture.proportions={'flan': 0.5}", ("Mixture.proportions", "flan")),
    ],
)
def test_prepare_settings(sources, refused, binding, tells) -> None:
    refused(MISTAKE, *prepare(sources, f"--gin.{binding}"), tells=tells, may_leave=("prepared",))


@pytest.mark.parametrize(
    ("spoil", "tells"),
    [
        (shutil.rmtree, ("vocabulary", "vocab.json + merges.txt")),
        (lambda folder: (folder / "merges.txt").unlink(), ("merges.txt", "cannot be read")),
        (
            lambda folder: replacing("\n", "\nalone\n")(folder / "merges.txt"),
            ("merges.txt:2", "'alone'"),
        ),
        (lambda folder: replacing("<pad>", "<pod>")(folder / "vocab.json"), ("vocab.json", "<pad>")),
        (lambda folder: (folder / "vocab.json").write_text("{"), ("vocab.json:1", "malformed JSON")),
    ],
)
def test_vocabulary(sources, refused, spoil, tells) -> None:
    spoil(sources / "vocabulary")
    given = ["--gin.Vocabulary.size=0", f"--gin.Vocabulary.directory={sources / 'vocabulary'}"]
    refused(MISTAKE, *prepare(sources, *given), tells=tells, may_leave=("prepared",))


# --- configuration -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "tells"),
    [
        ("Trian.steps = 3", ("bad.gin:1", "Trian", "Train")),
        ("Train.step = 3", ("bad.gin:1", "step", "steps")),
        ("Train.steps = 'three'", ("Train.steps", "three", "int")),
        ("Train.steps = 2.5", ("Train.steps", "2.5", "int")),
        ("import os\nTrain.steps = 3", ("bad.gin:1", "import")),
        ("include 'nowhere.gin'", ("bad.gin:1", "nowhere.gin")),
        ("\nTrain.steps =", ("bad.gin:2",)),
        ("Train.steps = __import__('os').getpid()", ("bad.gin:1",)),
    ],
)
def test_gin(tmp_path, refused, text, tells) -> None:
    (tmp_path / "bad.gin").write_text(text + "\n")
    refused(MISTAKE, "train", f"--gin_file={tmp_path / 'bad.gin'}", tells=tells)


@pytest.mark.parametrize(
    ("argv", "tells"),
    [
        (["trian"], ("trian", "train")),
        (["train", "--gin_file=nowhere.gin"], ("nowhere.gin",)),
        (["train"], ("Train.run_dir",)),
        (["train", "--gin_files=x"], ("--gin_files", "--gin_file")),
        (["train", "--cpu_devices=many"], ("--cpu_devices", "many")),
        (["convert", "--to", "tensorflow", "a", "b"], ("--to", "tensorflow")),
        (["convert", "a"], ("--to",)),
        (["generate", "run", "--input", "nowhere.txt"], ("nowhere.txt", "cannot be read")),
        (["evaluate", "nowhere"], ("nowhere", "no such run or checkpoint")),
    ],
)
def test_command_line(refused, argv, tells) -> None:
    refused(MISTAKE, *argv, tells=tells)


# --- a full disk ---


@pytest.mark.slow
def test_prepare_on_a_full_disk(sources, small_disk, refused) -> None:
    rng = np.random.default_rng(0)
    rows = [{"text": rng.bytes(2000).hex(), "answer": "none"} for _ in range(1500)]
    (sources / "data/d/train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    argv = prepare(sources, f"--gin.Prepare.output_dir={small_disk / 'prepared'}")
    refused(FAULT, *argv, tells=(str(small_disk), "No space left"), may_leave=("small",))
    left = {path.name for path in (small_disk / "prepared").rglob("*")}
    assert "manifest.json" not in left
    assert not {name for name in left if name.endswith(".tmp")}
