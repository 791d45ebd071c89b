"""`iml evaluate` and `iml generate` on a run of a random model."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from support.prepared_questions import make_questions
from support.random_opt import PRE_NORM, on_mesh, random_params

from iml_jax import cli, config
from iml_jax.checkpoints.metadata import make_metadata
from iml_jax.checkpoints.store import CheckpointStore
from iml_jax.commands import generate
from iml_jax.data import manifest as manifests
from iml_jax.data import tokenizer as tokenizers
from iml_jax.evaluation import results
from iml_jax.evaluation.engine import checkpoint, exclusive, generation
from iml_jax.evaluation.pages import run_outputs
from iml_jax.foundation.errors import UserError
from iml_jax.models.handle import Model
from iml_jax.storage import lease
from iml_jax.storage.sealed import CHECKSUM, write_sealed

SHORT = ["--gin.Generate.max_new_tokens=5", "--gin.Generate.batch_size=4", "--gin.Evaluate.batch_size=8"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory):
    """(run directory, prepared directory, model config, parameters)"""
    folder = tmp_path_factory.mktemp("run")
    prepared, run = folder / "prepared", folder / "run"
    prepared.mkdir()
    make_questions(prepared)
    manifest = manifests.load(prepared)
    vocabulary = manifest.vocabulary
    config = dataclasses.replace(PRE_NORM, vocab_rows=vocabulary.rows, vocab_tokens=vocabulary.tokens)
    params = random_params(config, np.random.default_rng(2))
    metadata = make_metadata(
        config,
        3,
        manifest_fingerprint=manifest.fingerprint,
        vocabulary_fingerprint=vocabulary.fingerprint,
        vocabulary_tokens=vocabulary.tokens,
    )
    with CheckpointStore(run) as store:
        store.save(3, {"params": jax.tree.map(jax.numpy.asarray, params)}, None, metadata)
    shutil.copytree(prepared / "tokenizer", run / "tokenizer")
    (run / "config.gin").write_text(f"Train.run_dir = {str(run)!r}\nTrain.prepared_dir = {str(prepared)!r}\n")
    return run, prepared, config, params


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Runs a command that must be the user's mistake: exit 2, one line."""
    capsys.readouterr()
    assert cli.main(list(arguments)) == 2
    error = capsys.readouterr().err.strip()
    assert "\n" not in error
    return error


@pytest.mark.slow
def test_evaluate_writes_scores_predictions_and_report(place, capsys: pytest.CaptureFixture[str]) -> None:
    run, prepared, _, _ = place
    assert cli.main(["evaluate", str(run), *SHORT]) == 0
    out = capsys.readouterr().out
    found = results.load(run / "evaluation" / "3.json", predictions=True)
    assert [task.task for task in found.tasks] == ["choose", "write", "spell", "pick"]
    assert found.metadata["step"] == 3
    assert found.metadata["max_new_tokens"] == 5
    assert len(found.predictions) == sum(task.examples for task in found.tasks) == 26
    page = (run / "report.html").read_text()
    assert "Evaluation at step 3" in page
    assert "before training" not in page
    for text in ("Fully held out", "bench:pick:zero_shot", str(run / "report.html"), "3.json"):
        assert text.replace("\n", "") in out.replace("\n", "")

    # The same again with a reference given, into a file of its own, on another mesh.
    reference = run / "evaluation" / "3.json"
    other = run.parent / "other.json"
    again = [
        "evaluate",
        str(run / "checkpoints" / "3"),
        "--reference",
        str(reference),
        "--output",
        str(other),
    ]
    mesh = ["--gin.Mesh.data=2", "--gin.Mesh.fsdp=2", "--gin.Mesh.tensor=2"]
    mesh += [f"--gin.Evaluate.prepared_dir={prepared}", "--gin.Evaluate.tasks=('*:pick:*',)"]
    assert cli.main([*again, *mesh, *SHORT]) == 0
    assert results.load(other).tasks == found.tasks[3:]
    assert (
        "not distinguishable from the model at step 3 (difference +0.0, "
        in other.with_suffix(".html").read_text()
    )


def test_evaluate_takes_the_start_of_the_run_as_reference(place, capsys: pytest.CaptureFixture[str]) -> None:
    run, _, _, _ = place
    few = [*SHORT, "--gin.Evaluate.examples_per_task=2", "--gin.Evaluate.tasks=('bench:pick',)"]
    shutil.rmtree(run / "evaluation", ignore_errors=True)
    assert cli.main(["evaluate", str(run), *few]) == 0
    start = run / "evaluation" / "0.json"
    found = results.load(run / "evaluation" / "3.json")
    results.save(dataclasses.replace(found, metadata={**found.metadata, "step": 0}), start)
    assert cli.main(["evaluate", str(run), *few]) == 0
    assert "the model before training" in (run / "report.html").read_text()
    capsys.readouterr()
    assert cli.main(["evaluate", str(run), *few, "--gin.Evaluate.examples_per_task=3"]) == 0
    captured = capsys.readouterr()
    assert (
        "0.json is not used as the reference: the reference results have examples_per_task 2" in captured.err
    )
    (page,) = (run / "evaluation").glob("3.*.html")
    assert "before training" not in page.read_text()
    assert "before training" in (run / "report.html").read_text()
    shutil.rmtree(run / "evaluation")


def test_a_result_is_replaced_only_by_one_of_the_same_settings(
    place, capsys: pytest.CaptureFixture[str]
) -> None:
    run, _, _, _ = place
    few = ["evaluate", str(run), *SHORT, "--gin.Evaluate.tasks=('bench:pick',)"]
    folder = run / "evaluation"
    shutil.rmtree(folder, ignore_errors=True)
    assert cli.main([*few, "--gin.Evaluate.examples_per_task=2"]) == 0
    kept = {file: file.read_bytes() for file in (*folder.iterdir(), run / "report.html")}
    assert {file.name for file in kept} == {"3.json", "3.predictions.jsonl", "report.html"}
    capsys.readouterr()

    others = ["--gin.Evaluate.examples_per_task=3", "--gin.Model.compute_dtype=bfloat16"]
    assert cli.main([*few, *others]) == 0
    told = capsys.readouterr().err
    assert "Evaluate.examples_per_task 3 instead of 2" in told
    assert 'Model.compute_dtype "bfloat16" instead of "float32"' in told
    assert {file: file.read_bytes() for file in kept} == kept
    (other,) = folder.glob("3.*.json")
    assert run_outputs.parse(other) == (3, other.stem.partition(".")[2])
    assert other.name in told and results.load(other).metadata["examples_per_task"] == 3
    assert other.with_suffix(".html").is_file()
    assert run_outputs.saved_steps(run) == [3]

    # The same settings again replace it; what changes no answer is not a setting.
    names = {file.name for file in folder.iterdir()}
    assert cli.main([*few, *others, "--gin.Evaluate.batch_size=4", "--gin.Model.remat=full"]) == 0
    assert {file.name for file in folder.iterdir()} == names
    assert {file: file.read_bytes() for file in kept} == kept

    # A run that evaluates itself has the plain names for its own settings, before there is any result.
    shutil.rmtree(folder)
    saved = (run / "config.gin").read_text()
    (run / "config.gin").write_text(f"{saved}Train.evaluate_every = 2\nEvaluate.examples_per_task = 2\n")
    assert cli.main([*few, "--gin.Evaluate.examples_per_task=3"]) == 0
    assert not (folder / "3.json").exists() and list(folder.glob("3.*.json"))
    (run / "config.gin").write_text(saved)
    shutil.rmtree(folder)


def test_an_evaluation_records_what_was_run(place) -> None:
    """The configuration in the result is that of the model, not of what the command line left open."""
    run, prepared, model, _ = place
    asked = ["--gin.Evaluate.tasks=('bench:pick',)", "--gin.Evaluate.prefix=eos", "--gin.Model.remat=full"]
    output = run.parent / "recorded.json"
    assert cli.main(["evaluate", str(run), *SHORT, *asked, "--output", str(output)]) == 0
    found = results.load(output).metadata
    written = config.load_text(found["config"])
    assert written.build("Model") == dataclasses.replace(model, remat="full")
    assert dataclasses.asdict(written.build("Model")) == found["model"]
    assert written.build("Evaluate").prepared_dir == str(prepared)
    assert written.build("Evaluate").generate.prefix == "eos"
    mesh = written.build("Mesh")
    assert {"data": mesh.data, "fsdp": mesh.fsdp, "tensor": mesh.tensor} == found["mesh"]


def test_evaluate_refuses(place, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, prepared, _, _ = place
    assert "no such run or checkpoint" in fails(capsys, "evaluate", str(tmp_path / "nothing"))
    assert "must end in .json" in fails(capsys, "evaluate", str(run), "--output", "x.txt")
    assert "no such file" in fails(capsys, "evaluate", str(run), "--reference", str(tmp_path / "r.json"))
    assert "Model.layers" in fails(capsys, "evaluate", str(run), "--gin.Model.layers=9")
    assert "no such manifest" in fails(
        capsys, "evaluate", str(run), f"--gin.Evaluate.prepared_dir={tmp_path}"
    )
    assert "Mesh" in fails(capsys, "evaluate", str(run), "--gin.Mesh.data=3")
    assert "max_new_tokens is 64" in fails(capsys, "evaluate", str(run), "--gin.Generate.max_new_tokens=64")

    # Another vocabulary of the same size, and data prepared again under the same name.
    copy = tmp_path / "prepared"
    shutil.copytree(prepared, copy)
    manifest = manifests.load(copy)
    other = dataclasses.replace(manifest.vocabulary, fingerprint="f" * 64)
    manifests.save(dataclasses.replace(manifest, vocabulary=other), copy)
    error = fails(capsys, "evaluate", str(run), f"--gin.Evaluate.prepared_dir={copy}")
    assert "prepared with vocabulary ffffffffffff, but" in error
    manifests.save(dataclasses.replace(manifest, name="renamed"), copy)
    moved = tmp_path / "run"
    shutil.copytree(run, moved)
    (moved / "config.gin").write_text(f"Train.run_dir = 'x'\nTrain.prepared_dir = {str(copy)!r}\n")
    assert "was prepared again since" in fails(capsys, "evaluate", str(moved))
    shutil.rmtree(copy)
    assert "is gone; give --gin.Evaluate.prepared_dir" in fails(capsys, "evaluate", str(moved))
    (moved / "config.gin").unlink()
    assert "no run says what it was trained on" in fails(capsys, "evaluate", str(moved))
    assert (
        not (moved / "report.html").exists()
        or (moved / "report.html").read_bytes() == (run / "report.html").read_bytes()
    )


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("p.txt", "\ufeffa\u2028b\n\nc\x0cd\r\n e\x85", ["a\u2028b", "c\x0cd", " e\x85"]),
        ("p.jsonl", '\ufeff"a\u2028b"\n{"prompt": "c\\u0085d"}\n', ["a\u2028b", "c\x85d"]),
        ("p.jsonl", '"a"\n"\\ud83d"\n', r"p\.jsonl:2: a text with half of a surrogate pair"),
        ("p.jsonl", '{"prompt": "a", "id": NaN}\n', r"p\.jsonl:1: .*NaN is not a JSON value"),
        ("p.jsonl", "[" * 4000, r"p\.jsonl:1: "),
        ("p.jsonl", '{"prompt": 3}\n', r"p\.jsonl:1: expected a string"),
    ],
)
def test_prompts_are_lines_of_text(tmp_path, name, content, found):
    (tmp_path / name).write_bytes(content.encode("utf-8", "surrogatepass"))
    if isinstance(found, list):
        assert list(generate.read_prompts(tmp_path / name)) == found
        return
    with pytest.raises(UserError, match=found):
        list(generate.read_prompts(tmp_path / name))


def test_places_and_references_are_checked_before_the_model_is_read(
    place, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _, _, _ = place
    few = [*SHORT, "--gin.Evaluate.examples_per_task=2", "--gin.Evaluate.tasks=('bench:pick',)"]
    reference = tmp_path / "reference.json"
    assert cli.main(["evaluate", str(run), *few, "--output", str(reference)]) == 0
    before = sorted(run.rglob("*"))

    def unread(*arguments: object) -> None:
        pytest.fail("the model was read")

    monkeypatch.setattr(checkpoint, "load_model", unread)
    (tmp_path / "file").write_text("")
    remedy = "give --output FILE.json in a directory that you may write to"
    error = fails(capsys, "evaluate", str(run), "--output", str(tmp_path / "file" / "x.json"))
    assert error.endswith(f"x.json: cannot be written (Not a directory); {remedy}")
    for taken in ("x.predictions.jsonl", "x.html", "x.json"):
        (tmp_path / taken).mkdir()
        error = fails(capsys, "evaluate", str(run), "--output", str(tmp_path / "x.json"))
        assert error.endswith(f"{taken}: cannot be written (Is a directory); {remedy}")
        (tmp_path / taken).rmdir()
    (tmp_path / "x.unfinished").write_text("")
    error = fails(capsys, "evaluate", str(run), "--output", str(tmp_path / "x.json"))
    assert "x.unfinished" in error and "Not a directory" in error

    good = json.loads(reference.read_text())
    unsealed = {key: value for key, value in good.items() if key != CHECKSUM}
    named = f"--reference {reference}"
    for change, said in (
        (
            {"metadata": {**good["metadata"], "manifest_fingerprint": "f"}},
            "have manifest_fingerprint f, these",
        ),
        ({"metadata": {**good["metadata"], "max_new_tokens": 6}}, "have max_new_tokens 6, these 5"),
        ({"metadata": {**good["metadata"], "prefix": "eos"}}, "have prefix eos, these none"),
        ({"metadata": {**good["metadata"], "option_scoring": "x"}}, "have option_scoring x, these sum"),
        ({"metadata": {**good["metadata"], "examples_per_task": 3}}, "have examples_per_task 3, these 2"),
        (
            {"tasks": [{**good["tasks"][0], "name": "bench:other:zero_shot"}]},
            "2 examples of split test are evaluated, but the reference results lack it",
        ),
        ({"tasks": [{**good["tasks"][0], "examples": 1}]}, "the reference results have 1 of split test"),
    ):
        write_sealed(reference, {**unsealed, **change})
        error = fails(capsys, "evaluate", str(run), *few, "--reference", str(reference))
        assert named in error and said in error
    reference.write_text("{")
    assert "reference.json:1" in fails(capsys, "evaluate", str(run), *few, "--reference", str(reference))
    reference.write_text(json.dumps(good))
    with pytest.raises(pytest.fail.Exception, match="the model was read"):
        cli._dispatch(["evaluate", str(run), *few, "--reference", str(reference)])
    assert sorted(run.rglob("*")) == before


def test_evaluation_in_use_and_files_of_others(
    place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, *_ = place
    with exclusive.held_result(tmp_path / "mine.json"):
        said = fails(capsys, "evaluate", str(run), "--output", str(tmp_path / "mine.json"), *SHORT)
    assert "mine.json is in use: host " in said
    (tmp_path / "package.json").write_text('{"name": "mine"}')
    assert "no evaluation" in fails(capsys, "evaluate", str(run), "--output", str(tmp_path / "package.json"))
    (tmp_path / "index.html").write_text("<html>mine</html>")
    assert "no page of iml_jax" in fails(
        capsys, "evaluate", str(run), "--output", str(tmp_path / "index.json")
    )
    assert (tmp_path / "index.html").read_text() == "<html>mine</html>"
    assert (tmp_path / "package.json").read_text() == '{"name": "mine"}'


def test_generate_answers_prompts(place, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, _, config, params = place
    prompts = ["what is one?", "yes or no:", 'say "two"']
    tokenizer = tokenizers.load(run / "tokenizer")
    placed, mesh = on_mesh(config, params)
    ids = [tokenizer.encode(prompt) for prompt in prompts]
    answers = generation.generate_greedily(Model(config, placed, mesh), ids, generation.GenerateConfig(5, 4))
    expected = [tokenizer.decode(answer.ids).strip() for answer in answers]
    assert len(set(expected)) > 1

    flags = [flag for prompt in prompts for flag in ("--prompt", prompt + " ")]
    assert cli.main(["generate", str(run), *flags, *SHORT[:2]]) == 0
    assert capsys.readouterr().out == "".join(text + "\n" for text in expected)

    for name, lines in {
        "a.txt": prompts,
        "a.jsonl": [json.dumps(prompts[0]), json.dumps({"prompt": prompts[1]}), "", json.dumps(prompts[2])],
    }.items():
        file = tmp_path / name
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        assert cli.main(["generate", str(run), "--input", str(file), *SHORT[:2]]) == 0
        records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [record["prompt"] for record in records] == prompts
        assert [record["answer"] for record in records] == expected
        assert [record["finished"] for record in records] == [answer.finished for answer in answers]


def test_generate_writes_as_it_goes_and_continues(
    place, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks of 4 prompts; killed in the third; stdout has each chunk before the next one is computed."""
    run, _, _, _ = place
    prompts = [f"what is {n}?" for n in range(11)]
    source, output = tmp_path / "prompts.txt", tmp_path / "answers.jsonl"
    source.write_text("\n".join(prompts) + "\n")
    draw = [
        "--gin.Generate.max_new_tokens=5",
        "--gin.Generate.batch_size=1",
        "--gin.Generate.temperature=1.0",
    ]
    command = ["generate", str(run), "--input", str(source), *draw]
    monkeypatch.setattr(generate, "CHUNK", 4)
    answered, calls, seen = generation.write_answers, [], []

    def watched(*arguments, **keywords):
        calls.append(list(keywords["numbers"]))
        seen.append(len(capsys.readouterr().out.splitlines()))
        return answered(*arguments, **keywords)

    monkeypatch.setattr(generation, "write_answers", watched)
    assert cli.main(command) == 0
    assert calls == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]] and seen == [0, 4, 4]
    capsys.readouterr()
    assert cli.main([*command, "--output", str(output)]) == 0
    assert seen[3:] == [0, 0, 0] and capsys.readouterr().out == ""
    whole = output.read_bytes()
    assert [json.loads(line)["prompt"] for line in whole.splitlines()] == prompts

    def killed(*arguments, **keywords):
        if len(calls) == 8:
            raise KeyboardInterrupt
        return watched(*arguments, **keywords)

    output.unlink()
    monkeypatch.setattr(generation, "write_answers", killed)
    assert cli.main([*command, "--output", str(output)]) == 130
    assert output.read_bytes() == b"".join(whole.splitlines(keepends=True)[:8])
    output.write_bytes(whole[: len(output.read_bytes()) - 3])  # as if the last line were half written
    monkeypatch.setattr(generation, "write_answers", watched)
    capsys.readouterr()
    assert cli.main([*command, "--output", str(output), "--gin.Generate.batch_size=1"]) == 0
    assert calls[8:] == [[4, 5, 6, 7], [8, 9, 10]]
    assert output.read_bytes() == whole

    with lease.hold(output.with_suffix(".lease"), "the answers"):
        assert "answers.jsonl is in use: host " in fails(capsys, *command, "--output", str(output))
    monkeypatch.setattr(checkpoint, "load_model", pytest.fail)
    other = fails(capsys, *command, "--output", str(output), "--gin.Generate.max_new_tokens=6")
    assert "answers.jsonl: was written with Generate.max_new_tokens 5, now it is 6; give the" in other
    (tmp_path / "file").write_text("")
    assert "cannot be written (Not a directory)" in fails(
        capsys, *command, "--output", str(tmp_path / "file" / "a.jsonl")
    )
    assert "--output goes with --input" in fails(
        capsys, "generate", str(run), "--prompt", "a", "--output", str(tmp_path / "b.jsonl")
    )
    assert output.read_bytes() == whole


def test_generate_refuses(place, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, _, _, _ = place
    assert "give either --prompt" in fails(capsys, "generate", str(run))
    assert "give either --prompt" in fails(capsys, "generate", str(run), "--prompt", "a", "--input", "b")
    assert "prompt 2 is empty" in fails(
        capsys, "generate", str(run), "--prompt", "a", "--prompt", " ", *SHORT[:2]
    )
    assert "cannot be read" in fails(capsys, "generate", str(run), "--input", str(tmp_path / "none.txt"))
    file = tmp_path / "bad.jsonl"
    file.write_text('"fine"\n{"text": 3}\n')
    assert 'bad.jsonl:2: expected a string or an object with the key "prompt"' in fails(
        capsys, "generate", str(run), "--input", str(file)
    )
    file.write_text('"fine"\n{oops\n')
    assert "bad.jsonl:2: malformed JSON" in fails(capsys, "generate", str(run), "--input", str(file))
    file.write_text("\n")
    assert "holds no prompt" in fails(capsys, "generate", str(run), "--input", str(file))
