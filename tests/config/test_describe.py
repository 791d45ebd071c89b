from __future__ import annotations

from support.config_dummies import registry

from iml_jax.config.describe import describe_configs


def test_every_field_with_type_default_and_doc(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    shown = describe_configs(("Run", "Toy"), registry())
    assert "  Toy: A toy source." in shown
    assert "    Toy.size (int) = 3\n        how many, in examples.\n" in shown
    assert "    Toy.seed (int) = 0\n        of the draw, or 0." in shown
    assert "    Run.run_dir (str) required\n" in shown
    assert "    Run.mode ('fast' | 'careful') = 'fast'\n" in shown
    assert "    Run.sources (tuple[Base, ...]) = ()" in shown
    assert all(
        f"    {name}.{field} (" in shown for name in ("Run", "Toy") for field in registry().fields(name)
    )
