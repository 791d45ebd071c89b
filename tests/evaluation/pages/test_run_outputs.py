"""Where a run keeps its evaluations."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from support.compared_results import make_results
from support.prepared_questions import make_questions

from iml_jax.data import manifest as manifests
from iml_jax.evaluation import results
from iml_jax.evaluation.engine import resume, settings
from iml_jax.evaluation.pages import run_outputs
from iml_jax.evaluation.results import Results


def test_a_suite_has_a_folder_of_its_own(tmp_path: Path) -> None:
    make_questions(tmp_path)
    own = manifests.load(tmp_path)
    assert run_outputs.suite_of(own.fingerprint, own) == ""
    assert run_outputs.suite_of("", own) == ""  # weights from elsewhere
    suite = dataclasses.replace(own, name="MMLU 5-shot/x")
    manifests.save(suite, tmp_path)
    assert run_outputs.suite_of(own.fingerprint, manifests.load(tmp_path)) == "MMLU_5-shot_x"
    assert run_outputs.result_file("run", 5) == Path("run/evaluation/5.json")
    assert run_outputs.result_file("run", 5, "mmlu") == Path("run/evaluation/mmlu/5.json")
    assert run_outputs.report_file("run") == Path("run/report.html")
    assert run_outputs.report_file("run", "mmlu") == Path("run/evaluation/mmlu/report.html")


def test_steps_that_were_evaluated(tmp_path: Path) -> None:
    assert run_outputs.saved_steps(tmp_path) == []
    for name in ("5.json", "mmlu/10.json", "5.predictions.jsonl", "notes.json", "7.unfinished/x-1.jsonl"):
        path = tmp_path / "evaluation" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    assert run_outputs.saved_steps(tmp_path) == [5, 10]


def test_names_of_results() -> None:
    for step, label in ((5, ""), (0, ""), (4000, "1a2b3c4d")):
        assert run_outputs.parse(run_outputs.result_file("run", step, "", label)) == (step, label)
    for name in ("notes.json", "5.x.json", "5.predictions.jsonl", "5.html", "5.1a2b3c4d.predictions.jsonl"):
        assert run_outputs.parse(Path(name)) is None
    assert run_outputs.report_file("run", "", 5, "1a2b3c4d") == Path("run/evaluation/5.1a2b3c4d.html")
    assert run_outputs.report_file("run", "mmlu", 5, "1a2b3c4d") == Path(
        "run/evaluation/mmlu/5.1a2b3c4d.html"
    )


def a_result(step: int, **known: object) -> Results:
    found = make_results(step, 0.5, tasks=2, examples=3)
    return dataclasses.replace(found, metadata={**found.metadata, settings.KEY: known})


def test_partial_results_go_once_the_results_are_saved(tmp_path: Path) -> None:
    folder = resume.folder_of(run_outputs.result_file(tmp_path, 4))
    folder.mkdir(parents=True)
    (folder / "answers-000000-0123456789ab.jsonl").write_text("{}\n")
    file, page = run_outputs.save_evaluation(tmp_path, a_result(4, count=1))
    assert file.is_file() and page.is_file()
    assert not folder.exists()


def test_the_plain_names_belong_to_one_group_of_settings(tmp_path: Path) -> None:
    one, two = {"count": 1}, {"count": 2}
    label = settings.label_of(two)
    assert run_outputs.choose_label(tmp_path, 8, "", one) == ("", "")
    assert run_outputs.choose_label(tmp_path, 8, "", two, own=one) == (label, "count 2 instead of 1")
    results.save(a_result(4, **one), run_outputs.result_file(tmp_path, 4))
    assert run_outputs.choose_label(tmp_path, 8, "", one) == ("", "")
    assert run_outputs.choose_label(tmp_path, 8, "", two) == (label, "count 2 instead of 1")
    assert run_outputs.choose_label(tmp_path, 8, "mmlu", two) == ("", "")
    assert run_outputs.choose_label(tmp_path, 4, "", two, own=two) == (label, "count 2 instead of 1")
    # A result without settings, of an older version, is not replaced; a damaged one is.
    results.save(a_result(6), run_outputs.result_file(tmp_path, 6))
    assert run_outputs.choose_label(tmp_path, 6, "", one)[0] == settings.label_of(one)
    run_outputs.result_file(tmp_path, 6).write_text("{")
    assert run_outputs.choose_label(tmp_path, 6, "", one) == ("", "")


def test_training_keeps_the_plain_name_and_loses_no_result(tmp_path: Path) -> None:
    old, new = a_result(4, count=1), a_result(4, count=2)
    file, _ = run_outputs.save_evaluation(tmp_path, old)
    assert run_outputs.save_evaluation(tmp_path, new)[0] == file == run_outputs.result_file(tmp_path, 4)
    aside = run_outputs.result_file(tmp_path, 4, "", settings.label_of({"count": 1}))
    assert results.load(file, predictions=True) == new
    assert results.load(aside, predictions=True) == old
    assert run_outputs.saved_steps(tmp_path) == [4]
    run_outputs.save_evaluation(tmp_path, new)
    assert len(list((tmp_path / "evaluation").glob("*.json"))) == 2


@pytest.mark.parametrize("operation", range(4))
def test_a_result_that_is_moved_aside_survives_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: int
) -> None:
    file = run_outputs.result_file(tmp_path, 4)
    results.save(a_result(4, count=1), file)
    saved = results.predictions_path(file).read_bytes()
    left = iter(range(operation))

    def killed_at(name: str) -> None:
        before = getattr(run_outputs, name)

        def then(*paths: Path) -> None:
            if next(left, None) is None:
                raise KeyboardInterrupt
            before(*paths)

        monkeypatch.setattr(run_outputs, name, then)

    for name in ("copy", "delete"):
        killed_at(name)
    with pytest.raises(KeyboardInterrupt):
        run_outputs.save_evaluation(tmp_path, a_result(4, count=2))
    monkeypatch.undo()
    run_outputs.save_evaluation(tmp_path, a_result(4, count=2))
    aside = run_outputs.result_file(tmp_path, 4, "", settings.label_of({"count": 1}))
    assert results.load(aside).metadata[settings.KEY] == {"count": 1}
    assert results.predictions_path(aside).read_bytes() == saved
    assert results.load(file).metadata[settings.KEY] == {"count": 2}
