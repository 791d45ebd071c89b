"""A notice heard by one of several hosts: whatever their pace, all leave after the same question."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from iml_jax.foundation.errors import Fault
from iml_jax.parallel import preemption


class Service:
    """The coordination service's values."""

    def __init__(self):
        self.values, self.calls = {}, 0

    def key_value_set(self, key, value, allow_overwrite=False):
        self.values[key] = value

    def key_value_try_get(self, key):
        self.calls += 1
        if key not in self.values:
            raise jax.errors.JaxRuntimeError(f"NOT_FOUND: {key}")
        return self.values[key]


@pytest.fixture
def ask(monkeypatch):
    """``ask(host) -> bool`` for hosts that share a service; ``ask.notices[host]``, ``ask.service``."""
    service, notices, here = Service(), [preemption._Notice() for _ in range(3)], [0]
    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(jax, "process_index", lambda: here[0])
    monkeypatch.setattr(preemption, "runtime", lambda: type("State", (), {"client": service}))

    def question(host):
        here[0] = host
        monkeypatch.setattr(preemption, "_notice", notices[host])
        return preemption.reached()

    question.notices, question.service = notices, service
    return question


@pytest.mark.parametrize("number", range(20))
def test_all_leave_after_the_same_question(ask, number):
    rng = np.random.default_rng(number)
    left = {}
    deadline = 0
    hears, when = rng.integers(3), rng.integers(1, 6)
    while len(left) < 3:
        asked = [notice.questions for notice in ask.notices]
        # Nobody asks a question before all have asked the last but one.
        ready = [host for host in range(3) if host not in left and asked[host] <= min(asked) + 1]
        host = int(rng.choice(ready))
        if host == hears and asked[host] + 1 == when:
            ask.notices[host].received = True
        if ask(host):
            left[host] = ask.notices[host].questions
        deadline += 1
        assert deadline < 100
    assert len(set(left.values())) == 1
    assert left[0] <= when + preemption.AHEAD + 2


def test_without_a_notice_a_question_is_one_call(ask):
    for host in (0, 1, 2):
        assert not ask(host)
    assert ask.service.calls == 3


def test_a_host_too_far_ahead_is_a_fault_and_no_hang(ask):
    ask.notices[0].received = True
    for _ in range(preemption.AHEAD + 1):
        assert not ask(1)
    assert not ask(0)
    with pytest.raises(Fault, match="to leave after question 3, but it is 4"):
        ask(1)
