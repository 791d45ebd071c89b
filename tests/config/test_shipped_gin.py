"""Every gin file in the repository reads, builds, and says what its source says."""

from __future__ import annotations

import re

import pytest

from iml_jax import config
from iml_jax.commands.registry import NAMES, REGISTRY
from iml_jax.config import files
from iml_jax.config.rendering import render
from iml_jax.foundation.errors import UserError

GIN = files.gin_folders()[0]
SHIPPED = sorted(str(file.relative_to(GIN)) for file in GIN.rglob("*.gin"))

# OPT paper, table 1, derived there from OPT's table 1, and for 350M from its published config.json.
PARAMETERS = {
    "125m": 125_239_296,
    "350m": 331_196_416,
    "1.3b": 1_315_758_080,
    "2.7b": 2_651_596_800,
    "6.7b": 6_658_473_984,
    "13b": 12_853_473_280,
    "30b": 29_974_540_288,
    "66b": 65_719_701_504,
    "175b": 174_604_468_224,
}
NEEDED = {"Vocabulary": {"size": 300}}  # it asks for one of two fields, neither of which has a default
REQUIRED = {
    "Train": ("run_dir", "prepared_dir", "initial_checkpoint"),
}


def complete(name: str, value: str) -> tuple[config.Config, list[str], str]:
    """Loads a file, giving ``value`` to whatever it leaves to the user, as the errors advise."""
    flags: list[str] = []
    while True:
        loaded = config.load([name], flags)
        used = [owner for owner in NAMES if loaded.bound(owner)]
        try:
            return loaded, used, loaded.resolved(used)
        except UserError as error:
            remedy = re.search(r"give (--gin\.\S+)=VALUE", str(error))
            assert remedy and len(flags) < 20, error
            flags.append(f"{remedy[1]}={value}")


@pytest.mark.parametrize("name", SHIPPED)
def test_reads_builds_and_resolves_to_itself(name, tmp_path):
    loaded, used, text = complete(name, str(tmp_path))
    assert used, f"{name} binds nothing"
    again = config.load_text(text)
    assert {owner: again.build(owner) for owner in used} == {owner: loaded.build(owner) for owner in used}


@pytest.mark.parametrize(("size", "count"), PARAMETERS.items())
def test_parameter_counts(size, count):
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    model = config.load([f"models/opt_{size}.gin"]).build("Model")
    theirs = transformers.OPTConfig(
        vocab_size=model.vocab_rows,
        hidden_size=model.hidden,
        num_hidden_layers=model.layers,
        num_attention_heads=model.heads,
        ffn_dim=model.ffn,
        word_embed_proj_dim=model.embed_dim,
        max_position_embeddings=model.max_positions,
        do_layer_norm_before=model.pre_norm,
    )
    with torch.device("meta"):
        built = transformers.OPTForCausalLM(theirs)
    built.tie_weights()
    assert sum(parameter.numel() for parameter in built.parameters()) == count
    assert model.hidden % model.heads == 0 and model.vocab_tokens == 50265


@pytest.mark.parametrize(
    ("name", "batch", "steps", "tensor"),
    [
        ("opt_iml_30b", 256, 4000, 2),
        ("opt_iml_175b", 128, 8000, 8),
        ("opt_iml_30b_max", 256, 6000, 2),
        ("opt_iml_175b_max", 128, 12000, 8),
    ],
)
def test_the_papers_recipe(name, batch, steps, tensor):
    known = config.load([f"runs/{name}.gin"], ["--gin.Train.run_dir=r", "--gin.Train.prepared_dir=p"])
    with pytest.raises(UserError, match=r"Train\.initial_checkpoint .* required"):
        known.build("Train")
    known = config.load([f"runs/{name}.gin"], [f"--gin.Train.{field}=x" for field in REQUIRED["Train"]])
    train, loader, optimizer = known.build("Train"), known.build("Loader"), known.build("Optimizer")
    model, mesh = known.build("Model"), known.build("Mesh")
    assert (train.steps, train.seed, loader.batch_size, loader.length) == (steps, 1234, batch, 2048)
    assert (optimizer.peak_learning_rate, optimizer.warmup_steps, optimizer.total_steps) == (5e-5, 60, steps)
    assert (optimizer.end_learning_rate, optimizer.clip_norm) == (0.0, 1.0)
    assert (optimizer.weight_decay, optimizer.decayed) == (0.1, "all")
    assert (optimizer.beta1, optimizer.beta2) == (0.9, 0.95)
    assert (model.dropout, model.embedding_dropout) == (0.1, 0.1)
    assert (mesh.fsdp, mesh.tensor) == (-1, tensor) and model.heads % tensor == 0


@pytest.mark.parametrize("name", NAMES)
def test_registered_classes_have_documented_fields_and_sound_defaults(name):
    fields = REGISTRY.fields(name)
    assert [field.name for field in fields.values() if not field.doc] == []
    if not any(field.required for field in fields.values()):
        default = REGISTRY.type_of(name)(**NEEDED.get(name, {}))
        assert config.load_text(render({name: default}, REGISTRY)).build(name) == default
