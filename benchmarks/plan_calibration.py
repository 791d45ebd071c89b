"""Fits the constants of the expected step time (``planning/efficiency.py``) on published measured steps.

    python benchmarks/plan_calibration.py                     # the fit and its leave-one-out errors
    python benchmarks/plan_calibration.py --compile=v5e-256   # `iml plan` again for the rows of that name

The rows stand in ``plan_calibration.json``, each with the place that publishes its slice, mesh, batch,
remat policy and speed; a row without all of them is not taken. A row's ``seconds_at_peak`` are what ``iml
plan`` says of a step with its layers' matrices, mesh, batch and remat policy: MaxText's attention may be
narrower than its residual stream, and Llama has three matrices an MLP and fewer keys than queries, so the
planned model has that width of MLP with which a layer's matrices have exactly as many elements. ``kept`` are
products that MaxText moves to the host's memory and the planned step computes again; their FLOPs are taken
off. The torus of a slice (``v5p:8x8x8``) is Google Cloud's default for it; the sources name only its size.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.optimize

from iml_jax.planning.topology import KINDS, parse

TABLE = Path(__file__).with_suffix(".json")
RESOURCES = ("compute", "hbm", "ici")
Row = dict[str, Any]
# Where the search for the least squares begins, as shares of the peaks; the sum has several low points.
STARTS = [(c, h, i) for c in (0.6, 0.75) for h in (0.4, 0.55, 0.8) for i in (0.25, 0.33, 0.5)]


def load() -> list[Row]:
    """The rows of the table."""
    rows: list[Row] = json.loads(TABLE.read_text(encoding="utf-8"))["rows"]
    return rows


def matrices(row: Row) -> int:
    """Elements of the measured model's matrices in one layer."""
    shape = row["shape"]
    attention = 2 * shape["embed"] * shape["head_dim"] * (shape["heads"] + shape["kv_heads"])
    return int(attention + shape["mlp_matrices"] * shape["embed"] * shape["mlp"])


def rule_flops(row: Row) -> float:
    """Model FLOPs of a chip and step by the rule with which the row was published.

    6 for every weight and token, and attention: 6 (``causal``, MaxText in 2023) or 12 (``square``, from
    2024 to 2025) x layers x width x length^2 a row.
    """
    shape, rows, length = row["shape"], row["rows_a_chip"], row["length"]
    weights = shape["layers"] * matrices(row) + shape["vocab"] * shape["embed"]
    factor = {"causal": 6, "square": 12}[row["published"]["rule"]]
    attention = factor * shape["layers"] * shape["heads"] * shape["head_dim"] * length**2 * rows
    return float(6 * weights * rows * length + attention)


def measured(row: Row) -> float:
    """Seconds of a step: published, or from the published share of the chip's peak and its rule of FLOPs."""
    published = row["published"]
    if "seconds" in published:
        return float(published["seconds"])
    return rule_flops(row) / (published["mfu"] * _peak(row))


def _peak(row: Row) -> float:
    return KINDS[row["plan"]["topology"].partition(":")[0]].chip.flops


def at_peak(row: Row) -> np.ndarray:
    """Seconds of compute, HBM and ICI at full peak, without the products that the measured step kept."""
    shape = row["shape"]
    heads = {"query": "heads", "key": "kv_heads", "value": "kv_heads", "output": "heads"}
    width = sum(shape[heads[name]] for name in row["kept"]) * shape["head_dim"]
    kept = 2 * shape["embed"] * width * shape["layers"] * row["rows_a_chip"] * row["length"]
    found = np.array([float(row["seconds_at_peak"][name]) for name in RESOURCES])
    found[0] -= kept / _peak(row)
    return found


def expected(shares: Sequence[float], row: Row) -> float:
    """The model: the longest of the three, each at its share of the peak."""
    return float(np.max(at_peak(row) / np.asarray(shares)))


def fit(rows: Sequence[Row]) -> np.ndarray:
    """The shares (compute, HBM, ICI) with the least sum of squared logarithms of expected over measured."""
    features = np.log(np.stack([at_peak(row) for row in rows]))
    goal = np.log([measured(row) for row in rows])

    def loss(logarithms: np.ndarray) -> float:
        return float(np.sum((np.max(features - logarithms, axis=1) - goal) ** 2))

    options = {"xatol": 1e-7, "fatol": 1e-12, "maxiter": 4000}
    found = [
        scipy.optimize.minimize(loss, np.log(start), method="Nelder-Mead", options=options)
        for start in STARTS
    ]
    shares: np.ndarray = np.exp(min(found, key=lambda one: float(one.fun)).x)
    return np.minimum(shares, 1.0)


def left_out(rows: Sequence[Row], group: Callable[[Row], str]) -> list[float]:
    """For each row expected / measured - 1, by a fit on the rows of other groups."""
    fits = {
        name: fit([row for row in rows if group(row) != name]) for name in dict.fromkeys(map(group, rows))
    }
    return [expected(fits[group(row)], row) / measured(row) - 1 for row in rows]


def command(row: Row) -> list[str]:
    """The words of ``iml plan`` that give the row's ``seconds_at_peak``."""
    plan, length = row["plan"], row["length"]
    flags = {
        "Model.hidden": plan["hidden"], "Model.embed_dim": plan["hidden"], "Model.heads": plan["heads"],
        "Model.ffn": plan["ffn"], "Model.layers": row["shape"]["layers"], "Model.remat": plan["remat"],
        "Model.vocab_rows": plan["vocab_rows"],
        "Model.vocab_tokens": min(plan["vocab_rows"], row["shape"]["vocab"]),
        "Model.max_positions": length, "Model.dropout": 0.0, "Model.embedding_dropout": 0.0,
        "Model.compute_dtype": "bfloat16", "Loader.length": length,
        "Loader.batch_size": row["rows_a_chip"] * row["chips"],
        **{f"Mesh.{name}": size for name, size in zip(("data", "fsdp", "tensor"), plan["mesh"], strict=True)},
    }  # fmt: skip
    words = ["plan", "--gin_file=models/opt_175b.gin", f"--topology={plan['topology']}", "--only=train"]
    return [*words, *(f"--gin.{name}={value}" for name, value in flags.items())]


def compile_again(row: Row) -> dict[str, float]:
    """Runs ``iml plan`` for a row; its seconds at full peak."""
    print(f"$ iml {shlex.join(command(row))}", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "plan.json")
        words = [sys.executable, "-m", "iml_jax.cli", *command(row), f"--json={file}"]
        subprocess.run(words, stdout=subprocess.DEVNULL, check=True)
        found = json.loads(file.read_text(encoding="utf-8"))["programs"]["train"]["roofline"]
    return {name: float(f"{found[name]:.5g}") for name in RESOURCES}


def _bound(shares: Sequence[float], row: Row) -> str:
    return ("compute", "HBM", "ICI")[int(np.argmax(at_peak(row) / np.asarray(shares)))]


def report(rows: Sequence[Row]) -> None:
    """Prints the constants and the table of docs/plan.md."""
    shares = fit(rows)
    one, chips = left_out(rows, lambda row: row["name"]), left_out(rows, parse_kind)
    names = ("COMPUTE_SHARE", "HBM_SHARE", "ICI_SHARE")
    print("  ".join(f"{name} = {share:.3f}" for name, share in zip(names, shares, strict=True)))
    head = ("row", "mesh", "rows a chip", "remat", "compute", "HBM", "ICI", "measured s", "expected s",
            "bound", "error", "left out", "its chip left out")  # fmt: skip
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for row, alone, chip in zip(rows, one, chips, strict=True):
        seconds, goal = expected(shares, row), measured(row)
        cells = [
            row["name"],
            " x ".join(map(str, row["plan"]["mesh"])),
            f"{row['rows_a_chip']} of {row['length']}",
            row["plan"]["remat"] + (", " + ", ".join(row["kept"]) + " kept" if row["kept"] else ""),
            *(f"{value:.2f}" for value in at_peak(row)),
            f"{goal:.2f}",
            f"{seconds:.2f}",
            _bound(shares, row),
            f"{seconds / goal - 1:+.1%}",
            f"{alone:+.1%}",
            f"{chip:+.1%}",
        ]
        print(f"| {' | '.join(cells)} |")
    for what, errors in (("one row left out", one), ("one generation left out", chips)):
        sizes = np.abs(errors)
        print(f"{what}: mean error {np.mean(sizes):.1%}, largest {np.max(sizes):.1%}, "
              f"{int(np.sum(sizes <= 0.15))} of {len(rows)} within 15%")  # fmt: skip


def parse_kind(row: Row) -> str:
    """The generation of the row's chip."""
    return parse(row["plan"]["topology"]).kind


def main() -> None:
    """Prints the fit, or compiles rows again."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--compile", default="", metavar="WORD", help="rows whose name holds this word")
    arguments = parser.parse_args()
    rows = load()
    if not arguments.compile:
        report(rows)
        return
    for row in (row for row in rows if arguments.compile in row["name"]):
        found = compile_again(row)
        same = all(
            math.isclose(found[name], row["seconds_at_peak"][name], rel_tol=0.01) for name in RESOURCES
        )
        print(
            f"{row['name']}: {json.dumps(found)}, {'as' if same else 'OTHER THAN'} in the table", flush=True
        )


if __name__ == "__main__":
    main()
