"""The main job with the real commands, each in its own process: prepare, train, evaluate, convert."""

from __future__ import annotations

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from support.command_runs import MESH, SHORT, TASKS, TRAIN_STEPS, Way, iml, modification_times

from iml_jax.checkpoints.restore import restore_params
from iml_jax.data import manifest as manifests
from iml_jax.evaluation import results
from iml_jax.evaluation.metrics import levels

pytestmark = pytest.mark.slow

COMMANDS = ("prepare", "again", "train", "evaluate", "to_huggingface", "to_orbax", "evaluate_converted")


def parameters(place: Path) -> dict[str, np.ndarray]:
    _, params, _ = restore_params(place)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in jax.tree.leaves_with_path(params)}


def assert_same_bits(one: Path, other: Path) -> None:
    first, second = parameters(one), parameters(other)
    assert first.keys() == second.keys()
    for name, array in first.items():
        assert array.dtype == second[name].dtype == np.float32, name
        assert array.tobytes() == second[name].tobytes(), name


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_succeeds_and_shows_no_noise(way: Way, command: str) -> None:
    done = getattr(way, command)
    assert done.status == 0, done.err
    started = ("random parameters made: ", "training step compiled: ", "training step loaded ")
    expected = ("step ", "evaluation:", "goodput ", "convert: ", *started)
    assert [line for line in done.err.splitlines() if not line.startswith(expected)] == []


def test_prepare_leaves_what_was_asked_for(way: Way) -> None:
    manifest = manifests.load(way.prepared)
    assert sorted(entry.name for entry in manifest.evaluated) == sorted(
        f"{task.replace('/', '#2f')}:zero_shot" for task in TASKS
    )
    assert len(manifest.trained) == len(TASKS) - 1
    levels = {entry.task: entry.level for entry in manifest.evaluated}
    assert levels.pop("mini_cause/work") == "fully_held_out"
    assert set(levels.values()) == {"fully_supervised"}
    table = json.loads((way.prepared / "mixture_table.json").read_text())
    assert table
    assert (way.prepared / "mixture_table.txt").read_text() in way.prepare.out


def test_preparing_again_does_nothing(way: Way) -> None:
    assert f"{len(TASKS)} tasks, {len(TASKS)} of them already prepared" in way.again.out
    cached = {path: time for path, time in way.before.items() if way.prepared / "cache" in path.parents}
    assert len(cached) > len(TASKS)
    after = modification_times(way.prepared / "cache")
    assert after == cached
    bench = {path: time for path, time in way.before.items() if way.folder / "bench" in path.parents}
    assert modification_times(way.folder / "bench") == bench


def test_training_leaves_a_run_that_explains_itself(way: Way) -> None:
    files = (
        *("config.gin", "environment.json", "manifest.json", "metrics.jsonl", "report.html"),
        *("tokenizer/vocab.json", "tensorboard", "checkpoints/40", "checkpoints/80"),
        *("evaluation/0.json", "evaluation/80.json", "evaluation/80.predictions.jsonl"),
    )
    assert [name for name in files if not (way.run / name).exists()] == []
    records = [json.loads(line) for line in (way.run / "metrics.jsonl").read_text().splitlines()]
    trained = [record["loss"] for record in records if record["kind"] == "train"]
    assert all(np.isfinite(trained)) and trained[-1] < trained[0]
    assert [r["step"] for r in records if r["kind"] == "evaluation"] == [0, TRAIN_STEPS]
    page = (way.run / "report.html").read_text()
    assert "Fully held out" in page and "<svg" in page and "http://www.w3.org" in page
    assert way.train.out == f"run: {way.run}\nreport: {way.run / 'report.html'}\n"
    told = [line for line in way.train.err.splitlines() if "evaluation, points of 100: fully" in line]
    assert [line.split()[1] for line in told] == [f"0/{TRAIN_STEPS}", f"{TRAIN_STEPS}/{TRAIN_STEPS}"]
    phases = [line.partition(":")[0] for line in way.train.err.splitlines() if not line.startswith("step")]
    assert max(phases.count(phase) for phase in phases) <= 2 * 11  # two evaluations, a line a tenth


def test_a_log_shows_whole_task_names(way: Way) -> None:
    for task in TASKS:
        assert f"{task.replace('/', '#2f')}:zero_shot " in way.evaluate.out


def test_a_training_process_loads_neither_tensorflow_nor_torch(way: Way) -> None:
    loaded = {name.partition(".")[0] for name in json.loads(way.modules.read_text())}
    assert {"jax", "orbax", "iml_jax"} <= loaded
    assert loaded & {"tensorflow", "seqio", "t5", "apache_beam", "torch", "transformers"} == set()


def test_evaluating_afterwards_gives_what_training_found(way: Way) -> None:
    """``iml evaluate`` has replaced 80.json; metrics.jsonl keeps what the training process found."""
    found = results.load(way.run / "evaluation" / f"{TRAIN_STEPS}.json", predictions=True)
    assert sorted(task.task for task in found.tasks) == sorted(task.partition(":")[2] for task in TASKS)
    records = [json.loads(line) for line in (way.run / "metrics.jsonl").read_text().splitlines()]
    seen = next(r for r in records if r["kind"] == "evaluation" and r["step"] == TRAIN_STEPS)
    assert {name: seen[name] for name in seen if name not in ("step", "kind")} == pytest.approx(
        levels.level_metrics(found.tasks)
    )


def test_there_and_back_the_tensors_are_the_same_bits(way: Way) -> None:
    assert "logits: max abs difference" in way.to_huggingface.out
    assert "logits: max abs difference" in way.to_orbax.out
    assert_same_bits(way.run, way.orbax)
    assert [name for name in ("config.json", "generation_config.json", "README.md", "merges.txt")
            if not (way.huggingface / name).is_file()] == []  # fmt: skip


def test_the_converted_model_answers_the_same(way: Way) -> None:
    own = results.load(way.run / "evaluation" / f"{TRAIN_STEPS}.json", predictions=True)
    converted = results.load(way.folder / "converted.json", predictions=True)
    assert converted.predictions == own.predictions
    assert converted.tasks == own.tasks
    assert (way.folder / "converted.html").is_file()


def test_transformers_continues_prompts_as_generate_does(way: Way) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    found = results.load(way.run / "evaluation" / f"{TRAIN_STEPS}.json", predictions=True)
    written = {record.task: record for record in found.predictions if not record.options}
    assert len(written) == 3
    prompts = [record.prompt for record in written.values()]
    asked = [flag for prompt in prompts for flag in ("--prompt", prompt)]
    done = iml("generate", way.run, "--cpu_devices=8", *asked, SHORT[0])
    assert done.status == 0 and done.err == "", done.err
    tokenizer = transformers.AutoTokenizer.from_pretrained(way.huggingface, local_files_only=True)
    model = transformers.AutoModelForCausalLM.from_pretrained(way.huggingface, local_files_only=True).eval()
    answers = []
    for prompt in prompts:
        inputs = tokenizer(prompt, return_tensors="pt", add_special_tokens=False)
        with torch.no_grad():
            ids = model.generate(**inputs, max_new_tokens=8, do_sample=False)[0]
        new = ids[inputs["input_ids"].shape[1] :]
        answers.append(tokenizer.decode(new, skip_special_tokens=True).strip())
    assert done.out == "".join(f"{answer}\n" for answer in answers)
    assert answers == [record.prediction for record in written.values()]
    assert any(answers)


def test_the_saved_configuration_runs_again_to_the_same_model(way: Way) -> None:
    again = way.folder / "rerun"
    done = iml(
        "train",
        "--cpu_devices=8",
        f"--gin_file={way.run / 'config.gin'}",
        f"--gin.Train.run_dir={again}",
        "--gin.Train.evaluate_ends=False",
    )
    assert done.status == 0, done.err
    assert_same_bits(way.run, again)
    changed = ("Train.run_dir", "Train.evaluate_ends")

    def bindings(run: Path) -> list[str]:
        lines = (run / "config.gin").read_text().splitlines()
        return [line for line in lines if not line.startswith(changed)]

    assert [line for line in bindings(way.run) if str(way.run) not in line] == [
        line for line in bindings(again) if str(again) not in line
    ]


def test_training_a_finished_run_again_does_nothing(way: Way) -> None:
    checkpoints = modification_times(way.run / "checkpoints")
    done = iml("train", "--cpu_devices=8", f"--gin_file={way.run / 'config.gin'}", *MESH)
    assert done.status == 0
    assert f"resumed at step {TRAIN_STEPS} of {TRAIN_STEPS}" in done.err
    assert modification_times(way.run / "checkpoints") == checkpoints
