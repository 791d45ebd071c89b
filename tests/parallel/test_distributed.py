"""Start-up: who is told to start a job, what is refused, and what a job that does not start says."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from iml_jax.foundation.errors import Fault, UserError
from iml_jax.parallel import distributed, environment_check, hosts
from iml_jax.parallel.distributed import DistributedConfig

SLURM = {
    "SLURM_JOB_ID": "17",
    "SLURM_STEP_NODELIST": "node[001-004]",
    "SLURM_PROCID": "2",
    "SLURM_LOCALID": "0",
}


@pytest.fixture
def slurm(monkeypatch):
    def start(tasks):
        for name, value in {**SLURM, "SLURM_NTASKS": str(tasks)}.items():
            monkeypatch.setenv(name, value)

    return start


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_processes": 2, "process_id": 2}, "of 2 processes the last is 1"),
        ({"process_id": -2}, "process_id = -2: must be at least -1"),
        ({"heartbeat_timeout": 0}, "heartbeat_timeout = 0"),
        ({"coordinator_address": "node"}, "must be HOST:PORT"),
        ({"coordinator_address": "node:99999"}, "must be HOST:PORT"),
    ],
)
def test_what_cannot_be_is_refused(fields, message):
    with pytest.raises(UserError, match=message):
        DistributedConfig(**fields)


def test_alone_where_nothing_says_otherwise(slurm):
    assert not distributed._several(DistributedConfig())
    assert not distributed._several(DistributedConfig(num_processes=1, coordinator_address="a:1"))
    with pytest.raises(UserError, match=r"Distributed\.num_processes, Distributed\.process_id missing"):
        distributed._several(DistributedConfig(coordinator_address="a:1"))
    slurm(1)
    assert not distributed._several(DistributedConfig())
    slurm(4)
    assert distributed._several(DistributedConfig())
    assert distributed._several(DistributedConfig(coordinator_address="a:1"))
    assert not distributed._several(DistributedConfig(automatic=False))
    assert not distributed._several(DistributedConfig(num_processes=1))


def test_slurm_fills_in_what_is_open_and_the_limits_are_ours(slurm, monkeypatch):
    slurm(4)
    asked = {}
    monkeypatch.setattr(jax.distributed, "initialize", lambda **named: asked.update(named))
    distributed._start(DistributedConfig(heartbeat_timeout=50, initialization_timeout=7))
    node, _, port = asked["coordinator_address"].partition(":")
    assert node == "node001" and 1024 < int(port) < 65536
    assert (asked["num_processes"], asked["process_id"], asked["local_device_ids"]) == (4, 2, [0])
    assert asked["cluster_detection_method"] == "deactivate"  # asked once is enough
    assert asked["initialization_timeout"] == 7
    assert asked["heartbeat_timeout_seconds"] > 50
    distributed._start(DistributedConfig("a:1", 4, 2))
    assert (asked["coordinator_address"], asked["num_processes"], asked["process_id"]) == ("a:1", 4, 2)
    assert asked["local_device_ids"] is None
    distributed._start(DistributedConfig("a:1"))
    assert (asked["coordinator_address"], asked["num_processes"], asked["process_id"]) == ("a:1", 4, 2)


def test_a_platform_that_does_not_answer_is_a_fault(slurm, monkeypatch):
    slurm(4)
    monkeypatch.setenv("SLURM_PROCID", "first")
    with pytest.raises(Fault, match=r"the platform does not say .*'first'.*; set Distributed\."):
        distributed._start(DistributedConfig())


@pytest.mark.parametrize("holder", ["", "127.0.0.1", "::", "::1"])
def test_a_port_that_is_held_is_seen(holder, monkeypatch):
    """Before JAX tries: its service shares the port of another job of the same user, or crashes."""
    family = socket.AF_INET6 if ":" in holder else socket.AF_INET
    with socket.socket(family) as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # as gRPC's
        taken.bind((holder, 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert "in use" in distributed._cannot_listen(f"node:{port}")
        with pytest.raises(Fault, match=f"process 0 of 2 at node:{port}: no job: it cannot listen there"):
            distributed._start(DistributedConfig(f"node:{port}", 2, 0))
    assert distributed._cannot_listen(f"node:{port}") == ""
    monkeypatch.setenv("JAX_COORDINATOR_BIND_ADDRESS", "192.0.2.1:80")  # no machine's own (RFC 5737)
    assert "assign" in distributed._cannot_listen(f"node:{port}")


def test_differences_are_named():
    first = {"file": {"a.py": "1", "b.py": "2"}, "version of": {"jax": "0.10.2"}}
    other = {"file": {"a.py": "1", "b.py": "3", "c.py": "4"}, "version of": {"jax": "0.10.3"}}
    assert hosts._differences(first, first) == ""
    assert hosts._differences(first, other) == (
        "file b.py is 3, not 2, file c.py is 4, not missing, version of jax is 0.10.3, not 0.10.2"
    )
    many = {"file": {str(number): "x" for number in range(5)}}
    assert hosts._differences({}, many).endswith(", and 2 more")


def test_what_hosts_compare():
    assert environment_check.settings('Train.steps = 7\nModel.x = "a = b"\n') == {
        "Train.steps": "7",
        "Model.x": '"a = b"',
    }
    assert environment_check.devices()["number"] == "8"


def test_rows_of_a_host_whose_devices_lie_apart(monkeypatch):
    """Every second device is this host's: rows 0-1 and 4-5 of 8, whatever the model axis."""
    devices = np.array(jax.devices()).reshape(4, 2)
    sharding = NamedSharding(jax.sharding.Mesh(devices, ("data", "tensor")), P("data"))
    assert hosts.row_spans(sharding, (8, 4)) == [(0, 8)]
    own = set(devices[::2].flat)
    places = {d: i for d, i in sharding.devices_indices_map((8, 4)).items() if d in own}
    monkeypatch.setattr(NamedSharding, "addressable_devices_indices_map", lambda self, shape: places)
    assert hosts.row_spans(sharding, (8, 4)) == [(0, 2), (4, 6)]
    whole = np.arange(32).reshape(8, 4)
    asked = []

    def from_callback(shape, sharding, block):
        for index in places.values():
            np.testing.assert_array_equal(block(index), whole[index])
            asked.append(index)

    monkeypatch.setattr(jax, "make_array_from_callback", from_callback)
    hosts.place_rows(whole[[0, 1, 4, 5]], [(0, 2), (4, 6)], sharding, (8, 4))
    assert len(asked) == 4


JOIN = """
import sys
from iml_jax import cli
from iml_jax.parallel import distributed
def job(arguments):
    port, count, process = map(int, arguments)
    config = distributed.DistributedConfig(f"127.0.0.1:{port}", count, process, initialization_timeout=1)
    with distributed.joined(config):
        raise AssertionError("joined")
cli._dispatch = job
cli.quiet(False)
sys.exit(cli.main())
"""


@pytest.mark.slow
def test_a_job_that_does_not_start_says_why_in_one_line():
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "JAX_PLATFORMS": "cpu"}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        held = taken.getsockname()[1]
        commands = {
            "process 1 of 2 at .*: not all processes came within 1 s": (port, 2, 1),
            f"process 0 of 2 at .*:{held}: no job: it cannot listen there": (held, 2, 0),
        }
        started = {
            message: subprocess.Popen(
                [sys.executable, "-c", JOIN, *map(str, numbers)],
                stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
            )
            for message, numbers in commands.items()
        }  # fmt: skip
        for message, process in started.items():
            said = process.communicate(timeout=120)[1]
            assert process.returncode == 1, said
            assert re.fullmatch(f"iml: fault: {message}.*\n", said), said


AFTERWARDS = """
import faulthandler, os
from iml_jax.parallel.lost_hosts import abort_is_a_line
faulthandler.enable()
with abort_is_a_line(str):
    pass
os.abort()
"""


def test_after_the_start_an_abort_is_explained_as_before():
    command = [sys.executable, "-c", AFTERWARDS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == -signal.SIGABRT
    assert "Fatal Python error: Aborted" in done.stderr
