"""The schedule against metaseq's formula and torch's LambdaLR, and what decays."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from iml_jax.foundation.errors import UserError
from iml_jax.training.optimizer import OptimizerConfig, learning_rate, make_optimizer

CONFIG = OptimizerConfig(peak_learning_rate=3e-4, warmup_steps=6, total_steps=20, end_learning_rate=1e-5)


@pytest.mark.parametrize("warmup", [0, 1, 6, 20])
def test_schedule_is_a_lambda_lr(warmup):
    torch = pytest.importorskip("torch")
    config = dataclasses.replace(CONFIG, warmup_steps=warmup)

    def factor(step):
        if step < warmup or (step == warmup and warmup):
            return step / warmup
        left = max(20 - step, 0) / max(20 - warmup, 1)
        return (1e-5 + (3e-4 - 1e-5) * left) / 3e-4

    sgd = torch.optim.SGD([torch.nn.Parameter(torch.zeros(()))], lr=3e-4)
    schedule = torch.optim.lr_scheduler.LambdaLR(sgd, factor)
    for done in range(25):
        if not (warmup == 20 and done > 20):  # a schedule that is all warm-up has no decay to compare
            assert float(learning_rate(config)(done)) == pytest.approx(schedule.get_last_lr()[0], rel=1e-5)
        sgd.step()
        schedule.step()


def test_only_matrices_and_real_vocabulary_rows_decay():
    params = {
        "token_embedding": {"embedding": jnp.ones((8, 2))},
        "layers": {"mlp": {"up": {"kernel": jnp.ones((3, 2, 2)), "bias": jnp.ones((3, 2))}}},
        "final_norm": {"scale": jnp.ones(2)},
    }
    config = dataclasses.replace(CONFIG, warmup_steps=0, weight_decay=0.5)
    optimizer = make_optimizer(config, vocab_tokens=6)
    nothing = optax.tree.zeros_like(params)
    updates, _ = optimizer.update(nothing, optimizer.init(params), params)
    shrink = -3e-4 * 0.5
    np.testing.assert_allclose(updates["layers"]["mlp"]["up"]["kernel"], shrink, rtol=1e-6)
    np.testing.assert_allclose(updates["token_embedding"]["embedding"][:6], shrink, rtol=1e-6)
    for untouched in (
        updates["token_embedding"]["embedding"][6:],
        updates["layers"]["mlp"]["up"]["bias"],
        updates["final_norm"]["scale"],
    ):
        assert not np.any(untouched)


@pytest.mark.parametrize("scale", [1e-9, 1e-7, 1.0], ids=["below_epsilon", "near_epsilon", "clipped"])
def test_updates_are_clipped_adam_with_decay_in_float64(scale):
    """Clip, then Adam with epsilon outside the root, then decoupled decay; at scales where each decides."""
    rng = np.random.default_rng()
    weights = rng.normal(size=(6, 9))
    params = {"layers": {"kernel": jnp.asarray(weights, jnp.float32)}}
    config = dataclasses.replace(CONFIG, warmup_steps=0, clip_norm=0.5, weight_decay=0.1)
    optimizer = make_optimizer(config, 6)
    state, m, v = optimizer.init(params), np.zeros((6, 9)), np.zeros((6, 9))
    for done in range(5):
        gradient = scale * rng.normal(size=(6, 9))
        updates, state = optimizer.update(
            {"layers": {"kernel": jnp.asarray(gradient, jnp.float32)}}, state, params
        )
        gradient = gradient * min(1.0, 0.5 / np.linalg.norm(gradient))
        m, v = 0.9 * m + 0.1 * gradient, 0.95 * v + 0.05 * gradient**2
        adam = m / (1 - 0.9 ** (done + 1)) / (np.sqrt(v / (1 - 0.95 ** (done + 1))) + 1e-8)
        expected = -float(learning_rate(config)(done)) * (adam + 0.1 * weights)
        np.testing.assert_allclose(updates["layers"]["kernel"], expected, rtol=3e-5, atol=1e-9)


def test_narrow_moments_are_rounded_between_updates_and_nowhere_else():
    rng = np.random.default_rng()
    params = {"layers": {"kernel": jnp.asarray(rng.normal(size=(5, 7)), jnp.float32)}}
    config = dataclasses.replace(CONFIG, warmup_steps=0, clip_norm=0.0, weight_decay=0.0)
    narrow = make_optimizer(dataclasses.replace(config, moment_dtype="bfloat16"), 6)
    state = narrow.init(params)
    mu, nu = np.zeros((5, 7), np.float32), np.zeros((5, 7), np.float32)
    for done in range(4):
        gradient = rng.normal(size=(5, 7)).astype(np.float32)
        updates, state = narrow.update({"layers": {"kernel": jnp.asarray(gradient)}}, state, params)
        wide = (0.9 * mu + 0.1 * gradient, 0.95 * nu + 0.05 * gradient**2)
        mean, spread = wide[0] / (1 - 0.9 ** (done + 1)), wide[1] / (1 - 0.95 ** (done + 1))
        expected = -float(learning_rate(config)(done)) * mean / (np.sqrt(spread) + 1e-8)
        np.testing.assert_allclose(updates["layers"]["kernel"], expected, rtol=1e-4)
        mu, nu = (np.asarray(jnp.asarray(one).astype(jnp.bfloat16), np.float32) for one in wide)
        adam = next(part for part in state if hasattr(part, "mu"))
        for kept, wanted in ((adam.mu, mu), (adam.nu, nu)):
            assert kept["layers"]["kernel"].dtype == jnp.bfloat16
            np.testing.assert_allclose(kept["layers"]["kernel"].astype(np.float32), wanted, rtol=2**-7)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("total_steps", 0),
        ("warmup_steps", 21),
        ("beta2", 1.0),
        ("clip_norm", -1.0),
        ("epsilon", float("nan")),
        ("moment_dtype", "float16"),
    ],
)
def test_an_impossible_field_is_named(field, value):
    with pytest.raises(UserError, match=rf"Optimizer\.{field} = "):
        make_optimizer(dataclasses.replace(CONFIG, **{field: value}), 6)
