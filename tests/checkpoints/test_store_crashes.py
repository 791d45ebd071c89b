"""store.py against a killed process and a file system that takes no more, each in a fresh process."""

from __future__ import annotations

import shutil
import signal
import textwrap
import time
from pathlib import Path

import numpy as np
from support import forking
from support.saved_states import EVERY_STEP, MODEL, abstract, assert_equal, make_state, mesh, save

from iml_jax.checkpoints.store import CheckpointStore

WRITER = textwrap.dedent(
    """
    import sys
    import jax
    jax.config.update("jax_num_cpu_devices", 8)
    from iml_jax.checkpoints.store import CheckpointStore
    from iml_jax.foundation.errors import Fault
    from support.saved_states import EVERY_STEP, save
    mode = sys.argv[2]
    with CheckpointStore(sys.argv[1], EVERY_STEP) as store:
        save(store, 1)
        store.wait()
        if mode == "small":
            import resource
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
            try:
                save(store, 2)
                store.wait()
            except Fault as fault:
                print("FAULT", fault, flush=True)
            sys.exit(0)
        print("READY", flush=True)
        for step in range(2, 1000):
            save(store, step)
    """
)


def start_writer(run: Path, mode: str) -> forking.Child:
    return forking.Child(WRITER, [run, mode])


def test_killed_at_a_random_moment_of_saving_the_last_whole_one_is_usable(tmp_path):
    for _ in range(2):
        writer = start_writer(tmp_path, "forever")
        assert writer.stdout.readline() == "READY\n", writer.stderr.read()
        time.sleep(np.random.default_rng().uniform(0.0, 0.6))
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        step = CheckpointStore(tmp_path).latest_step()
        assert step is not None
        restored = CheckpointStore(tmp_path).restore(step, abstract(make_state(), mesh(2, 2)), MODEL)
        assert_equal(restored.state, make_state(step))
        assert restored.data == {"position": step}
        with CheckpointStore(tmp_path, EVERY_STEP) as store:  # and the next save is not hindered by leftovers
            save(store, step + 1)
        assert CheckpointStore(tmp_path).latest_step() == step + 1
        left = [entry.name for entry in (tmp_path / "checkpoints").iterdir()]
        assert not [name for name in left if "tmp" in name]
        shutil.rmtree(tmp_path / "checkpoints")


def test_a_file_system_that_takes_no_more_is_a_fault_in_one_line(tmp_path):
    writer = start_writer(tmp_path, "small")
    out, err = writer.communicate(timeout=120)
    assert writer.returncode == 0, err
    assert out.startswith(f"FAULT could not save checkpoint {tmp_path}/checkpoints/2")
    assert out.count("\n") == 1
    assert err == ""
    assert CheckpointStore(tmp_path).latest_step() == 1
    assert [entry.name for entry in (tmp_path / "checkpoints").iterdir()] == ["1"]
