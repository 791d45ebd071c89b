"""Partial results are used again exactly where nothing that decides an answer has changed."""

from __future__ import annotations

import ast
import dataclasses
from pathlib import Path
from typing import Any

import pytest
from support.prepared_questions import make_questions
from support.random_opt import PRE_NORM

from iml_jax.data import manifest as manifests
from iml_jax.data.manifest import TaskEntry
from iml_jax.evaluation.engine import answer_key as keys
from iml_jax.evaluation.engine import answering
from iml_jax.evaluation.engine.answer_key import AnsweringModel, answer_key, key_of
from iml_jax.evaluation.engine.generation import GenerateConfig
from iml_jax.evaluation.engine.runner import EvaluateConfig
from iml_jax.foundation import versions

MODEL = AnsweringModel("weights", "vocabulary", PRE_NORM)
# Under these settings every field decides an answer that decides one at all.
CONFIG = EvaluateConfig(normalisation="unconditional", generate=GenerateConfig(temperature=1.0))


@pytest.fixture(scope="module")
def entry(tmp_path_factory: pytest.TempPathFactory) -> TaskEntry:
    directory = tmp_path_factory.mktemp("prepared")
    make_questions(directory)
    return manifests.load(directory).tasks[0]


def changed(instance: Any, name: str) -> Any:
    """The dataclass with another value in one field; any value of its type will do for a key."""
    value = getattr(instance, name)
    others = {bool: lambda: not value, str: lambda: value + "x", tuple: lambda: (*value, "x")}
    return dataclasses.replace(instance, **{name: others.get(type(value), lambda: value + 1)()})


def fields(kind: type, *, without: tuple[str, ...] = ()) -> list[str]:
    return [field.name for field in dataclasses.fields(kind) if field.name not in without]


@pytest.mark.parametrize("base", [CONFIG, EvaluateConfig()], ids=["all decide", "default"])
@pytest.mark.parametrize("name", fields(EvaluateConfig, without=("generate",)))
def test_every_field_of_evaluate_that_decides_an_answer_is_in_the_key(
    name: str, base: EvaluateConfig, entry: TaskEntry
) -> None:
    """The default base, too: there another ``normalisation`` brings no ``neutral_prompt`` into the key."""
    other = answer_key(MODEL, entry, "test", changed(base, name))
    without_effect = name in keys.IF_UNCONDITIONAL and base is not CONFIG
    decides = name not in keys.NOT_IN_KEY["Evaluate"] and not without_effect
    assert (other != answer_key(MODEL, entry, "test", base)) == decides


@pytest.mark.parametrize("base", [CONFIG, EvaluateConfig()], ids=["all decide", "default"])
@pytest.mark.parametrize("name", fields(GenerateConfig))
def test_every_field_of_generate_that_decides_an_answer_is_in_the_key(
    name: str, base: EvaluateConfig, entry: TaskEntry
) -> None:
    other = dataclasses.replace(base, generate=changed(base.generate, name))
    without_effect = name in keys.IF_SAMPLED and base is not CONFIG
    decides = name not in keys.NOT_IN_KEY["Generate"] and not without_effect
    key = answer_key(MODEL, entry, "test", base)
    assert (answer_key(MODEL, entry, "test", other) != key) == decides


def test_what_is_not_in_the_key_is_listed_with_its_reason() -> None:
    """The lists themselves: a field that is added to them must be added here, too."""
    assert {name: set(reasons) for name, reasons in keys.NOT_IN_KEY.items()} == {
        "Evaluate": {"prepared_dir", "tasks", "split", "batch_size"},
        "Generate": {"batch_size", "prefix"},
    }
    assert all(reason for reasons in keys.NOT_IN_KEY.values() for reason in reasons.values())


def test_model_data_task_split_and_metric_are_in_the_key(entry: TaskEntry) -> None:
    models = [changed(MODEL, name) for name in ("weights", "vocabulary")]
    models += [dataclasses.replace(MODEL, config=changed(PRE_NORM, name)) for name in fields(type(PRE_NORM))]
    keys_found = [answer_key(one, entry, "test", CONFIG) for one in (MODEL, *models)]
    test = entry.splits["test"]
    entries = [changed(entry, "name"), changed(entry, "metric")]
    keys_found += [answer_key(MODEL, one, "test", CONFIG) for one in entries]
    keys_found += [
        answer_key(MODEL, dataclasses.replace(entry, splits={"validation": test}), "validation", CONFIG),
    ]
    files = tuple(dataclasses.replace(one, sha256="another") for one in test.files)
    for other in (dataclasses.replace(test, files=files), changed(test, "examples")):
        keys_found.append(
            answer_key(MODEL, dataclasses.replace(entry, splits={"test": other}), "test", CONFIG)
        )
    assert len(set(keys_found)) == len(keys_found)


def test_keys_of_parts() -> None:
    assert key_of(["a", 1]) == key_of(["a", 1]) != key_of(["a", 2])


def test_all_code_that_decides_an_answer_is_in_the_key_and_no_other() -> None:
    """What ``answering`` imports of the packages that compute, but for the records of what was found."""
    root = Path(answering.__file__).parents[2]
    waiting, seen = ["evaluation/engine/answering.py"], set()
    while waiting:
        file = waiting.pop()
        if file in seen or file.partition("/")[0] not in ("data", "evaluation", "models"):
            continue
        seen.add(file)
        for node in ast.parse((root / file).read_text()).body:  # not what TYPE_CHECKING guards
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("iml_jax."):
                place = "/".join(node.module.split(".")[1:])
                inside = [f"{place}/{alias.name}.py" for alias in node.names]
                waiting += [one for one in (*inside, f"{place}.py") if (root / one).is_file()]
    records = {"evaluation/results.py", "evaluation/intervals.py"}
    records |= {f"data/{name}.py" for name in ("manifest", "positions", "terms")}
    in_key = versions.code_hashes(*answering.DECIDING)
    assert in_key.keys() >= seen - records
    assert {file for file in in_key if not file.startswith("models/")} <= seen
