"""Flags and arguments of `iml-lm-eval` that cannot be served are one line and status 2."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path

import pytest

from iml_jax.commands import lm_eval as lm_eval_command
from iml_jax.evaluation.engine import harness_args
from iml_jax.foundation.errors import UserError

os.environ.setdefault("HF_HUB_OFFLINE", "1")
LM_EVAL = pytest.mark.skipif(importlib.util.find_spec("lm_eval") is None, reason="lm_eval is not installed")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"chekpoint": "run"}, "no argument 'chekpoint'; did you mean checkpoint?"),
        ({"checkpoint": "run", "tensr": 2}, "no argument 'tensr'; did you mean tensor?"),
        ({"checkpoint": "run", "pretrained": "x"}, "no argument 'pretrained'; there are checkpoint, prefix"),
        ({"checkpoint": "run", "trust_remote_code": True}, "no argument 'trust_remote_code'"),
        ({"checkpoint": "run", "fsdp": "two"}, "fsdp=two: must be a number of devices, or -1"),
        ({"checkpoint": "run", "fsdp": 2.5}, "fsdp=2.5: must be a number of devices"),
        ({"checkpoint": "run", "data": 0}, "data=0: must be a number of devices"),
        ({"checkpoint": "run", "data": True}, "data=True: must be a number of devices"),
        (
            {"checkpoint": "run", "compute_dtype": "bflaot16"},
            "bflaot16; did you mean bfloat16?",
        ),
        ({"checkpoint": "run", "compute_dtype": "int8"}, "compute_dtype=int8; it must be one of float32"),
        ({}, "no checkpoint; give --model_args checkpoint=RUN"),
    ],
)
def test_model_args_are_checked(given: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as caught:
        harness_args.check(given)
    assert str(caught.value).startswith("--model_args: ") and message in str(caught.value)


def test_right_model_args_have_their_types() -> None:
    given = {"checkpoint": 12, "fsdp": -1, "tensor": 2, "compute_dtype": "bfloat16"}
    assert harness_args.check(given) == {**given, "checkpoint": "12"}


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    (tmp_path / "rows.jsonl").write_text(json.dumps({"q": "a", "a": "b"}) + "\n")
    task = {
        "task": "toy", "dataset_path": "json", "output_type": "generate_until", "test_split": "test",
        "dataset_kwargs": {"data_files": {"test": str(tmp_path / "rows.jsonl")}},
        "doc_to_text": "{{q}}", "doc_to_target": "{{a}}", "metric_list": [{"metric": "exact_match"}],
    }  # fmt: skip
    (tmp_path / "toy.yaml").write_text(json.dumps(task))
    return tmp_path


@LM_EVAL
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--apply_chat_template"], "--apply_chat_template: OPT has no chat template"),
        (["--apply_chat_template", "own"], "--apply_chat_template: OPT has no chat template"),
        (["--fewshot_as_multiturn", "true"], "--fewshot_as_multiturn: OPT has no chat template"),
        (
            ["--model_args", "chekpoint=run"],
            "--model_args: no argument 'chekpoint'; did you mean checkpoint?",
        ),
        (["--tasks", "toyy"], "toyy"),
        (["--log_samples"], "lm_eval: Specify --output_path"),
        (["--config", "/none.yaml"], "/none.yaml"),
        (["--output_path", __file__ + "/results"], "cannot be written (Not a directory); give another"),
    ],
)
def test_mistakes_are_one_line(
    flags: list[str],
    message: str,
    tasks: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["iml-lm-eval", "--model", "iml", "--include_path", str(tasks)]
    for flag, value in (("--model_args", f"checkpoint={tasks / 'none'}"), ("--tasks", "toy")):
        command += [] if flag in flags else [flag, value]
    monkeypatch.setattr(sys, "argv", [*command, *flags])
    assert lm_eval_command.main() == 2
    error = capsys.readouterr().err
    assert error.splitlines()[-1].startswith("iml-lm-eval: ") and message in error.splitlines()[-1]


@LM_EVAL
def test_the_model_has_no_chat_template_whoever_asks() -> None:
    from iml_jax.evaluation.engine.harness import Harness

    model = object.__new__(Harness)
    with pytest.raises(UserError, match="OPT has no chat template"):
        model.chat_template(True)
    with pytest.raises(UserError, match="OPT has no chat template"):
        model.apply_chat_template([{"role": "user", "content": "x"}])
    with pytest.raises(UserError, match="did you mean checkpoint"):
        Harness.create_from_arg_string("chekpoint=run")


def test_without_lm_eval_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    monkeypatch.setattr(sys, "argv", ["iml-lm-eval", "--model", "iml"])
    assert lm_eval_command.main() == 2
    assert capsys.readouterr().err == (
        "iml-lm-eval: iml-lm-eval needs lm_eval, which is not installed: pip install 'iml_jax[harness]'\n"
    )
