"""Templates in worker processes: a hostile one is refused, and the one beside it still renders."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from support import hostile_templates

from iml_jax.bench.sources.promptsource import template_pool, template_worker
from iml_jax.bench.sources.promptsource.rendering import Rendered, Renderer
from iml_jax.bench.sources.promptsource.template_limits import NullPrintedError
from iml_jax.bench.sources.promptsource.template_pool import NO_COLUMN, Outcome, Refused, Skipped, TemplateSet
from iml_jax.bench.sources.promptsource.templates import PromptTemplate
from iml_jax.foundation.errors import Fault, UserError

FILE = Path("templates.yaml")
ROW = {"t": ["x", "y"], "text": "The cat sat."}
GOOD = Rendered("q The cat sat.", ("t",), ())


def template(jinja: str, name: str = "t", choices: str = "") -> PromptTemplate:
    return PromptTemplate(name, jinja, choices, True, ("Accuracy",))


def good() -> PromptTemplate:
    return template("q {{ text }} ||| t", "good")


def beside(hostile: str, row: dict[str, object] = ROW) -> tuple[str | Outcome, Outcome]:
    """How a hostile template ends: why it is refused, or the outcome of a row; and that of a good one."""
    with TemplateSet([template(hostile, "hostile"), good()], FILE) as templates:
        assert templates.refused[1] is None
        if why := templates.refused[0]:
            ((outcome,),) = templates.render([(row, [0])], [1])
            return why, outcome
        ((first, second),) = templates.render([(row, [0, 0])], [0, 1])
        return first, second


@pytest.mark.parametrize("kind", ["nesting", "reaching"])
def test_hostile_templates_are_refused_and_the_good_one_renders(kind: str) -> None:
    for name, source in getattr(hostile_templates, kind)().items():
        ended, other = beside(source)
        assert other == GOOD, name
        assert not isinstance(ended, Rendered), name
        if kind == "nesting":
            assert isinstance(ended, str) and ended.startswith("templates.yaml: template 'hostile'"), name
            said = ("nested too deeply", "is not allowed", "cannot chain multiple tests")
            assert any(each in ended for each in said), (name, ended)


def growing(names: list[str]) -> None:
    for name in names:
        began = time.process_time()
        ended, other = beside(hostile_templates.growth()[name])
        assert other == GOOD, name
        assert not isinstance(ended, Rendered), name
        # By counted work and sizes: no net was reached, and no worker died.
        for net in ("MiB", "processor time", "ends the process"):
            assert net not in str(ended), (name, ended)
        assert time.process_time() - began < 5  # of this process, whatever the worker does


def test_values_that_grow_are_refused() -> None:
    growing(random.Random(os.environ.get("IML_TEST_SEED", "0")).sample(sorted(hostile_templates.growth()), 8))


@pytest.mark.nightly(seconds=32, reason="all values that grow; eight drawn ones run in the suite")
def test_every_value_that_grows_is_refused() -> None:
    growing(sorted(hostile_templates.growth()))


def test_the_family_is_large() -> None:
    assert len(hostile_templates.family()) >= 255


def test_limits_are_of_counts_so_that_refusals_are_the_same_everywhere() -> None:
    source = "{% for i in range(9) %}{% for j in range(99999) %}{% endfor %}{% endfor %}q ||| t"
    more = source.replace("range(9)", "range(11)")
    assert isinstance(beside(source)[0], Rendered)
    assert beside(more)[0] == Refused("more than 1000000 steps")


# What a filter of the sandbox is made to do in the worker, and what is said of the template that uses it.
DEATHS = {
    "os._exit(3)": "ends the process that renders it (status 3)",
    "os.kill(os.getpid(), signal.SIGSEGV)": "ends the process that renders it (SIGSEGV)",
    "os.kill(os.getpid(), signal.SIGKILL)": "ends the process that renders it (SIGKILL)",
    "os.abort()": "ends the process that renders it (SIGABRT)",
    "bytearray(3 << 30)": "more than 1536 MiB of memory",
    "sum(0 for _ in iter(int, 1))": "takes more than 0.2 s of processor time",
}


def deadly(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Makes the filter ``highlight`` of new workers do something deadly."""
    start = textwrap.dedent(
        f"""
        import os, signal
        from iml_jax.bench.sources.promptsource import sandbox, template_worker
        template_worker.SECONDS = 0.2 if "iter" in {code!r} else template_worker.SECONDS
        sandbox.highlight = lambda text: {code} if text == "die" else text
        template_worker.main()
        """
    )
    monkeypatch.setattr(template_pool, "START", f"exec({start!r})")
    monkeypatch.setattr(template_pool, "_POOL", template_pool._Pool())
    if "iter" in code:
        monkeypatch.setattr(template_worker, "SECONDS", 0.2)


@pytest.mark.parametrize("code", DEATHS)
def test_a_template_that_ends_its_worker_is_refused_on_that_row_only(
    monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    deadly(monkeypatch, code)
    rows = [{"text": "die" if number in (3, 7) else f"row {number}"} for number in range(10)]
    fatal = template("p {{ text | highlight }} ||| t", "fatal")
    with TemplateSet([good(), fatal, good()], FILE) as templates:
        found = list(templates.render([(row, [0, 0, 0]) for row in rows], [0, 1, 2]))
        assert len(found) == 10
        for row, outcomes in zip(rows, found, strict=True):
            assert outcomes[0] == outcomes[2] == Rendered(f"q {row['text']}", ("t",), ())
            if row["text"] == "die":
                assert outcomes[1] == Refused(DEATHS[code])
            else:
                assert outcomes[1] == Rendered(f"p {row['text']}", ("t",), ())


BELOW_A_PROFILER = f"""
import signal, sys
import pytest
signal.signal(signal.SIGPROF, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, {{signal.SIGPROF}})
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", {__file__!r}, "-k", "ends_its_worker and iter"]))
"""


def test_the_limit_on_time_holds_whatever_the_parent_does_with_its_signal() -> None:
    """A profiler leaves the signal ignored, and timers that send it: no test may touch it in this process."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [sys.executable, "-c", BELOW_A_PROFILER]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr  # 5 if no test was found


def test_a_template_that_ends_its_worker_while_it_is_compiled_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start = textwrap.dedent(
        """
        import os
        from iml_jax.bench.sources.promptsource import template_worker
        real = template_worker.Renderer
        template_worker.Renderer = lambda t, *more: os._exit(1) if t.name == "fatal" else real(t, *more)
        template_worker.main()
        """
    )
    monkeypatch.setattr(template_pool, "START", f"exec({start!r})")
    monkeypatch.setattr(template_pool, "_POOL", template_pool._Pool())
    with TemplateSet([good(), template("a ||| b", "fatal"), good()], FILE) as templates:
        assert [why is None for why in templates.refused] == [True, False, True]
        assert templates.refused[1] == (
            "templates.yaml: template 'fatal': ends the process that renders it (status 1); "
            "rewrite or remove the template"
        )
        assert list(templates.render([(ROW, [0, 0])], [0, 2])) == [[GOOD, GOOD]]
        with pytest.raises(UserError, match="template 'fatal'"):
            templates.check()


def test_outcomes_are_those_of_the_process_itself() -> None:
    rows = [
        {"a": "é \u2028 漢 😀 |||", "b": "x", "l": ["1", "2"]},
        {"a": "lone \ud800", "b": "x", "l": []},
        {"a": "pair \ud83d|\ude00".replace("|", ""), "b": "x", "l": []},
        {"b": "x", "l": ["only"]},
        {"a": "", "b": None, "l": [None, 1.5, True]},
        {"a": "long " * 1000, "b": "y", "l": ["q"]},
    ]
    made = [
        template("{{ a }} ||| {{ b }}", "plain"),
        template("{{ l[0] | upper }} ||| {{ ['u', 'v', 'w'] | choice }}", "draws"),
        template(
            "{{ answer_choices | join }} ||| {{ answer_choices[-1] }}", "choices", "no ||| {{ b }} ||| yes"
        ),
    ]
    renderers = [Renderer(each, FILE, 100) for each in made]
    with TemplateSet(made, FILE, 100) as templates:
        found = list(templates.render([(row, [5, 6, 7]) for row in rows], [0, 1, 2]))
    kinds = set()
    for row, outcomes in zip(rows, found, strict=True):
        for renderer, seed, outcome in zip(renderers, (5, 6, 7), outcomes, strict=True):
            kinds.add(type(outcome))
            try:
                expected = renderer.render(row, seed, "")
            except Exception as error:
                assert isinstance(outcome, Skipped)
                assert outcome in (NO_COLUMN, template_worker.NULL) or type(error).__name__ in outcome
                assert isinstance(error, NullPrintedError) == (outcome == template_worker.NULL)
                continue
            if isinstance(outcome, Rendered):
                assert outcome == expected
            elif outcome == template_worker.NOT_UNICODE:
                assert expected is not None and "\\ud8" in ascii(expected.prompt)
            else:
                assert expected is None and outcome == template_worker.NOT_APPLICABLE
    assert kinds == {Rendered, Skipped}


def test_workers_are_used_again_and_what_was_not_read_is_dropped() -> None:
    made = [good(), template("{{ text }}! ||| t", "other")]
    with TemplateSet(made, FILE) as templates:
        first = templates.pid
        reading = templates.render([({"text": str(number)}, [0, 0]) for number in range(64)], [0, 1])
        assert next(reading)[0] == Rendered("q 0", ("t",), ())
        reading.close()
    for _ in range(2):
        with TemplateSet(made, FILE) as templates:
            assert templates.pid == first
            assert list(templates.render([(ROW, [0])], [1])) == [[Rendered("The cat sat.!", ("t",), ())]]


def test_two_sets_at_once_have_workers_of_their_own() -> None:
    with TemplateSet([good()], FILE) as one, TemplateSet([good()], FILE) as two:
        assert one.pid != two.pid
        assert list(one.render([(ROW, [0])], [0])) == list(two.render([(ROW, [0])], [0])) == [[GOOD]]


def test_a_killed_command_leaves_no_worker() -> None:
    code = textwrap.dedent(
        f"""
        import sys
        sys.path[:] = {sys.path!r}
        from pathlib import Path
        from iml_jax.bench.sources.promptsource.template_pool import TemplateSet
        from iml_jax.bench.sources.promptsource.templates import PromptTemplate
        slow = "{{% for i in range(9) %}}{{% for j in range(99999) %}}{{% endfor %}}{{% endfor %}}q ||| t"
        templates = TemplateSet([PromptTemplate("t", slow, "", True, ())], Path("f"))
        print(templates.pid, flush=True)
        for _ in range(1000):
            list(templates.render([({{}}, [0])], [0]))
        """
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        os.kill(worker, 0)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    for _ in range(600):
        if not Path(f"/proc/{worker}").exists() or "State:\tZ" in Path(f"/proc/{worker}/status").read_text():
            return
        time.sleep(0.1)
    pytest.fail("the worker outlived the command")


def test_a_worker_needs_no_path_to_the_package_and_one_that_does_not_start_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An editable installation finds the package by an import hook, not by ``sys.path``."""
    root = str(Path(template_pool.__file__).parents[4])
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in ("", root)])
    process = template_pool._Process()
    assert process.alive
    process.close()
    monkeypatch.setattr(template_pool, "START", "import no_such_module")
    with pytest.raises(Fault, match=r"does not start: ModuleNotFoundError: No module named 'no_such_module'"):
        template_pool._Process()
