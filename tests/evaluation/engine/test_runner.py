"""The whole evaluation of a random model on synthetic prepared tasks."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from support.prepared_questions import make_questions
from support.random_opt import PRE_NORM, on_mesh, random_params

from iml_jax.data import manifest as manifests
from iml_jax.data import record_format
from iml_jax.data import tokenizer as tokenizers
from iml_jax.evaluation import results
from iml_jax.evaluation.engine import answering, provenance, questions, runner, scoring
from iml_jax.evaluation.engine.generation import GenerateConfig
from iml_jax.evaluation.engine.runner import EvaluateConfig, evaluate
from iml_jax.evaluation.metrics import answer_metrics, averages, confidence
from iml_jax.evaluation.pages import report, report_tables
from iml_jax.foundation import versions
from iml_jax.foundation.errors import UserError
from iml_jax.models.handle import Model

CONFIG = EvaluateConfig(batch_size=4, generate=GenerateConfig(max_new_tokens=5, batch_size=3))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("prepared")
    make_questions(directory)
    return directory


@pytest.fixture(scope="module")
def model(prepared: Path):
    vocabulary = manifests.load(prepared).vocabulary
    config = dataclasses.replace(PRE_NORM, vocab_rows=vocabulary.rows, vocab_tokens=vocabulary.tokens)
    return config, random_params(config, np.random.default_rng(5))


@pytest.fixture(scope="module")
def found(prepared: Path, model) -> results.Results:
    params, mesh = on_mesh(*model)
    return evaluate(
        Model(model[0], params, mesh), prepared, CONFIG, metadata={"step": 7}, log=lambda text: None
    )


def test_scores_are_means_of_what_was_predicted(found: results.Results) -> None:
    assert [task.task for task in found.tasks] == ["choose", "write", "spell", "pick"]
    for task in found.tasks:
        own = [one for one in found.predictions if one.task == task.name]
        assert task.examples == len(own)
        means = []
        for template, score in task.templates.items():
            points = [one.score for one in own if one.template == template]
            assert score.examples == len(points)
            assert score.score == pytest.approx(np.mean(points))
            means.append(np.mean(points))
        assert task.score == pytest.approx(np.mean(means))
    assert found.tasks[0].templates.keys() == {
        "a",
        "b",
    }  # six and two examples, each template counts the same


def test_predictions_carry_their_evidence(found: results.Results) -> None:
    for one in found.predictions:
        if one.options:
            assert len(one.log_likelihoods) == len(one.options)
            best = int(np.argmax(one.log_likelihoods))
            assert one.prediction == one.options[best]
            correct = {one.options.index(reference) for reference in one.references}
            assert one.score == 100.0 * scoring.choose(one.log_likelihoods, correct)[1]
        else:
            metric = "rouge_l" if "write" in one.task else "exact_match"
            assert one.score == answer_metrics.score(metric, one.prediction, one.references)
            assert one.log_likelihoods == ()
    choose = [one.prompt for one in found.predictions if "choose" in one.task]
    assert [prompt[0] for prompt in choose] == ["a"] * 3 + ["b"] + ["a"] * 3 + [
        "b"
    ]  # the order of the two shards


class Quiet:
    """Progress of which nothing is shown."""

    def advance(self, questions: int) -> None:
        del questions


@pytest.mark.parametrize("prefix", ["none", "eos"])
def test_prompts_that_are_not_stored_whole_are_answered_alike(
    prepared: Path, model, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the model had the most positions that there may be: nothing before its last tokens is read."""
    params, mesh = on_mesh(*model)
    monkeypatch.setattr("iml_jax.data.record_format.LONGEST_ROW", model[0].max_positions)
    monkeypatch.setattr("iml_jax.evaluation.engine.answering.LONGEST_ROW", model[0].max_positions)
    whole, stored = [], []
    for entry in manifests.load(prepared).evaluated:
        for number, one in enumerate(questions.read(prepared, entry, "test", 0)[:3]):
            ids = np.resize(one.prompt_ids, (10, model[0].max_positions, 400)[number])
            kept, _, cut = record_format.truncate_question(ids, ids)
            whole.append(dataclasses.replace(one, prompt_ids=ids))
            stored.append(dataclasses.replace(one, prompt_ids=kept, cut=cut))
    assert sum(bool(one.cut) for one in stored) == 4
    config = dataclasses.replace(CONFIG, prefix=prefix)
    place = answering.TextModel(Model(model[0], params, mesh), tokenizers.load(prepared / "tokenizer"))
    task_metrics = {entry.name: entry.metric for entry in manifests.load(prepared).evaluated}
    found = [answering.answer(place, asked, task_metrics, config, Quiet()) for asked in (whole, stored)]
    assert found[0] == found[1]
    assert max(one.prediction.truncated_tokens for one in found[1]) > 300
    longer = dataclasses.replace(model[0], max_positions=model[0].max_positions + 1)
    with pytest.raises(UserError, match="tokens are stored, and the model has 65 positions"):
        answering.answer(
            dataclasses.replace(place, model=dataclasses.replace(place.model, config=longer)),
            stored,
            task_metrics,
            config,
            Quiet(),
        )


def test_answers_longer_than_the_model_are_refused_before_a_question(prepared: Path, model) -> None:
    """Only where a chosen task writes answers; `iml train` asks before its first update."""
    long = dataclasses.replace(CONFIG, generate=GenerateConfig(max_new_tokens=64))
    manifest = manifests.load(prepared)
    with pytest.raises(UserError, match="max_new_tokens is 64, but the model has only 64 positions"):
        runner.check_positions(model[0], manifest, prepared, long)
    runner.check_positions(model[0], manifest, prepared, CONFIG)
    chosen = dataclasses.replace(long, tasks=("*choose*", "*pick*"))
    runner.check_positions(model[0], manifest, prepared, chosen)


def test_constant_answers(found: results.Results) -> None:
    by_name = {task.task: task for task in found.tasks}
    assert by_name["pick"].constant_score == pytest.approx(100 * 4 / 6)
    assert by_name["pick"].constant_answer == "yes"
    assert by_name["spell"].constant_answer == "one two"
    assert by_name["spell"].constant_score == 100
    for task in found.tasks:
        assert task.gain.mean == pytest.approx(task.score - task.constant_score)
        options = [len(one.options) for one in found.predictions if one.task == task.name]
        expected = None if 0 in options else pytest.approx(sum(100 / n for n in options) / len(options))
        assert task.chance == expected


def test_counts_and_metadata(found: results.Results, prepared: Path, model) -> None:
    # 64 positions less 5 new tokens, about 27 byte-level tokens a prompt: nothing is cut here.
    assert all(task.truncated == 0 and not task.dropped for task in found.tasks)
    manifest = manifests.load(prepared)
    for key, value in {
        "step": 7,
        "manifest_fingerprint": manifest.fingerprint,
        "vocabulary": {"fingerprint": manifest.vocabulary.fingerprint, "tokens": manifest.vocabulary.tokens},
        "prefix": provenance.PREFIX_POLICY["none"],
        "model": dataclasses.asdict(model[0]),
        "mesh": {"data": 1, "fsdp": 1, "tensor": 1},
    }.items():
        assert found.metadata[key] == value
    assert found.metadata["versions"]["jax"]


def test_eight_devices_say_the_same(found: results.Results, prepared: Path, model) -> None:
    params, mesh = on_mesh(*model, 2, 2, 2)
    other = evaluate(Model(model[0], params, mesh), prepared, CONFIG, log=lambda text: None)
    assert other.tasks == found.tasks
    for one, same in zip(found.predictions, other.predictions, strict=True):
        np.testing.assert_allclose(one.log_likelihoods, same.log_likelihoods, atol=1e-4)
        assert dataclasses.replace(one, log_likelihoods=()) == dataclasses.replace(same, log_likelihoods=())


@pytest.mark.parametrize("kind", ["per_token", "per_byte", "unconditional"])
def test_normalised_options(found: results.Results, prepared: Path, model, kind: str) -> None:
    params, mesh = on_mesh(*model)
    config = dataclasses.replace(CONFIG, normalisation=kind, neutral_prompt="the answer")
    other = evaluate(Model(model[0], params, mesh), prepared, config, log=lambda text: None)
    assert other.metadata["option_scoring"] == provenance.SCORING_POLICY[kind]
    choices = [
        (one, same) for one, same in zip(found.predictions, other.predictions, strict=True) if one.options
    ]
    assert choices
    for one, same in choices:
        np.testing.assert_allclose(one.log_likelihoods, same.log_likelihoods, atol=1e-5)
        gone = np.subtract(same.log_likelihoods, same.normalised)
        if kind == "per_byte":
            by = [len(option.encode()) for option in one.options]
            np.testing.assert_allclose(same.normalised, np.divide(one.log_likelihoods, by), atol=1e-5)
        elif kind == "unconditional":  # the same for every question with these options
            np.testing.assert_allclose(
                gone, np.subtract(choices[0][1].log_likelihoods, choices[0][1].normalised), atol=1e-4
            )
            assert np.abs(gone).min() > 0.1
        assert same.prediction == one.options[int(np.argmax(same.normalised))]


def test_a_prefix_changes_both_kinds_and_is_recorded(found: results.Results, prepared: Path, model) -> None:
    params, mesh = on_mesh(*model)
    config = dataclasses.replace(CONFIG, prefix="eos")
    other = evaluate(Model(model[0], params, mesh), prepared, config, log=lambda text: None)
    assert other.metadata["prefix"] == provenance.PREFIX_POLICY["eos"]
    scored = [(a, b) for a, b in zip(found.predictions, other.predictions, strict=True) if a.options]
    written = [(a, b) for a, b in zip(found.predictions, other.predictions, strict=True) if not a.options]
    assert all(abs(a.log_likelihoods[0] - b.log_likelihoods[0]) > 1e-3 for a, b in scored)
    assert any(a.prediction != b.prediction for a, b in written)


def test_drawn_answers_belong_to_their_questions(prepared: Path, model) -> None:
    params, mesh = on_mesh(*model)
    draw = dataclasses.replace(CONFIG.generate, temperature=1.0, seed=3)
    config = dataclasses.replace(CONFIG, generate=draw, tasks=("*write*", "*spell*"))
    both = evaluate(Model(model[0], params, mesh), prepared, config, log=lambda text: None)
    fewer = dataclasses.replace(config, tasks=("*spell*",), examples_per_task=3)
    some = evaluate(Model(model[0], params, mesh), prepared, fewer, log=lambda text: None)
    known = {(one.task, one.example_id): one.prediction for one in both.predictions}
    assert [known[one.task, one.example_id] for one in some.predictions] == [
        one.prediction for one in some.predictions
    ]
    assert len(set(known.values())) > len(known) / 2


def test_patterns_and_sampling(prepared: Path, model) -> None:
    params, mesh = on_mesh(*model)
    config = dataclasses.replace(CONFIG, tasks=("bench:p*", "*:choose:zero_shot"), examples_per_task=3)
    said: list[str] = []
    small = evaluate(Model(model[0], params, mesh), prepared, config, log=said.append)
    assert [(task.task, task.examples) for task in small.tasks] == [("choose", 3), ("pick", 3)]
    assert said[-1] == "evaluation: 6 of 6 prompts, 2 of 2 tasks"
    again = evaluate(Model(model[0], params, mesh), prepared, config, log=said.append)
    assert [one.example_id for one in again.predictions] == [one.example_id for one in small.predictions]


def test_truncation_is_counted(prepared: Path, model, monkeypatch: pytest.MonkeyPatch) -> None:
    short = dataclasses.replace(model[0], max_positions=16)
    params, mesh = on_mesh(short, random_params(short, np.random.default_rng(5)))
    cut = evaluate(Model(short, params, mesh), prepared, CONFIG, log=lambda text: None)
    assert [task.truncated for task in cut.tasks] == [task.examples for task in cut.tasks]
    tiny = dataclasses.replace(model[0], max_positions=6)
    params, mesh = on_mesh(tiny, random_params(tiny, np.random.default_rng(5)))
    monkeypatch.setattr(scoring, "fits", lambda candidates, config: False)
    none = evaluate(Model(tiny, params, mesh), prepared, CONFIG, log=lambda text: None)
    assert [task.task for task in none.tasks] == ["write", "spell"]
    assert none.metadata["skipped_tasks"][0] == {
        "task": "bench:choose:zero_shot",
        "dropped": {"option_too_long": 8},
    }


def test_mistakes_are_one_line(prepared: Path, model) -> None:
    config, host = model
    params, mesh = on_mesh(config, host)

    def refused(match: str, model_config=config, **changes) -> None:
        with pytest.raises(UserError, match=match) as error:
            evaluate(Model(model_config, params, mesh), prepared, dataclasses.replace(CONFIG, **changes))
        assert "\n" not in str(error.value)

    refused("vocabulary of .* tokens, but the model has 12", dataclasses.replace(config, vocab_tokens=12))
    refused("matches none of the 4 evaluated tasks", tasks=("nothing*",))
    refused("Evaluate.split is 'validation', but task .* can be evaluated on: test", split="validation")
    refused("Evaluate.split is 'train'", split="train")
    refused("Evaluate.batch_size is 0", batch_size=0)
    refused("Evaluate.prefix is 'bos'; it must be one of none, eos", prefix="bos")
    refused("Evaluate.normalisation is 'mean'; it must be one of", normalisation="mean")
    refused("Evaluate.neutral_prompt is empty", normalisation="unconditional", neutral_prompt=" ")
    manifest = manifests.load(prepared)
    runner.check_vocabulary({"vocabulary": {"fingerprint": ""}}, manifest, prepared, "here")
    with pytest.raises(UserError, match="run/checkpoints/5 was trained with abcdef"):
        runner.check_vocabulary(
            {"vocabulary": {"fingerprint": "abcdef"}}, manifest, prepared, "run/checkpoints/5"
        )


def test_killed_and_continued_it_is_the_same(
    prepared: Path, model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks end inside tasks; killed in its fourth chunk it has kept three and answers only the others."""
    params, mesh = on_mesh(*model)
    monkeypatch.setattr(runner, "CHUNK", 5)
    whole = evaluate(
        Model(model[0], params, mesh), prepared, CONFIG, metadata={"step": 7}, log=lambda text: None
    )
    keep = tmp_path / "7.unfinished"
    answered, calls = answering.answer, []

    def killed_at_fourth(*arguments, **keywords):
        calls.append(len(arguments[1]))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return answered(*arguments, **keywords)

    monkeypatch.setattr(answering, "answer", killed_at_fourth)
    with pytest.raises(KeyboardInterrupt):
        evaluate(Model(model[0], params, mesh), prepared, CONFIG, log=lambda text: None, keep=keep)
    assert len(list(keep.iterdir())) == 3
    said: list[str] = []
    again = evaluate(
        Model(model[0], params, mesh), prepared, CONFIG, metadata={"step": 7}, log=said.append, keep=keep
    )
    assert said[0] == "15 of 26 prompts were answered before; resuming with the rest"
    assert said[-1] == "evaluation: 26 of 26 prompts, 4 of 4 tasks"
    assert calls == [5, 5, 5, 5, 5, 5, 1]
    assert (again.tasks, again.predictions) == (whole.tasks, whole.predictions)
    files = [results.save(one, tmp_path / name) for one, name in ((whole, "a.json"), (again, "b.json"))]
    one, other = (results.predictions_path(file).read_bytes() for file in files)
    assert one == other
    # Nothing is computed where nothing is missing; other code or weights make all of it missing.
    evaluate(Model(model[0], params, mesh), prepared, CONFIG, log=said.append, keep=keep)
    assert len(calls) == 7
    with monkeypatch.context() as patched:
        patched.setattr(versions, "code_hashes", lambda *folders: {"models/opt.py": "another"})
        said.clear()
        evaluate(Model(model[0], params, mesh), prepared, CONFIG, log=said.append, keep=keep)
        assert said[0] == f"{keep}: 6 file(s) of other weights, questions or settings are not used"
    other_params = on_mesh(model[0], random_params(model[0], np.random.default_rng(6)))[0]
    said.clear()
    evaluate(Model(model[0], other_params, mesh), prepared, CONFIG, log=said.append, keep=keep)
    assert not any("answered before" in line for line in said)


def test_a_damaged_chunk_alone_is_answered_again(
    prepared: Path, model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is computed together stays so, whichever chunk is missing: the same batches give the same bits."""
    params, mesh = on_mesh(*model)
    monkeypatch.setattr(runner, "CHUNK", 10)
    keep = tmp_path / "7.unfinished"
    answered, calls = answering.answer, []

    def counted(*arguments, **keywords):
        calls.append([(one.task, one.example_id, one.template) for one in arguments[1]])
        return answered(*arguments, **keywords)

    monkeypatch.setattr(answering, "answer", counted)
    whole = evaluate(Model(model[0], params, mesh), prepared, CONFIG, log=lambda text: None, keep=keep)
    middle = sorted(keep.iterdir())[1]
    middle.write_text(middle.read_text().replace('"truncated_tokens": 0', '"truncated_tokens": 1', 1))
    said: list[str] = []
    again = evaluate(Model(model[0], params, mesh), prepared, CONFIG, log=said.append, keep=keep)
    assert said[0] == (
        f"{middle}: damaged and not used, its prompts are answered again (its checksum is wrong)"
    )
    assert said[1].startswith("16 of 26 prompts were answered before")
    assert calls[3:] == [calls[1]]
    assert (again.tasks, again.predictions) == (whole.tasks, whole.predictions)


def test_a_manifest_that_miscounts_is_refused(prepared: Path) -> None:
    entry = manifests.load(prepared).tasks[0]
    wrong = dataclasses.replace(entry.splits["test"], examples=entry.splits["test"].examples + 1)
    with pytest.raises(UserError, match=r"has 8 records of split test, but its manifest says 9"):
        questions.read(prepared, dataclasses.replace(entry, splits={"test": wrong}), "test", 0)


def test_answers_are_gone_over_once(
    found: results.Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Result file, page and table share the spreads of the evaluation; read back they are the same."""
    path = results.save(found, tmp_path / "7.json")
    read = results.load(path, predictions=True)
    fresh, page = averages.of_results(read), report.render(read)
    assert read.spreads == {} and read == found
    spreads = confidence.spreads(found.predictions, {task.name: task.metric for task in found.tasks})
    with monkeypatch.context() as patched:
        patched.setattr(confidence, "spreads", pytest.fail)
        assert averages.of_results(found) == fresh
        assert report.render(found) == page
        report_tables.print_tables(found, console=Console(file=io.StringIO()))
    for task in found.tasks:
        interval = spreads[task.name].interval()
        assert (task.interval, task.estimator) == (interval.ends, interval.estimator)
        assert task.score == pytest.approx(spreads[task.name].mean)


def test_saved_and_read_back(found: results.Results, tmp_path: Path) -> None:
    path = results.save(found, tmp_path / "evaluation" / "7.json")
    assert results.load(path, predictions=True) == found
    assert results.load(path) == dataclasses.replace(found, predictions=())
    assert sorted(file.name for file in path.parent.iterdir()) == ["7.json", "7.predictions.jsonl"]
    json.loads(path.read_text(), parse_constant=pytest.fail)
    with pytest.raises(UserError, match=r"8\.json: no such file"):
        results.load(path.with_name("8.json"))
    path.write_text(path.read_text()[:300])
    with pytest.raises(UserError, match=r"7\.json:\d+: malformed JSON"):
        results.load(path)
    path.write_text('{"format": 1, "metadata": {}, "tasks": [{"name": 3}]}')
    with pytest.raises(UserError, match=r"7\.json: damaged evaluation"):
        results.load(path)
