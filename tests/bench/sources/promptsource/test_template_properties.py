"""Random templates end, and random rows are rendered as plain Jinja renders them."""

from __future__ import annotations

import resource
import time
from pathlib import Path
from typing import Any

import jinja2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from iml_jax.bench.sources.promptsource.rendering import Renderer
from iml_jax.bench.sources.promptsource.sandbox import ForbiddenTemplateError, TemplateSandbox
from iml_jax.bench.sources.promptsource.template_limits import OUTPUT_LIMIT, TooMuchWorkError
from iml_jax.bench.sources.promptsource.templates import PromptTemplate

ENDS = (
    ForbiddenTemplateError,
    TooMuchWorkError,
    jinja2.TemplateError,
    TypeError,
    LookupError,
    ValueError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)
ROW = {"s": "a b", "l": ["x", "y z"], "n": 5, "big": "x y" * 300_000, "many": [{"k": "v"}] * 500}


def _expressions(depth: int) -> tuple[st.SearchStrategy[str], ...]:
    """Expressions whose values are texts, lists and numbers; most of them fit what they are put into."""
    text = st.sampled_from(["s", "big", "'%s'", "'x'", "ns.s"])
    items = st.sampled_from(["l", "many", "[1]", "range(90000)", "ns.l"])
    number = st.sampled_from(["n", "2", "99999", "-1", "1.5"])
    for _ in range(depth):
        t, i, n = text, items, number
        text = st.one_of(
            t,
            st.builds("({} ~ {})".format, t, t),
            st.builds("({} + {})".format, t, t),
            st.builds("({} * {})".format, t, n),
            st.builds("({}).replace({}, {})".format, t, t, t),
            st.builds("({} | replace({}, {}))".format, t, t, t),
            st.builds("({} | map('string') | join({}))".format, i, t),
            st.builds("({}).join({})".format, t, i),
            st.builds("({} % {})".format, t, t),
            st.builds("({} | format({}))".format, t, i),
            st.builds("({})[{}:]".format, t, n),
            st.builds("({} | title | upper | trim)".format, t),
        )
        items = st.one_of(
            i,
            st.builds("[{}, {}]".format, i, i),
            st.builds("({}).split({})".format, t, t),
            st.builds("({} | list + {} | list)".format, i, i),
            st.builds("(({} | list) * {})".format, i, n),
            st.builds("({} | map('replace', 'x', {}) | list)".format, i, t),
            st.builds("({} | select('in', {}) | list)".format, i, t),
            st.builds("({} | sort | unique | list)".format, i),
            st.builds("({} | list | reverse | list)".format, t),
        )
        number = st.one_of(
            n,
            st.builds("({} | length)".format, t),
            st.builds("({} | list | length)".format, i),
            st.builds("({} * {})".format, n, n),
            st.builds("({} ** {})".format, n, n),
            st.builds("({} // {})".format, n, n),
            st.builds("({} | int(0, 16))".format, t),
            st.builds("({}).count({})".format, t, t),
            st.builds("({} | sum)".format, i),
        )
    return text, items, number


def _templates() -> st.SearchStrategy[str]:
    text, items, number = _expressions(3)
    flat = st.one_of(
        st.builds("{{% set ns.s = {} %}}".format, text),
        st.builds("{{% set ns.l = {} %}}".format, items),
        st.builds("{{% set x = ns.l.append({}) %}}".format, items),
        st.builds("{{{{ {} }}}}".format, st.one_of(text, items, number)),
        st.builds("{{% if {} in {} %}}y{{% endif %}}".format, text, text),
        st.builds("{{% if {} == {} %}}y{{% endif %}}".format, items, items),
    )
    body = st.lists(flat, min_size=1, max_size=3).map("".join)
    for _ in range(2):
        loop = st.builds("{{% for i in {} %}}{}{{% endfor %}}".format, items, body)
        body = st.lists(st.one_of(flat, loop), min_size=1, max_size=3).map("".join)
    return body.map("{{% set ns = namespace(s='ab', l=[1]) %}}{}".format)


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(source=_templates(), limit=st.sampled_from([0, 2048]))
def test_random_templates_end(source: str, limit: int) -> None:
    sandbox = TemplateSandbox()
    started = time.process_time()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        made = sandbox.render(sandbox.compile_template(source, limit), dict(ROW), 0)
    except ENDS:
        made = ""
    assert len(made) <= OUTPUT_LIMIT
    assert time.process_time() - started < 15
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 600_000  # kB


TEXTS = st.text(
    st.one_of(st.sampled_from(list(" |\n\t\u00a0'\"{}%<é漢")), st.characters(exclude_categories=("Cs",))),
    max_size=60,
)
BODIES = (
    "{{a}}|||{{b}}",
    " {{ a }}\n{{ l | join(', ') }} ||| {{ b }} ||| {{ a }}",
    "{% for x in l %}{{ loop.index }}: {{ x }}\n{% endfor %}|||{{ answer_choices[n] }}",
    "{% if n == 1 %}{{ a }}? ||| {{ l[n] }}{% endif %}",
    "{{ answer_choices | join(' or ') }}{{ d.k }}{{ d['absent'] }} ||| {{ l[9] }}{{ answer_choices[-1] }}",
    "{{ a.split(' ')[0] | lower }} {{ a.replace('é', 'e') | capitalize }} ||| {{ d }}{{ n }}",
    "{% set x = a ~ b %}{{ x }} {{ x | length }} {{ x[1:5] }} ||| {{ x | trim | upper }}",
)


ROWS = st.fixed_dictionaries(
    {
        "a": TEXTS,
        "b": st.one_of(TEXTS, st.integers(0, 9000).map("word ".__mul__)),
        "l": st.lists(st.text("ab é", max_size=5), max_size=4),
        "n": st.integers(0, 2),
        "d": st.fixed_dictionaries({"k": st.integers()}),
    }
)


@settings(max_examples=200, deadline=None)
@given(row=ROWS, body=st.sampled_from(BODIES), limit=st.sampled_from([0, 20, 2048]))
def test_random_rows_are_rendered_as_by_the_library(row: dict[str, Any], body: str, limit: int) -> None:
    choices = "no ||| {{ b }} ||| yes"
    environment = jinja2.Environment(loader=jinja2.BaseLoader())
    escape = "\ue0f0\ue0f1\ue0f2"  # of the length of the separator, so that lengths and cuts are the same
    escaped = {
        key: value.replace("|||", escape) if isinstance(value, str) else value for key, value in row.items()
    }
    cut = body.replace("}}", f" | string | truncate({limit}) }}}}") if limit else body
    options = [choice.strip() for choice in environment.from_string(choices).render(escaped).split("|||")]
    try:
        text = environment.from_string(cut).render(escaped, answer_choices=options)
    except IndexError:
        text = ""
    parts = [part.replace(escape, "|||").strip() for part in text.split("|||")]
    template = PromptTemplate("t", body, choices, True, ("Accuracy",))
    try:
        made = Renderer(template, Path("t"), limit).render(row, 0, "row")
    except IndexError:
        made = None
    if made is None:
        assert not parts[0] or not any(parts[1:])
    else:
        assert [made.prompt, *made.references] == [
            parts[0],
            *dict.fromkeys(part for part in parts[1:] if part),
        ]
        restored = (option.replace(escape, "|||").strip() for option in options)
        assert made.options == tuple(dict.fromkeys(option for option in restored if option))
