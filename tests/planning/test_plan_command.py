"""``iml plan`` end to end; compilations for TPU are slow-marked."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from iml_jax import cli
from iml_jax.foundation import extras
from iml_jax.planning import job

TINY = """
Model.hidden = 256
Model.layers = 3
Model.heads = 4
Model.ffn = 1024
Model.embed_dim = 256
Model.vocab_rows = 512
Model.vocab_tokens = 500
Model.max_positions = 256
Model.remat = "full"
Loader.batch_size = 16
Loader.length = 256
Mesh.data = 1
Mesh.fsdp = 4
Mesh.tensor = 2
Evaluate.batch_size = 8
Generate.batch_size = 8
Generate.max_new_tokens = 16
"""
needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed (extra [tpu])"
)


@pytest.fixture(autouse=True)
def compiled_as_for_users(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the flag with which the other tests compile quickly and badly."""
    monkeypatch.delenv("XLA_FLAGS", raising=False)


@pytest.fixture
def gin(tmp_path: Path) -> str:
    file = tmp_path / "tiny.gin"
    file.write_text(TINY)
    return f"--gin_file={file}"


def plan(*arguments: str) -> int:
    return cli.main(["plan", *arguments])


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--topology=v5q:4x4"], "did you mean"),
        (["--topology=v5p:4x4"], "3 dimensions"),
        (["--topology=v5e:4x4"], "asks for 8 devices but there are 16"),
        (["--topology=cpu:8", "--gin.Model.vocab_rows=0"], "--gin.Train.prepared_dir=DIR"),
        (["--topology=cpu:8", "--gin.Loader.length=0"], "Loader.length is 0"),
        (["--topology=cpu:8", "--gin.Loader.length=512"], "256 positions"),
        (["--topology=cpu:8", "--slices=2"], "no slices"),
        (["--topology=cpu:8", "--workers=-1"], "--workers=-1"),
        (["--topology=cpu:8", "--search=0x"], "--search"),
        ([], "--topology"),
    ],
)
def test_mistakes_are_one_line(gin, capsys, flags, said):
    assert plan(gin, "--no_cache", *flags) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_without_libtpu_one_line(gin, capsys, monkeypatch):
    monkeypatch.setattr(extras.importlib.util, "find_spec", lambda name: None)
    assert plan(gin, "--topology=v5e:2x4", "--no_cache") == 2
    assert "pip install 'iml_jax[tpu]'" in capsys.readouterr().err


def test_rows_that_do_not_divide_are_told_by_the_worker(gin, capsys, tmp_path):
    flags = ["--topology=cpu:8", "--only=train", "--gin.Loader.batch_size=6", f"--cache={tmp_path}"]
    assert plan(gin, *flags) == 2
    assert "Loader.batch_size / Train.accumulation: batch is 6 wide" in capsys.readouterr().err


@pytest.mark.slow
def test_simulated_devices_and_the_cache(gin, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(job, "code_fingerprint", lambda: "as it is")  # even while someone edits the package
    flags = ["--topology=cpu:8", "--only=train", f"--cache={tmp_path / 'cache'}"]
    assert plan(gin, *flags, f"--json={tmp_path / 'plan.json'}") == 0
    shown = capsys.readouterr()
    assert "compiled: train step" in shown.err
    lines = shown.out.splitlines()
    first = {key: next(i for i, line in enumerate(lines) if line.strip().startswith(key))
             for key in ("verdict", "parameters (", "largest buffers")}  # fmt: skip
    assert first["verdict"] < first["parameters ("] < first["largest buffers"]
    assert lines[first["verdict"] + 1].startswith("  train step: compiles; ")
    found = json.loads((tmp_path / "plan.json").read_text())["programs"]["train"]
    assert found["status"] == "compiled" and not found["unknown_loops"]
    assert found["room"]["needed_gib"] == pytest.approx(sum(found["room"]["parts"].values()))
    assert found["room"]["parts"]["arguments"] * 1024**3 >= sum(found["state"].values())
    # Full recomputation: 4/3 of the model's FLOPs, less the vocabulary's, which are computed once.
    assert 1.1 < found["total_flops"] * 8 / found["model_flops"] < 1.5
    table = {one["name"]: one for one in found["parameters"]}
    assert table["layers/mlp/up/kernel"]["bytes"] == 3 * 256 * 1024 * 4 // 8
    assert table["layers/mlp/up/kernel"]["axes"] == ["layers", "embed", "mlp"]
    sums = {}
    for one in found["collectives"]:
        sums[one["axis"]] = sums.get(one["axis"], 0) + one["bytes"]
    assert sums["fsdp"] > 0 and sums["tensor"] > 0 and not any("data" in axis for axis in sums)
    assert plan(gin, *flags) == 0
    again = capsys.readouterr()
    assert again.err == "" and "from the cache" in again.out
    assert again.out.replace("from the cache", "") != again.out


@pytest.mark.slow
@needs_libtpu
def test_every_program_compiles_for_v5e(gin, capsys, tmp_path):
    file = tmp_path / "plan.json"
    flags = ["--topology=v5e:2x4", f"--cache={tmp_path}", f"--json={file}", "--gin.Model.layers=2"]
    assert plan(gin, *flags) == 0
    shown = capsys.readouterr().out
    programs = json.loads(file.read_text())["programs"]
    assert set(programs) == {"train", "score", "prefill", "decode"}
    for name, found in programs.items():
        assert found["status"] == "compiled" and found["room"]["spare_gib"] > 15, name
        assert not found["unknown_loops"], name
        # The buffer assignment and the peak that the compiler reports are two counts of the same memory.
        needed, peak = found["room"]["needed_gib"], found["memory"]["peak"] / 1024**3
        assert found["room"]["fits"] and peak == pytest.approx(needed, rel=0.05, abs=1 / 1024), name
    train = programs["train"]

    def gathers(part: str) -> float:
        chosen = (one for one in train[part] if (one["kind"], one["axis"]) == ("all-gather", "fsdp"))
        return sum(one["bytes"] for one in chosen)

    gathered, asked = gathers("collectives"), gathers("needs")
    assert asked <= 1.05 * gathered and gathered < 4 * asked
    assert "fits:" in shown and "layers/attention/query/kernel" in shown and "roofline" in shown


@pytest.mark.slow
@needs_libtpu
def test_a_step_that_does_not_fit_says_by_how_much(gin, capsys, tmp_path):
    large = {
        "Model.hidden": 4096, "Model.embed_dim": 4096, "Model.ffn": 16384, "Model.heads": 32,
        "Model.layers": 8, "Model.vocab_rows": 50272, "Model.vocab_tokens": 50265, "Model.remat": '"none"',
        "Loader.batch_size": 512,
    }  # fmt: skip
    flags = [f"--gin.{name}={value}" for name, value in large.items()]
    file = tmp_path / "plan.json"
    shared = ["--topology=v5e:2x4", "--only=train", f"--cache={tmp_path}", f"--json={file}"]
    assert plan(gin, *flags, *shared) == 0
    shown = capsys.readouterr().out
    found = json.loads(file.read_text())["programs"]["train"]
    assert found["status"] == "does_not_fit" and found["available_gib"] == 15.75
    assert found["needed_gib"] > 15.75 and found["room"]["spare_gib"] < 0
    assert "DOES NOT FIT" in shown and "GiB too many (the compiler refuses it)" in shown
    assert found["room"]["fits"] is False and "fits:" not in shown
    # What the compiler names and what its buffer assignment adds up to is the same.
    assert sum(found["room"]["parts"].values()) == pytest.approx(found["needed_gib"], rel=0.01)
    assert "might fit with --gin.Model.remat=full" in shown
    # The compiler's own buffer assignment is there for a program that does not fit, too.
    assert found["memory"]["temporaries"] > 10 * 1024**3 and found["buffers"][0]["name"]
