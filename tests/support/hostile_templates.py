"""A family of templates that nest, grow or reach for what is not theirs; each has a name."""

from __future__ import annotations

BIG = "{% set s = 'x' * 4000000 %}"
MANY = "{% set l = range(99999) | list %}"


def nesting() -> dict[str, str]:
    """Every construct that can hold itself, at depths from past our limit to past any stack."""
    makers = {
        "round brackets": lambda n: "{{ " + "(" * n + "1" + ")" * n + " }}",
        "lists": lambda n: "{{ " + "[" * n + "1" + "]" * n + " }}",
        "tuples": lambda n: "{{ " + "(1," * n + "1" + ")" * n + " }}",
        "mappings": lambda n: "{{ " + "{1:" * n + "1" + "}" * n + " }}",
        "subscripts": lambda n: "{{ t" + "[t" * n + "]" * n + " }}",
        "calls in calls": lambda n: "{{ " + "range(" * n + "1" + ")" * n + " }}",
        "filters in filters": lambda n: "{{ 1" + " | default(1" * n + ")" * n + " }}",
        "not": lambda n: "{{ " + "not " * n + "1 }}",
        "minus": lambda n: "{{ " + "- " * n + "1 }}",
        "plus": lambda n: "{{ " + "+" * n + "1 }}",
        "not in brackets": lambda n: "{{ " + "(not " * n + "1" + ")" * n + " }}",
        "conditions": lambda n: "{{ " + "1 if 0 else " * n + "1 }}",
        "conditions in front": lambda n: "{{ " + "(" * n + "1" + " if 1 else 0)" * n + " }}",
        "if": lambda n: "{% if 1 %}" * n + "x" + "{% endif %}" * n,
        "for": lambda n: "{% for i in t %}" * n + "x" + "{% endfor %}" * n,
        "if in for": lambda n: "{% for i in t %}{% if i %}" * n + "x" + "{% endif %}{% endfor %}" * n,
        "for in else": lambda n: "{% for i in [] %}{% else %}" * n + "x" + "{% endfor %}" * n,
        "if in else": lambda n: "{% if 0 %}{% else %}" * n + "x" + "{% endif %}" * n,
        "set blocks": lambda n: "{% set x %}" * n + "x" + "{% endset %}" * n,
        "macros": lambda n: "{% macro m() %}" * n + "x" + "{% endmacro %}" * n,
        "filter blocks": lambda n: "{% filter upper %}" * n + "x" + "{% endfilter %}" * n,
        "with": lambda n: "{% with %}" * n + "x" + "{% endwith %}" * n,
        "call blocks": lambda n: "{% call m() %}" * n + "x" + "{% endcall %}" * n,
        "sums": lambda n: "{{ 1" + " + 1" * n + " }}",
        "products": lambda n: "{{ 1" + " * 1" * n + " }}",
        "powers": lambda n: "{{ 1" + " ** 1" * n + " }}",
        "and": lambda n: "{{ 1" + " and 1" * n + " }}",
        "or": lambda n: "{{ 0" + " or 0" * n + " }}",
        "filters in a row": lambda n: "{{ t" + "|upper" * n + " }}",
        "tests in a row": lambda n: "{{ t" + " is defined" * n + " }}",
        "attributes": lambda n: "{{ t" + ".a" * n + " }}",
        "subscripts in a row": lambda n: "{{ t" + "[0]" * n + " }}",
        "calls in a row": lambda n: "{{ t" + "()" * n + " }}",
    }
    return {
        f"{name} {depth}": make(depth) + " ||| t"
        for name, make in makers.items()
        for depth in (60, 300, 3000)
        if len(make(depth)) < 64_000
    }


def growth() -> dict[str, str]:
    """Values that grow, by every operator, filter and method that can make them grow."""
    once = {
        "times": "'a' * 10**9",
        "times list": "[0] * 10**9",
        "times tuple": "(1,) * 10**9",
        "number times": "10**9 * 'a'",
        "power": "10 ** (10**9)",
        "power of power": "9 ** (9 ** (9 ** 9))",
        "range": "range(10**9) | list",
        "power of zeros": "(0 - 10) ** (10**9)",
        "range of huge": "range(10**18)",
        "width": "'%1000000000d' % 1",
        "star width": "'%*d' % (10**9, 1)",
        "precision": "'%.1000000000f' % 1.0",
        "named width": "'%(a)1000000000d' % {'a': 1}",
        "format filter": "'%1000000000d' | format(1)",
        "format method": "'{:1000000000}'.format(1)",
        "format map": "'{a:1000000000}'.format_map({'a': 1})",
        "center": "'x' | center(10**9)",
        "center method": "'x'.center(10**9)",
        "ljust": "'x'.ljust(10**9)",
        "zfill": "'x'.zfill(10**9)",
        "expandtabs": "'\t'.expandtabs(10**9)",
        "indent": "'x\n' | indent(10**9)",
        "wordwrap": "'x y' | wordwrap(1, wrapstring='x' * 10**6)",
        "truncate": "('x' * 10**9) | truncate(5)",
        "batch": "[1] | batch(10**9, 0) | list",
        "slice": "[1] | slice(10**9) | list",
        "lipsum": "lipsum(10**6)",
        "tojson": "range(10**6) | list | tojson",
        "pprint": "range(10**6) | list | pprint",
        "xmlattr": "{'a': 'x' * 10**9} | xmlattr",
        "urlize": "('http://x ' * 10**8) | urlize",
        "join": "range(99999) | join('x' * 100000)",
        "join method": "('x' * 100000).join('y' * 100000)",
        "replace": "('ab' * 100000).replace('a', 'ab' * 100000)",
        "replace filter": "('ab' * 100000) | replace('a', 'ab' * 100000)",
        "replace empty": "('ab' * 100000).replace('', 'ab' * 1000)",
        "translate": "('ab' * 1000).translate({97: 'x' * 10**7})",
        "int": "('f' * 1000000) | int(0, 16)",
        "round": "1.5 | round(10**9, 'ceil')",
        "sum of lists": "([[1]] * 60000) | sum(start=[])",
        "sum of texts": "(['x' * 1000] * 60000) | sum(start='')",
        "sort": "range(99999) | map('string') | map('replace', '1', 'x' * 10**6) | sort",
        "unique": "range(99999) | map('string') | map('replace', '1', 'x' * 10**6) | unique | list",
        "groupby": "range(10**6) | groupby('x')",
        "dictsort": "{'a': 'x' * 10**9} | dictsort",
        "map": "range(99999) | map('replace', '', 'x' * 10**6) | list",
        "select": "range(99999) | select('in', 'x' * 4000000) | list",
        "concat": "'x' * 4000000" + " ~ 'x' * 4000000" * 20,
        "literal digits": "9" * 5000,
        "literal float": "1e999",
        "shift": "2 ** 4000 * 2 ** 4000",
        "encode": "'x'.encode('utf-16')",
        "splitlines": "('\n' * 4000000).splitlines()",
        "split": "('a ' * 2000000).split(' ')",
        "list of text": "('x' * 4000000) | list",
        "wordcount": "range(99999) | map('replace', '', 'a ' * 10**6) | map('wordcount') | sum",
        "title": "range(99999) | map('replace', '', 'a ' * 10**6) | map('title') | list",
    }
    loops = {
        "text doubles": "{% set ns.s = ns.s + ns.s %}",
        "concat doubles": "{% set ns.s = ns.s ~ ns.s %}",
        "replace doubles": "{% set ns.s = ns.s.replace('a', ns.s) %}",
        "join doubles": "{% set ns.s = ns.s.join(ns.s) %}",
        "list doubles": "{% set ns.l = ns.l + ns.l %}",
        "list nests": "{% set ns.l = [ns.l, ns.l] %}",
        "tuple nests": "{% set ns.l = (ns.l, ns.l) %}",
        "mapping nests": "{% set ns.l = {1: ns.l, 2: ns.l} %}",
        "chain nests": "{% set ns.l = [ns.l] %}",
        "chain of tuples": "{% set ns.l = (ns.l,) %}",
        "appends itself": "{% set x = ns.l.append(ns.l) %}{% set y = ns.l ~ '' %}",
        "appends texts": "{% set x = ns.l.append('x' * 4000000) %}",
        "appends numbers": "{% set x = ns.l.append(range(99999) | list) %}",
        "inserts": "{% set x = ns.l.insert(0, range(99999) | list) %}",
        "updates": "{% set x = ns.d.update({loop.index: range(99999) | list}) %}",
        "numbers square": "{% set ns.n = ns.n * ns.n %}",
        "numbers power": "{% set ns.n = ns.n ** ns.n %}",
        "prints": "{{ 'x' * 100000 }}",
        "prints data": "x" * 2000,
        "loops": "{% for j in range(99999) %}{% for k in range(99999) %}{% endfor %}{% endfor %}",
        "compares": "{% set t = 'x' * 4000000 %}{% if t == t[1:] %}{% endif %}",
        "contains": "{% set t = 'x' * 4000000 %}{% if 'y' in t %}{% endif %}",
        "slices": "{% set t = 'x' * 4000000 %}{% set u = t[1:] %}",
        "counts": "{% set t = ('x' * 4000000).count('y') %}",
        "splits": "{% set t = ('a ' * 1000000).split(' ') %}",
        "random": "{% set t = range(99999) | random %}",
        "most frequent": "{% set t = range(99999) | most_frequent %}",
        "zips": "{% for a in zip(range(99999), range(99999)) %}{% endfor %}",
        "enumerates": "{% for a in enumerate(range(99999)) %}{% endfor %}",
        "reverses": "{% set t = range(99999) | list | reverse | list %}",
    }
    start = "{% set ns = namespace(s='ab', l=[1], n=3, d={}) %}"
    found = {f"{name}, once": f"{{{{ {code} }}}} ||| t" for name, code in once.items()}
    for name, code in loops.items():
        body, loop = f"{code}{{% endfor %}}", "{% for i in range(99999) %}"
        found[f"{name}, looped"] = f"{start}{loop}{body}{{{{ ns.l }}}} ||| t"
        found[f"{name}, nested loops"] = f"{start}{loop}{loop}{body}{{% endfor %}}{{{{ ns.l }}}} ||| t"
    return found


def reaching() -> dict[str, str]:
    """Attributes, names, tests and constructs that lead out, recurse, or surprise the machinery."""
    codes = {
        "class": "''.__class__.__mro__[1].__subclasses__()",
        "class item": "''['__class__']",
        "class by map": "[''] | map(attribute='__class__') | list",
        "class by nested map": "[['']] | map(attribute='0.__class__') | list",
        "class by attr": "'' | attr('__class__')",
        "globals": "range.__globals__",
        "globals of namespace": "namespace.__init__.__globals__",
        "self": "self.__init__.__globals__",
        "self context": "self._TemplateReference__context",
        "format class": "'{0.__class__}'.format('')",
        "mro": "dict.mro()",
        "import": "__import__('os')",
        "open": "open('/etc/passwd').read()",
        "exec": "exec('1')",
        "exit": "exit()",
        "cycler": "cycler.__init__.__globals__.os._exit(1)",
        "joiner": "joiner.__init__.__globals__",
        "config": "get_flashed_messages.__globals__",
        "unknown filter": "1 | nothing",
        "unknown test": "1 is nothing",
        "guard": "'x' | _steps",
        "guard of size": "'x' | _bounded",
        "eval filter": "'1' | eval",
        "generator frame": "(range(3) | map('string')).gi_frame",
        "encode": "'x'.encode()",
        "sort in place": "[2, 1].sort()",
        "unclosed": "(1",
        "crossed": "(1]",
        "bad escape": "'\\N{nothing}'",
    }
    found = {name: f"{{{{ {code} }}}} ||| t" for name, code in codes.items()}
    found |= {
        "include": "{% include '/etc/passwd' %} ||| t",
        "extends": "{% extends 'x' %} ||| t",
        "import block": "{% import 'os' as os %} ||| t",
        "from block": "{% from 'os' import system %} ||| t",
        "macro calls itself": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }} ||| t",
        "macro calls itself twice": "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }} ||| t",
        "recursive loop": "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %} ||| t",
        "caller": "{% macro f() %}{{ caller() }}{% endmacro %}{% call f() %}{{ f() }}{% endcall %} ||| t",
        "autoescape": "{% autoescape true %}x{% endautoescape %} ||| t",
        "do": "{% do 1 %} ||| t",
        "debug": "{% debug %} ||| t",
        "trans": "{% trans %}x{% endtrans %} ||| t",
        "block": "{% block b %}{{ self.b() }}{% endblock %} ||| t",
        "too long": "x" * 70_000 + " ||| t",
        "unclosed raw": "{% raw %} ||| t",
        "unclosed comment": "{# ||| t",
        "many elifs": "{% if a %}" + "{% elif a %}x" * 4000 + "{% endif %} ||| t",
        "attribute set": "{% set x.y = 1 %} ||| t",
        "pops while it loops": "{% set d = {1: 1, 2: 2} %}{% for k in d %}{% set x = d.pop(k) %}"
        "{% endfor %}q ||| t",
        "grows while it loops": "{% set l = [1] %}{% for k in l %}{% set x = l.append(k) %}"
        "{% endfor %}q ||| t",
        "loop attribute": "{% for x in [1] %}{{ loop._iterator }}{% endfor %} ||| t",
        "loop cycle": "{% for x in [1] %}{{ loop.cycle.__globals__ }}{% endfor %} ||| t",
        "namespace class": "{% set ns = namespace() %}{{ ns.__class__ }} ||| t",
    }
    return found


def family() -> dict[str, str]:
    """All of them, by name."""
    return nesting() | growth() | reaching()
