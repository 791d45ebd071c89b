"""Templates can neither get out nor run away; what PromptSource's templates use works as in plain Jinja."""

from __future__ import annotations

import collections
import threading

import jinja2
import pytest

from iml_jax.bench.sources.promptsource.sandbox import (
    ForbiddenTemplateError,
    MissingColumnError,
    TemplateSandbox,
)
from iml_jax.bench.sources.promptsource.template_limits import TooMuchWorkError

ROW = {
    "text": "The cat sat.",
    "n": 3,
    "list": ["a", "b", "a"],
    "choices": {"label": ["A", "B"], "text": ["x", "y"]},
    "rows": [{"k": 1, "v": "p"}, {"k": 2, "v": "q"}],
}
FAILURES = (jinja2.TemplateError, TypeError, LookupError, ValueError, ArithmeticError, RecursionError)


def _render(source: str, seed: int = 0, row: dict | None = None) -> str:
    sandbox = TemplateSandbox()
    return sandbox.render(sandbox.compile_template(source), dict(row or ROW), seed)


@pytest.mark.parametrize(
    "source",
    [
        "{{ text.split(' ')[-1] | replace('.', '') | upper }}",
        "{% for item in list %}{{ loop.index }}{{ item }}{% if not loop.last %}, {% endif %}{% endfor %}",
        "{{ choices.text[choices.label.index('B')] }} {{ choices['label'] | join(' / ') }}",
        "{% set ns = namespace(found='') %}{% for r in rows if r.k == 2 %}"
        "{% set ns.found = r.v %}{% endfor %}{{ ns.found }}",
        "{% set out = [] %}{% for i in range(n) %}{{ out.append(i * 2) or '' }}{% endfor %}{{ out }}",
        "{{ rows | selectattr('k', 'equalto', 1) | map(attribute='v') | list }}",
        "{{ {'a': 'b'}['a'] }}{{ (n / 2) | round(1) }}{{ n // 2 }}{{ n % 2 }}{{ -n | abs }}{{ n ** 2 }}",
        "{{ 'yes' if n > 2 and text is defined else 'no' }}{{ ('%s-%s' | format(n, text)) }}{{ text ~ n }}",
        "{{ list | unique | list | length }}{{ list | first }}{{ [1, 2] | max }}{{ text[:3] }}",
    ],
)
def test_same_as_plain_jinja(source: str) -> None:
    assert _render(source) == jinja2.Environment().from_string(source).render(ROW)


@pytest.mark.parametrize(
    "source",
    [
        "{{ text.__class__ }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ text['__class__'] }}",
        "{{ rows | map(attribute='__class__') | join }}",
        "{{ range.__globals__ }}",
        "{{ namespace.__init__.__globals__ }}",
        "{{ text.format(1) }}",
        "{{ '{0.__class__}'.format(text) }}",
        "{{ text.encode('utf-8') }}",
        "{{ zip.__self__ }}",
        "{{ loop.__class__ }}",
        "{{ self.__init__ }}",
        "{{ self._TemplateReference__context }}",
        "{% for x in list %}{{ loop._iterator }}{% endfor %}",
        "{% set ns = namespace() %}{{ ns.__class__ }}",
        "{{ open('/etc/passwd').read() }}",
        "{{ ''.join.__call__ }}",
        "{{ text | attr('upper') }}",
        "{{ lipsum.__globals__['os'].popen('id').read() }}",
        "{{ cycler.__init__.__globals__.os }}",
        "{{ list.sort() }}",
        "{{ dict.mro() }}",
    ],
)
def test_no_way_to_python_internals(source: str) -> None:
    with pytest.raises((ForbiddenTemplateError, *FAILURES)):
        _render(source)


@pytest.mark.parametrize(
    "source",
    [
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}",
        "{% from 'os' import system %}",
        "{% extends 'base' %}",
        "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
        "{% call f() %}{% endcall %}",
        "{% for x in list recursive %}{{ loop(list) }}{% endfor %}",
        "{% set x %}{{ text }}{% endset %}",
        "{{ text | pprint }}",
        "{{ text | _steps }}",
        "{{ __class__ }}",
        "{{ text.__class__ }}",
        "{% if list[0].__init__.__globals__ %}{% endif %}",
        "{{ text | tojson }}",
        "x" * 70_000,
    ],
)
def test_constructs_that_are_refused(source: str) -> None:
    with pytest.raises(ForbiddenTemplateError):
        _render(source)


@pytest.mark.parametrize(
    "source",
    [
        "{% for i in range(10**9) %}{% endfor %}",
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{% for i in range(99999) %}" + "x" * 60 + "{% endfor %}",
        "{{ 'a' * 10**9 }}",
        "{{ [0] * 10**9 }}",
        "{{ 10 ** (10 ** 9) }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '%*d' % (1000000000, 1) }}",
        "{{ '%1000000000d' | format(1) }}",
        "{{ '%(a)1000000000d' % {'a': 1} }}",
        "{{ '%((a))1000000000d' % {'(a)': 1} }}",
        "{% set s = 'x' * 4000000 %}{{ s" + " ~ s" * 2000 + " }}",
        "{% set a = [[1]] * 60000 %}{{ a | sum(start=[]) | length }}",
        "{% set n = ('f' * 1000000) | int(0, 16) %}{{ n // 3 }}",
        "{% set s = 'x' * 4000000 %}{% for i in range(90000) %}{% if 'y' in s %}{% endif %}{% endfor %}",
        "{% set s = 'x' * 4000000 %}{% for i in range(90000) %}{% if s == s[1:] %}{% endif %}{% endfor %}",
        "{% set s = 'x' * 4000000 %}{{ range(90000) | map('string') | select('in', s) | list | length }}",
        "{% set s = 'x' * 4000000 %}{% for i in range(90000) %}{% set t = s[1:] %}{% endfor %}",
        "{% set s = 'x' * 4000000 %}{{ s | map(attribute='y') | list }}",
        "{{ 1.5 | round(1000000000, 'ceil') }}",
        "{% set s = 'ab' * 100000 %}" + "{% set s = s ~ s %}" * 40 + "{{ s }}",
        "{% set s = 'ab' * 100000 %}" + "{% set s = s + s %}" * 40 + "{{ s }}",
        "{% set s = 'ab' * 1000 %}{% set s = s.replace('a', s) %}{% set s = s.replace('a', s) %}{{ s }}",
        "{% set s = 'ab' * 1000 %}{% set s = s | replace('a', s) | replace('a', s) %}{{ s }}",
        "{% set a = [1] %}" + "{% set a = [a, a] %}" * 60 + "{{ a }}",
        "{% set a = (1,) %}" + "{% set a = (a, a) %}" * 60 + "{{ a }}",
        "{% set a = {} %}" + "{% set a = {1: a, 2: a} %}" * 60 + "{{ a }}",
        "{% set a = [] %}{% set b = a.append(a) %}{% set b = [a, a] %}{{ b }}",
        "{{ range(99999) | join('x' * 100000) }}",
        "{{ ('x' * 100000).join('y' * 100000) }}",
        "{% set s = 'x' * 1000000 %}{{ ('%(s)s' * 10000) % {'s': s} }}",
        "{% set ns = namespace(s='ab') %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
        "{% set s = 'a ' * 1000000 %}{% for i in range(99999) %}{% set t = s.split(' ') %}{% endfor %}",
    ],
)
def test_work_and_growth_are_bounded(source: str) -> None:
    with pytest.raises(TooMuchWorkError):
        _render(source)


@pytest.mark.parametrize(
    "source",
    [
        "{{ '%1000000000d' % 1 }}",
        "{{ '%(a)1000000000d' % {'a': 1} }}",
        "{{ '%((a))-1000000000d' | format(**{'(a)': 1}) }}",
        "{{ '%.1000000000f' | format(1) }}",
        "{{ '%*d' % (1000000000, 1) }}",
    ],
)
def test_widths_are_refused_before_they_are_filled(source: str) -> None:
    with pytest.raises(TooMuchWorkError, match="field width"):
        _render(source)


def test_deep_nesting_is_refused() -> None:
    with pytest.raises((ForbiddenTemplateError, jinja2.TemplateSyntaxError)):
        TemplateSandbox().compile_template("{{ " + "(" * 20_000 + "1" + ")" * 20_000 + " }}")


def test_columns_that_are_not_there_are_errors_and_empty_fields_are_not() -> None:
    for source in ("{{ absent }}", "{% if absent %}{% endif %}", "{% for x in absent %}{% endfor %}"):
        with pytest.raises(MissingColumnError) as caught:
            _render(source)
        assert caught.value.column == "absent"
    with pytest.raises(jinja2.UndefinedError):
        _render("{{ absent.part }}")
    for source in (
        "{{ choices.absent }}{{ list[9] }}{% if list[9] %}x{% endif %}{% for x in list[9] %}x{% endfor %}",
        "{{ absent | default('d') }}{{ absent is defined }}",
        "{% if n == 4 %}{% set late = 1 %}{% endif %}{{ late }}{% if late %}x{% endif %}",
        "{{ list[9] == choices.absent }}{{ list[9] | length }}{{ list[9] | join }}{{ list[9] ~ 'x' }}",
    ):
        assert _render(source) == jinja2.Environment().from_string(source).render(ROW)


@pytest.mark.parametrize(
    "source",
    [
        "{{ list | map('upper') }}",
        "{{ text.upper }}",
        "{{ range }}",
        "{{ [list | reverse] }}",
        "{{ zip() ~ 1 }}",
    ],
)
@pytest.mark.parametrize("limit", [0, 2048])
def test_addresses_are_not_printed(source: str, limit: int) -> None:
    sandbox = TemplateSandbox()
    with pytest.raises(jinja2.TemplateRuntimeError, match="prints a"):
        sandbox.render(sandbox.compile_template(source, limit), dict(ROW), 0)


@pytest.mark.parametrize("limit", [0, 3, 7, 10, 11, 40])
def test_values_are_cut_as_jinja_cuts_them(limit: int) -> None:
    sandbox = TemplateSandbox()
    source = "a long text that is not cut {{ text }} {{ list }} {{ ('x' * 30) }} {{ list[9] }}{{ n }}"
    cut = source.replace("}}", f"| string | truncate({limit}) }}}}") if limit else source
    made = sandbox.render(sandbox.compile_template(source, limit), dict(ROW), 0)
    assert made == jinja2.Environment().from_string(cut).render(ROW)


def test_choice_follows_the_seed_and_reaches_every_item() -> None:
    source = "{{ ['a', 'b', 'c'] | choice }}{{ ['a', 'b', 'c'] | random }}"
    drawn = collections.Counter(_render(source, seed) for seed in range(400))
    assert set(drawn) == {a + b for a in "abc" for b in "abc"}
    assert _render(source, 7) == _render(source, 7)
    with pytest.raises(jinja2.UndefinedError):
        _render("{{ [] | choice }}")


def test_most_frequent_keeps_ties_in_order() -> None:
    assert _render("{{ ['b', 'a', 'a', 'b', 'c'] | most_frequent | join }}") == "ba"
    assert _render("{{ [] | most_frequent is none }}") == "True"


def test_threads_have_their_own_budget_and_draws() -> None:
    sandbox = TemplateSandbox()
    template = sandbox.compile_template("{% for i in range(2000) %}{{ ['a', 'b'] | choice }}{% endfor %}")
    alone = [sandbox.render(template, {}, seed) for seed in range(4)]
    together: dict[int, str] = {}
    threads = [
        threading.Thread(target=lambda seed=seed: together.update({seed: sandbox.render(template, {}, seed)}))
        for seed in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [together[seed] for seed in range(4)] == alone
