"""The tables of a plan."""

from __future__ import annotations

from iml_jax.planning import format


def one(kind: str, axis: str, sent: float) -> dict:
    return {"kind": kind, "axis": axis, "count": 1, "bytes": sent, "largest": "bf16[8]", "op_name": ""}


def test_stages_over_parts_of_an_axis_count_with_it() -> None:
    mib = 2.0**20
    result = {
        "status": "compiled",
        "compile_seconds": 1.0,
        "collectives": [
            one("all-gather", "fsdp (part)", 60 * mib),
            one("all-gather", "fsdp (part)", 30 * mib),
        ],
        "needs": [{"kind": "all-gather", "axis": "fsdp", "bytes": 100 * mib, "why": "weights"}],
        "buffers": [],
    }
    lines = [" ".join(line.split()) for line in format.program("train", result)]
    assert "all fsdp 90.00 MiB 100.00 MiB 0.90 of what theory asks" in lines
    assert not any(line.startswith("all fsdp (part)") for line in lines)
    assert any(line.startswith("all-gather fsdp (part) 2 90.00 MiB") for line in lines)
