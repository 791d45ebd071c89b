"""Writes the miniature's tasks of Super-NaturalInstructions, PromptSource and reasoning in their formats."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Sequence
from typing import Any

import yaml

from iml_jax.bench.hashing import stable_hash
from iml_jax.bench.sources.miniature.makers import Fields, Sizes, Spec, choices_of, generate, rows_of

_FORMATS = ("jsonl", "csv", "parquet", "jsonl.gz")


def json_bytes(content: Any) -> bytes:
    """A JSON file, indented."""
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()


def encoded(rows: Sequence[dict[str, Any]], kind: str) -> bytes:
    """Rows as ``csv``, ``parquet``, ``jsonl`` or ``jsonl.gz``; at least one."""
    if kind == "csv":
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue().encode()
    if kind == "parquet":
        import pyarrow
        from pyarrow import parquet

        stream = io.BytesIO()
        parquet.write_table(pyarrow.Table.from_pylist(list(rows)), stream)
        return stream.getvalue()
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    return gzip.compress(lines, mtime=0) if kind.endswith(".gz") else lines


def super_natural(specs: Sequence[Spec], sizes: Sizes) -> dict[str, bytes]:
    """``tasks/TASK.json`` and the two lists of ``splits/default``."""
    files, roles = {}, {"train": "", "test": ""}
    for number, spec in enumerate(specs, 1):
        name = f"task{number:03d}_{spec.name}"
        roles["test" if spec.evaluation else "train"] += f"{name}\n"
        count = sizes.instances + (sizes.evaluation if spec.evaluation else sizes.held_out)
        rows = generate(spec, sizes.seed, count + 2)
        content = {
            "Contributors": ["iml_jax"],
            "Source": ["miniature"],
            "URL": [""],
            "Categories": [spec.category],
            "Reasoning": [],
            "Definition": [spec.text[0]],
            "Input_language": ["English"],
            "Output_language": ["English"],
            "Instruction_language": ["English"],
            "Domains": ["Miniature"],
            "Positive Examples": [
                {"input": row["input"], "output": row["output"], "explanation": ""} for row in rows[count:]
            ],
            "Negative Examples": [],
            "Instances": [
                {"id": f"{name}-{index}", "input": row["input"], "output": [row["output"]]}
                for index, row in enumerate(rows[:count])
            ],
            "Instance License": ["Apache 2.0"],
        }
        files[f"tasks/{name}.json"] = json_bytes(content)
    for role, names in roles.items():
        files[f"splits/default/{role}_tasks.txt"] = names.encode()
    return files


class _Tagged(dict[str, Any]):
    """A mapping that YAML writes with a tag."""

    tag = "!Template"


class _TaggedMetadata(_Tagged):
    tag = "!TemplateMetadata"


class _Dumper(yaml.SafeDumper):
    """A safe dumper that knows PromptSource's two tags."""

    def ignore_aliases(self, data: Any) -> bool:
        """Every value is written out: the reader refuses aliases."""
        return True


for _kind in (_Tagged, _TaggedMetadata):
    _Dumper.add_representer(_kind, lambda dumper, value: dumper.represent_mapping(value.tag, value.items()))


def promptsource(specs: Sequence[Spec], sizes: Sizes) -> dict[str, bytes]:
    """``templates/``, rows in ``data/`` in every row format, and T0's table of roles, ``datasets.csv``."""
    files = {}
    table = ["HF_name,subset,task_by_convention,do_train,do_eval,train_size"]
    for number, spec in enumerate(specs):
        dataset, _, subset = spec.name.partition("/")
        train, evaluate = ("", "BASE") if spec.evaluation else ("BASE", "")
        table.append(f"{dataset},{subset},{spec.category},{train},{evaluate},{sizes.instances}")
        files[f"templates/{spec.name}/templates.yaml"] = _templates(spec, dataset, subset)
        kind = "jsonl" if spec.choices else _FORMATS[number % len(_FORMATS)]
        for split, rows in zip(("test", "train"), rows_of(spec, sizes), strict=True):
            if rows:
                made = [_row(spec, row, sizes.seed) for row in rows]
                files[f"data/{dataset}/{subset or 'default'}/{split}.{kind}"] = encoded(made, kind)
    files["datasets.csv"] = ("\n".join(table) + "\n").encode()
    return files


def _row(spec: Spec, fields: Fields, seed: int) -> dict[str, Any]:
    """A dataset row: a label, or (with choices of its own) an answer, or a target text."""
    text, output = fields["input"], fields["output"]
    if spec.choices:
        return {"text": text, "choices": choices_of(spec, fields, seed), "answer": output}
    if spec.closed:
        return {"text": text, "label": spec.labels.index(output)}
    return {"text": text, "target": output}


def _templates(spec: Spec, dataset: str, subset: str) -> bytes:
    if spec.choices:
        choices, target = "{{ choices | join(' ||| ') }}", "{{ answer }}"
    elif spec.closed:
        choices, target = " ||| ".join(spec.labels), "{{ answer_choices[label] }}"
    else:
        choices, target = None, "{{ target }}"
    texts = [(f"form_{number}", f"{text} ||| {target}", True) for number, text in enumerate(spec.text, 1)]
    # Every dataset has a template that makes another task of it, as PromptSource's have.
    texts.append(("write_text", f"Write a text: {target} ||| {{{{ text }}}}", False))
    templates = {}
    for name, jinja, original in texts:
        digits = f"{stable_hash(spec.name, name):016x}{stable_hash(name, spec.name):016x}"
        identity = "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
        metadata = _TaggedMetadata(
            choices_in_prompt=False,
            languages=["en"],
            metrics=["Accuracy"] if spec.closed and original else ["ROUGE"],
            original_task=original,
        )
        templates[identity] = _Tagged(
            answer_choices=choices, id=identity, jinja=jinja, metadata=metadata, name=name, reference=""
        )
    content = {"dataset": dataset} | ({"subset": subset} if subset else {}) | {"templates": templates}
    return yaml.dump(content, Dumper=_Dumper, allow_unicode=True, sort_keys=False).encode()


def reasoning(specs: Sequence[Spec], sizes: Sizes) -> dict[str, bytes]:
    """``TASK_SPLIT.tsv`` of question, answer and rationale."""
    files = {}
    for spec in specs:
        held, trained = rows_of(spec, sizes)
        lines = [f"{row['input']}\t{row['output']}\t{row['rationale']}\n" for row in (*held, *trained)]
        split = "test" if spec.evaluation else "train"  # the reader takes held-out rows from the first
        files[f"{spec.name}_{split}.tsv"] = "".join(lines).encode()
    return files
