"""The XML of the PASCAL RTE challenges, in the schema of GLUE's RTE."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from iml_jax.bench.sources.formats.rows import Row
from iml_jax.bench.sources.formats.xml_records import xml_records
from iml_jax.foundation.errors import UserError

_TEXTS = {"t": "sentence1", "h": "sentence2"}
# RTE-1 marks TRUE and FALSE, RTE-2 and RTE-3 YES and NO, the three-way sets the others.
_LABELS = {
    "true": "entailment",
    "yes": "entailment",
    "entailment": "entailment",
    "false": "not_entailment",
    "no": "not_entailment",
    "unknown": "not_entailment",
    "contradiction": "not_entailment",
}


def read_rte(path: Path) -> Iterator[tuple[str, Row]]:
    """Streams (number, row) of ``<pair id= entailment=|value= ><t>..</t><h>..</h></pair>``, counted from 1.

    Raises:
      UserError: as ``xml_records``, or a pair that is not of this form; names the line.
    """
    for pair in xml_records(path, "pair", doctype=True):
        answer = str(pair.values.get("entailment", pair.values.get("value", ""))).strip()
        label = _LABELS.get(answer.lower())
        if answer and label is None:
            known = ", ".join(sorted(_LABELS))
            raise UserError(f"{pair.place}: answer {answer[:40]!r} is none of {known}; fix it")
        if missing := [name for name in _TEXTS if name not in pair.values]:
            raise UserError(f"{pair.place}: a pair without <{missing[0]}>; add it or remove the pair")
        row: Row = {"label": label}
        # Long texts are broken over indented lines in some of the files.
        row.update({field: " ".join(pair.values[name].split()) for name, field in _TEXTS.items()})
        yield str(pair.number), row
