from __future__ import annotations

import argparse
import errno
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from iml_jax import __version__, cli
from iml_jax.commands import COMMANDS, Command
from iml_jax.foundation.errors import Fault, Preempted, UserError

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def command(monkeypatch):
    """Puts a toy command ``toy`` in the registry; the test sets what it does."""
    calls: list[tuple[argparse.Namespace, object]] = []
    module = SimpleNamespace(
        HELP="Do a toy thing.",
        CONFIGS=("Model",),
        POSITIONALS=(("source", "what to read"),),
        EXAMPLE="iml toy here --gin.Model.hidden=64",
        run=lambda arguments, config: calls.append((arguments, config)),
        calls=calls,
    )
    monkeypatch.setitem(COMMANDS, "toy", Command("toy", module.HELP))
    monkeypatch.setattr(Command, "load", lambda self: module)
    monkeypatch.setattr(cli, "quiet", lambda verbose: None)
    return module


def fail(command, error: BaseException) -> None:
    def run(arguments, config):
        raise error

    command.run = run


def one_line(capsys) -> str:
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and captured.err.endswith("\n")
    return captured.err[:-1]


def test_overview_lists_every_command(capsys):
    for arguments in ([], ["--help"], ["-h"], ["help"]):
        assert cli.main(arguments) == 0
        shown = capsys.readouterr().out
        assert all(f"  {command.name} " in shown and command.help in shown for command in COMMANDS.values())


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"iml_jax {__version__}\n"


def test_command_gets_arguments_and_config(command, tmp_path):
    file = tmp_path / "x.gin"
    file.write_text("Model.hidden = 64\nModel.layers = 2\n")
    flags = [f"--gin_file={file}", "here", "--gin.Model.layers=3", "--gin.Model.heads", "4"]
    assert cli.main(["toy", *flags]) == 0
    ((arguments, config),) = command.calls
    model = config.build("Model")
    assert arguments.source == "here" and (model.hidden, model.layers, model.heads) == (64, 3, 4)


def test_help_shows_positionals_flags_parameters_and_example(command, capsys):
    assert cli.main(["toy", "--gin.Model.hidden=1", "--help"]) == 0
    shown = capsys.readouterr().out
    for words in (
        "Do a toy thing.",
        "source",
        "what to read",
        "--gin_file FILE",
        "--cpu_devices N",
        "Model.hidden (int) = 768",
        "width of the residual stream.",
        "Model.remat (",
        "iml toy here --gin.Model.hidden=64",
    ):
        assert words in shown
    assert command.calls == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["tyo"], "no command 'tyo'; did you mean toy? commands: prepare, plan, train"),
        (["--gin_file=x", "toy"], "--gin_file=x: the command comes first"),
        (["toy"], "the following arguments are required: source; see iml toy --help"),
        (["toy", "a", "b"], "unknown argument 'b'"),
        (["toy", "a", "--gin_fil=x"], "unknown flag '--gin_fil'; did you mean --gin_file?"),
        (["toy", "a", "--cpu_device=2"], "did you mean --cpu_devices?"),
        (["toy", "a", "--cpu_devices=0"], "'0' is not a number of devices"),
        (["toy", "a", "--cpu_devices=x"], "'x' is not a number of devices"),
        (["toy", "a", "--gin_file"], "--gin_file: expected one argument"),
        (["toy", "a", "--gin_file=gone.gin"], "no gin file 'gone.gin'"),
        (["toy", "a", "--gin.Model.hiden=1"], "did you mean hidden?"),
        (["toy", "a", "--gin.Model.hidden"], "write --gin.Model.hidden=VALUE"),
        (["toy", "a", "--gin.Model.hidden", "--verbose"], "write --gin.Model.hidden=VALUE"),
        (["toy", "a", "--gin.Model.hidden=x\ny"], "expected int"),
    ],
)
def test_mistakes_are_one_line_and_status_2(command, capsys, arguments, words):
    assert cli.main(arguments) == 2
    line = one_line(capsys)
    assert line.startswith("iml: error: ") and words in line
    assert command.calls == []


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (UserError("a.gin:3: wrong\nand more"), 2, "iml: error: a.gin:3: wrong and more"),
        (Fault("the disk\n is full"), 1, "iml: fault: the disk is full"),
        (KeyboardInterrupt(), 130, "iml: interrupted"),
        (Preempted("saved at step 3"), 143, "iml: saved at step 3"),
        (
            OSError(errno.ENOSPC, "No space left on device", "/x/y"),
            1,
            "iml: fault: No space left on device: /x/y",
        ),
    ],
)
def test_errors_become_statuses(command, capsys, error, status, line):
    fail(command, error)
    assert cli.main(["toy", "a"]) == status
    assert one_line(capsys) == line


@pytest.mark.parametrize("error", [ZeroDivisionError("x"), OSError(errno.ENOENT, "none", "f")])
def test_bugs_keep_their_traceback(command, capsys, error):
    fail(command, error)
    assert cli.main(["toy", "a"]) == 1
    shown = capsys.readouterr().err
    assert "Traceback" in shown and "this is a bug" in shown


def test_gin_flags_end_at_two_dashes():
    assert cli.split_gin_flags(["a", "--gin.A.b=1", "--gin.A.c", "-2", "--", "--gin.A.d=3"]) == (
        ["a", "--", "--gin.A.d=3"],
        ["--gin.A.b=1", "--gin.A.c=-2"],
    )


def test_simulated_devices_of_a_running_backend_cannot_change():
    import jax

    count = len(jax.devices())
    cli.simulate_devices(count)
    with pytest.raises(UserError, match=f"--cpu_devices={count + 1}: "):
        cli.simulate_devices(count + 1)


def python(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env=environment, check=False, **options
    )


def test_overview_and_misspelt_command_import_no_heavy_library():
    for argument in ("--help", "--version", "trian"):
        code = (
            f"import sys; from iml_jax import cli; cli.main([{argument!r}]); "
            "print(sorted({'jax', 'tensorflow', 'numpy', 'flax', 'absl'} & set(sys.modules)))"
        )
        done = python("-c", code)
        assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_simulated_devices_before_the_backend_starts():
    code = "from iml_jax import cli; cli.simulate_devices(3); import jax; print(len(jax.devices()))"
    assert python("-c", code).stdout == "3\n"


@pytest.mark.parametrize("length", [10, 10**6])
def test_a_reader_that_leaves_is_no_error(length):
    code = (
        f"import sys; from iml_jax import cli; cli._overview = lambda: 'x' * {length}; "
        "sys.exit(cli.main(['--help']))"
    )
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-c", code],
        stdin=subprocess.DEVNULL,
        stdout=write,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    os.close(write)
    assert done.returncode == 1 and done.stderr == b""


def test_libraries_are_quiet_unless_asked():
    code = (
        "import logging, sys; from iml_jax import cli; cli.quiet(verbose={}); "
        "logging.getLogger('orbax').warning('W'); logging.getLogger('absl').warning('A'); "
        "logging.getLogger('iml_jax').warning('OURS'); logging.getLogger('jax').info('I')"
    )
    quiet = python("-c", code.format(False)).stderr
    assert "OURS" in quiet and "orbax" not in quiet and "absl" not in quiet and "jax: I" not in quiet
    loud = python("-c", code.format(True)).stderr
    assert "orbax: W" in loud and "jax: I" in loud
