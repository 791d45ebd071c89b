"""Bad prepared directories, settings, runs and models: one line, the exit status, nothing left behind."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from support.bad_input import FAULT, MISTAKE, replacing
from support.fixtures_prepared import SyntheticTask, write_prepared

from iml_jax import cli
from iml_jax.data import manifest as manifests
from iml_jax.data import tokenizer as tokenizers

TINY = {
    **{"vocab_rows": 0, "vocab_tokens": 0, "hidden": 16, "layers": 1, "heads": 2, "ffn": 32},
    **{"embed_dim": 16, "max_positions": 64, "compute_dtype": "float32"},
}


PROGRESS = ("random parameters made", "training step", "step")  # what a run says before it fails

# --- train -------------------------------------------------------------------------------------------------


def make_prepared_dir(directory: Path, seed: int) -> Path:
    """Two trained tasks and one with options that is evaluated; ids of a real, small tokenizer."""
    tokenizer = tokenizers.train(["yes no maybe what is the answer"] * 4, 280)
    directory.mkdir()
    tokenizer.save(directory / "tokenizer")
    rng = np.random.default_rng(seed)

    def ids(count: int) -> np.ndarray:
        return rng.integers(4, tokenizer.tokens, count)

    features = {"example_id": [b"0"], "template": [b""]}
    rows = [
        {**features, "prompt_ids": ids(9), "target_ids": np.append(ids(3), tokenizers.EOS)} for _ in range(40)
    ]
    option = [np.array([*tokenizer.encode(f" {word}"), tokenizers.EOS]) for word in ("yes", "no")]
    asked = {
        **features,
        "prompt_ids": np.array(tokenizer.encode("what is the answer?")),
        "target_ids": option[0],
        "prompt_text": [b"what is the answer?"],
        "target_text": [b"yes"],
        "references": [b"yes"],
        "options": [b"yes", b"no"],
        "option_ids": np.concatenate(option),
        "option_lengths": np.array([len(part) for part in option]),
    }
    tasks = [
        SyntheticTask("bench:one:zero_shot", {"train": rows[:20]}, rate=0.5),
        SyntheticTask("bench:two:zero_shot", {"train": rows[20:]}, rate=0.5),
        SyntheticTask(
            "bench:pick:zero_shot",
            {"test": [asked] * 3},
            trained=False,
            level="fully_held_out",
            evaluation_split="test",
            metric="accuracy",
        ),
    ]
    write_prepared(directory, tasks, length=32, tokens=tokenizer.tokens)
    return directory


def train(folder: Path, *bindings: str) -> list[str]:
    """Trains ``folder``/prepared into ``folder``/run; ``bindings`` override."""
    model = [f"Model.{name}={value}" for name, value in TINY.items()]
    usual = [
        *model,
        f"Train.run_dir={folder / 'run'}",
        f"Train.prepared_dir={folder / 'prepared'}",
        "Train.steps=3",
        "Train.log_every=1",
        "Loader.batch_size=8",
        "Mesh.data=8",
        "Checkpoints.every=1",
        "Checkpoints.keep=10",
        "Optimizer.peak_learning_rate=1e-3",
        "Optimizer.warmup_steps=1",
    ]
    return ["train", *(f"--gin.{binding}" for binding in (*usual, *bindings))]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared directory, a run of three updates and its Hugging Face export; never changed."""
    folder = tmp_path_factory.mktemp("kept")
    make_prepared_dir(folder / "prepared", seed=1)
    assert cli.main(train(folder)) == 0
    export = ["convert", "--to", "huggingface", "--no_compare", str(folder / "run"), str(folder / "hf")]
    assert cli.main(export) == 0
    return folder


@pytest.fixture
def place(kept: Path, tmp_path: Path) -> Path:
    """A copy of ``kept`` to spoil."""
    for name in ("prepared", "run", "hf"):
        shutil.copytree(kept / name, tmp_path / name)
    return tmp_path


def first_shard(place: Path) -> Path:
    return next((place / "prepared/cache/bench_one_zero_shot").glob("train*"))


def edit_manifest(place: Path, **changes: object) -> None:
    path = place / "prepared/manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def flip_bytes(path: Path) -> None:
    """Damages content, not size."""
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[: middle * 2] = bytes(byte ^ 0xFF for byte in content[: middle * 2])
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    ("spoil", "tells"),
    [
        (lambda p: shutil.rmtree(p / "prepared"), ("prepared/manifest.json", "iml prepare")),
        (
            lambda p: (p / "prepared/manifest.json").write_text("{\n oops"),
            ("manifest.json:2", "malformed JSON"),
        ),
        (lambda p: edit_manifest(p, format=99), ("manifest.json", "format 99", "iml prepare")),
        (lambda p: edit_manifest(p, length="long"), ("manifest.json", "length", "int", "iml prepare")),
        (lambda p: edit_manifest(p, name="other"), ("manifest.json", "fingerprint", "iml prepare")),
        (lambda p: shutil.rmtree(p / "prepared/tokenizer"), ("vocab.json", "iml prepare")),
        (lambda p: first_shard(p).unlink(), ("train", "missing", "iml prepare")),
        (
            lambda p: first_shard(p).write_bytes(first_shard(p).read_bytes()[:-100]),
            ("train", "truncated", "iml prepare"),
        ),
    ],
)
def test_prepared_directory(place, refused, spoil, tells) -> None:
    shutil.rmtree(place / "run")
    spoil(place)
    refused(MISTAKE, *train(place), tells=tells)


@pytest.mark.slow
def test_a_shard_with_damaged_content(place, refused) -> None:
    shutil.rmtree(place / "run")
    shard = first_shard(place)
    flip_bytes(shard)
    refused(MISTAKE, *train(place), tells=(shard.name, "iml prepare"), may_leave=("run",), progress=PROGRESS)
    assert not (place / "run/checkpoints/1").exists()


@pytest.mark.parametrize(
    ("bindings", "tells"),
    [
        (
            ("Model.vocab_rows=50272", "Model.vocab_tokens=50265"),
            ("manifest.json", "50265", "Model.vocab_rows"),
        ),
        (("Mesh.data=3",), ("Mesh", "3", "8")),
        (("Mesh.data=2", "Mesh.tensor=4"), ("heads", "tensor")),
        (("Loader.batch_size=12",), ("Loader.batch_size", "12", "8")),
        (("Train.accumulation=3",), ("Train.accumulation 3", "Loader.batch_size")),
        (("Train.accumulation=2",), ("accumulation", "batch_size")),
        (("Loader.length=128",), ("Loader.length is 128", "64 positions")),
        (("Train.steps=0",), ("Train.steps is 0", "at least 1")),
        (("Model.heads=3",), ("Model.heads", "3")),
        (("Train.initial_checkpoint=/nowhere",), ("/nowhere", "no such run or checkpoint")),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else None,
)
def test_training_settings(place, refused, bindings, tells) -> None:
    shutil.rmtree(place / "run")
    refused(MISTAKE, *train(place, *bindings), tells=tells)


def test_a_run_directory_of_others(place, refused) -> None:
    shutil.rmtree(place / "run")
    (place / "run").mkdir()
    (place / "run/thesis.txt").write_text("mine")
    words = (str(place / "run"), "not empty", "choose a new or empty Train.run_dir")
    refused(MISTAKE, *train(place), tells=words)


@pytest.mark.parametrize(
    ("bindings", "tells"),
    [
        (("Model.ffn=64",), ("run/config.gin", "Model.ffn = 32 there, 64 here")),
        (("Loader.seed=9",), ("seed", "start a new run")),
        (("Loader.batch_size=16",), ("batch_size", "start a new run")),
        (("Train.seed=9",), ("Train.seed = 1234 there, 9 here", "--allow_changed=Train.seed")),
        (("Train.steps=2",), ("Train.steps is 2, but 3 updates are done",)),
        (("Evaluate.tasks=('nothing',)", "Train.evaluate_every=1"), ("nothing",)),
        (("Generate.temperature=-1.0", "Train.evaluate_every=1"), ("Generate.temperature",)),
    ],
)
def test_resuming_with_another_setting(place, refused, bindings, tells) -> None:
    """Nothing is written: config.gin says what was trained."""
    refused(
        MISTAKE,
        *train(place, "Train.steps=4", *bindings),
        tells=tells,
        progress=("resume: ", "checkpoint restored"),
    )


def test_resuming_with_another_setting_that_is_allowed(place, capfd) -> None:
    """The dropout key is that of the new seed from there on; the run keeps a record."""
    again = [*train(place, "Train.steps=4", "Train.seed=9"), "--allow_changed=Train.seed"]
    assert cli.main(again) == 0
    said = capfd.readouterr().err
    assert "resume: Train.seed: saved 1234, now 9" in said
    assert "resume: Optimizer.total_steps: saved 3, now 4 (follows Train.steps)" in said
    record = [json.loads(line) for line in (place / "run/changes.jsonl").read_text().splitlines()]
    assert [(one["step"], one["parameter"], one["before"], one["after"]) for one in record] == [
        (3, "Train.steps", "3", "4"),
        (3, "Train.seed", "1234", "9"),
        (3, "Optimizer.total_steps", "3", "4"),
    ]
    text = (place / "run/config.gin").read_text()
    assert "Train.seed = 9\n" in text and "Train.steps = 4\n" in text
    assert cli.main(again) == 0  # the same command after a kill
    assert len((place / "run/changes.jsonl").read_text().splitlines()) == 3


def test_resuming_on_other_data(place, refused) -> None:
    make_prepared_dir(place / "other", seed=2)
    other = f"Train.prepared_dir={place / 'other'}"
    refused(MISTAKE, *train(place, other), tells=(str(place / "other"), "was begun on prepared data"))


@pytest.mark.slow
def test_a_loss_that_is_not_finite(place, refused) -> None:
    shutil.rmtree(place / "run")
    wild = ("Optimizer.peak_learning_rate=1e30", "Optimizer.warmup_steps=0", "Optimizer.clip_norm=0")
    refused(
        FAULT,
        *train(place, *wild, "Train.steps=8"),
        tells=("step ", "loss", "lower Optimizer.peak_learning_rate"),
        may_leave=("run",),
        progress=PROGRESS,
    )
    assert not [path for path in (place / "run").rglob("*") if ".tmp" in path.name or "-tmp" in path.name]


def largest_array_file(checkpoint: Path) -> Path:
    return max((checkpoint / "state").rglob("*"), key=lambda path: path.stat().st_size * path.is_file())


@pytest.mark.slow
def test_the_newest_checkpoint_is_damaged(place, capfd) -> None:
    """It is said, and the one before is taken."""
    spoilt = largest_array_file(place / "run/checkpoints/3")
    spoilt.write_bytes(spoilt.read_bytes()[:-50])
    assert cli.main(train(place)) == 0
    err = capfd.readouterr().err.splitlines()
    said = [line for line in err if "checkpoint 3 is not usable" in line]
    assert len(said) == 1 and spoilt.name in said[0]
    assert any(line.startswith("resumed at step 2 of 3") for line in err)
    steps = {path.name for path in (place / "run/checkpoints").iterdir()}
    assert steps == {"1", "2", "3", "3.refused"}


@pytest.mark.slow
def test_no_usable_checkpoint_stops_training(place, capfd) -> None:
    """Beginning anew would write over a run that its owner may still save."""
    for checkpoint in (place / "run/checkpoints").iterdir():
        largest_array_file(checkpoint).unlink()
    before = sorted(path.name for path in (place / "run/checkpoints").iterdir())
    metrics = (place / "run/metrics.jsonl").read_text()
    assert cli.main(train(place)) == 2
    err = capfd.readouterr().err.splitlines()
    assert (
        len(err) == 1 and "no checkpoint is usable (newest: 3" in err[0] and "move the folder away" in err[0]
    )
    assert sorted(path.name for path in (place / "run/checkpoints").iterdir()) == before
    assert (place / "run/metrics.jsonl").read_text() == metrics


@pytest.mark.parametrize("command", ["evaluate", "generate", "convert"])
def test_every_checkpoint_is_damaged(place, refused, command) -> None:
    for checkpoint in (place / "run/checkpoints").iterdir():
        largest_array_file(checkpoint).unlink()
    more = {
        "evaluate": ["run"],
        "generate": ["run", "--prompt", "x"],
        "convert": ["--to", "huggingface", "run", "out"],
    }
    argv = [str(place / word) if word in ("run", "out") else word for word in more[command]]
    refused(MISTAKE, command, *argv, tells=(str(place / "run"), "no finished checkpoint", "damaged"))


def test_a_checkpoint_with_flipped_bytes(place, refused, capfd) -> None:
    """All of them: in which files the weights that ``generate`` reads end up differs from save to save."""
    files = [path for path in (place / "run/checkpoints/3/state").rglob("d/*") if path.is_file()]
    assert files
    for path in files:
        flip_bytes(path)
    asked = ("--prompt", "what", "--gin.Generate.max_new_tokens=2")
    words = ("run/checkpoints/3", "does not have the checksum")
    refused(MISTAKE, "generate", place / "run/checkpoints/3", *asked, tells=words)
    assert cli.main(["generate", str(place / "run"), *asked]) == 0
    assert "taking the one before" in capfd.readouterr().err


# --- evaluate, generate, convert ---------------------------------------------------------------------------


def test_evaluate(place, refused) -> None:
    unknown = "--gin.Evaluate.tasks=('bench:nonesuch',)"
    refused(MISTAKE, "evaluate", place / "run", unknown, tells=("Evaluate.tasks", "bench:nonesuch"))
    elsewhere = f"--gin.Evaluate.prepared_dir={place / 'hf'}"
    refused(MISTAKE, "evaluate", place / "run", elsewhere, tells=("hf/manifest.json", "iml prepare"))
    refused(MISTAKE, "evaluate", place / "hf", tells=(str(place / "hf"), "neither a run"))


def test_generate(place, refused) -> None:
    missing = place / "nowhere.txt"
    refused(MISTAKE, "generate", place / "run", "--input", missing, tells=(str(missing), "cannot be read"))
    refused(MISTAKE, "generate", place / "run", tells=("--prompt", "--input"))
    shutil.rmtree(place / "run/tokenizer")
    refused(MISTAKE, "generate", place / "run", "--prompt", "x", tells=("run/tokenizer", "copy"))


def change_tensors(change: Callable[[dict[str, np.ndarray]], None]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors")

    return spoil


class _Malice:
    def __init__(self, trace: str) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return Path.write_text, (Path(self.trace), "it ran")


def malicious_pickle(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with (folder / "pytorch_model.bin").open("wb") as file:
        pickle.dump({"decoder.embed_tokens.weight": _Malice(str(folder / "trace"))}, file, protocol=2)


NORM = "model.decoder.final_layer_norm.weight"


@pytest.mark.parametrize(
    ("spoil", "tells"),
    [
        (change_tensors(lambda tensors: tensors.pop(NORM)), ("hf", "final_layer_norm.weight")),
        (
            change_tensors(lambda tensors: tensors.update(extra=np.ones(3, np.float32))),
            ("hf", "extra"),
        ),
        (
            change_tensors(lambda tensors: tensors.update({NORM: np.ones(5, np.float32)})),
            ("hf", "final_layer_norm.weight", "[5]", "[16]"),
        ),
        (malicious_pickle, ("pytorch_model.bin", "refused", "safetensors")),
        (lambda hf: replacing('"relu"', '"gelu"')(hf / "config.json"), ("config.json", "gelu", "'relu'")),
        (lambda hf: replacing('"opt"', '"llama"')(hf / "config.json"), ("config.json", "'llama'", "'opt'")),
        (lambda hf: (hf / "config.json").unlink(), ("config.json", "missing")),
        (
            lambda hf: (hf / "model.safetensors").write_bytes((hf / "model.safetensors").read_bytes()[:-9]),
            ("model.safetensors", "no whole safetensors file"),
        ),
        (lambda hf: (hf / "model.safetensors").unlink(), ("model.safetensors", "pytorch_model.bin")),
        (lambda hf: (hf / "vocab.json").unlink(), ("vocab.json",)),
    ],
)
def test_convert_from_huggingface(place, refused, spoil, tells) -> None:
    spoil(place / "hf")
    argv = ["convert", "--to", "orbax", "--no_compare", place / "hf", place / "out"]
    refused(MISTAKE, *argv, tells=tells)


def test_convert_onto_something(place, refused) -> None:
    for kind, source in (("huggingface", "run"), ("orbax", "hf")):
        argv = ["convert", "--to", kind, "--no_compare", place / source, place / "prepared"]
        refused(MISTAKE, *argv, tells=(str(place / "prepared"), "exists already", "name another"))


# --- a full disk ---


@pytest.mark.slow
def test_saving_on_a_full_disk(place, small_disk, refused) -> None:
    run_dir = small_disk / "run"
    argv = train(place, f"Train.run_dir={run_dir}", "Train.steps=30", "Checkpoints.keep=30")
    line = refused(FAULT, *argv, tells=(str(run_dir),), may_leave=("small",), progress=PROGRESS)
    assert "disk is full" in line or "No space left" in line  # of a checkpoint, or of a file beside it
    assert not list((run_dir / "checkpoints").glob("*tmp*"))
    newest = max((run_dir / "checkpoints").glob("[0-9]*"), key=lambda path: int(path.name))
    assert cli.main(["generate", str(newest), "--prompt", "what", "--gin.Generate.max_new_tokens=2"]) == 0


def test_the_manifest_of_the_fixture_is_a_real_one(kept) -> None:
    """Else every case above could fail for another reason than its own."""
    assert manifests.load(kept / "prepared").trained
    assert sorted(path.name for path in (kept / "run/checkpoints").iterdir()) == ["1", "2", "3"]
