"""``iml generate``: answers to prompts."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iml_jax.storage import paths

if TYPE_CHECKING:
    from iml_jax.config import Config
    from iml_jax.data.tokenizer import Tokenizer
    from iml_jax.evaluation.engine.answer_file import AnswerFile
    from iml_jax.evaluation.engine.checkpoint import LoadedModel
    from iml_jax.evaluation.engine.generation import GenerateConfig

# Prompts per chunk, the most that a killed command loses; more where the batch is large.
CHUNK = 512

HELP = "Answer prompts with a checkpoint."
CONFIGS = ("Generate", "Mesh", "Model", "Distributed", "Compilation")
POSITIONALS = (
    (
        "checkpoint",
        "RUN (its newest checkpoint), RUN/checkpoints/STEP, or what `iml convert --to orbax` wrote",
    ),
)
EXAMPLE = "iml generate run --prompt 'Is the sky green? Answer:' --gin.Generate.max_new_tokens=32"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of this command."""
    parser.add_argument(
        "--prompt",
        action="append",
        default=[],
        metavar="TEXT",
        help="a prompt, given to the model without a delimiter or </s> added (only spaces at its end are "
        "removed, as in training); may be repeated; prints each answer",
    )
    parser.add_argument(
        "--input",
        type=paths.argument,
        default="",
        metavar="FILE",
        help="one prompt per line; in .jsonl a string or an object with the key prompt; prints JSON lines",
    )
    parser.add_argument(
        "--output",
        type=paths.argument,
        default="",
        metavar="FILE.jsonl",
        help="with --input: write the JSON lines there as they come; the same command resumes a file that "
        "is not complete (FILE.settings.json says what it was made with; other settings are refused)",
    )


def run(arguments: argparse.Namespace, config: Config) -> None:
    """Writes one answer per prompt, in order, whenever a chunk of prompts is done.

    Bare text for ``--prompt``, JSON lines for ``--input``.

    Raises:
      UserError: no prompt, an unreadable file, a path without a checkpoint, or an output of other settings.
      Fault: the checkpoint cannot be read, its outputs are not finite, or the output cannot be written.
    """
    from iml_jax.parallel import compilation, distributed

    with distributed.joined(config.build("Distributed")):
        compilation.use_cache(config.build("Compilation"))
        _generate(arguments, config)


def _generate(arguments: argparse.Namespace, config: Config) -> None:
    from iml_jax.checkpoints import locate
    from iml_jax.data import tokenizer as tokenizers
    from iml_jax.evaluation.engine.answer_file import AnswerFile
    from iml_jax.evaluation.engine.checkpoint import load_model, make_mesh, model_changes
    from iml_jax.foundation.errors import UserError

    if bool(arguments.prompt) == bool(arguments.input):
        raise UserError("give either --prompt TEXT (it may be repeated) or --input FILE")
    if arguments.output and not arguments.input:
        raise UserError("--output goes with --input FILE; give that, too")
    generate = config.build("Generate")
    total = _count_prompts(arguments)
    with contextlib.ExitStack() as stack:
        output = stack.enter_context(AnswerFile(Path(arguments.output))) if arguments.output else None
        if output:
            output.check(_settings(generate))
        loaded = load_model(arguments.checkpoint, make_mesh(config), model_changes(config))
        recorded = loaded.metadata["vocabulary"]["fingerprint"]
        tokenizer = tokenizers.load(locate.tokenizer_of(loaded.path), recorded)
        if tokenizer.tokens != loaded.model.config.vocab_tokens:
            raise UserError(
                f"{locate.tokenizer_of(loaded.path)}: has {tokenizer.tokens} tokens, but the model "
                f"{loaded.model.config.vocab_tokens}; copy the tokenizer that it was trained with there"
            )
        done = _resume(output, loaded, tokenizer, arguments, generate, stack) if output else 0
        _answer(arguments, generate, loaded, tokenizer, output, done, total)


def _settings(generate: GenerateConfig) -> dict[str, Any]:
    """The fields of ``Generate`` that decide the answers."""
    return {
        f"Generate.{name}": value
        for name, value in dataclasses.asdict(generate).items()
        if name != "batch_size"
    }


def _resume(  # noqa: PLR0917
    output: AnswerFile,
    loaded: LoadedModel,
    tokenizer: Tokenizer,
    arguments: argparse.Namespace,
    generate: GenerateConfig,
    stack: contextlib.ExitStack,
) -> int:
    """Opens the output for the missing answers, on the first process; returns how many it has, on all.

    Raises:
      UserError: the output is of other settings or damaged, or another process writes it.
    """
    import jax

    from iml_jax.foundation.errors import Fault, UserError
    from iml_jax.models.param_checksum import fingerprint
    from iml_jax.parallel.hosts import gather_json
    from iml_jax.storage import lease

    settings = {
        **_settings(generate),
        "weights": fingerprint(loaded.model.params),
        "vocabulary": tokenizer.fingerprint,
        "model": dataclasses.asdict(loaded.model.config),
    }
    done, refused = 0, ""
    if jax.process_index() == 0:
        try:
            stack.enter_context(lease.hold(output.path.with_suffix(".lease"), f"the answers {output.path}"))
            done = output.resume(settings, _prompts(arguments), arguments.input)
        except (UserError, Fault) as error:  # the others must not wait for a host that is gone
            refused = str(error)
    done, refused = gather_json([done, refused])[0]
    if refused:
        raise UserError(refused)
    if done and jax.process_index() == 0:
        print(
            f"{output.path}: {done:,} prompts were answered before; resuming with the rest", file=sys.stderr
        )
    return int(done)


def _answer(  # noqa: PLR0917
    arguments: argparse.Namespace,
    generate: GenerateConfig,
    loaded: LoadedModel,
    tokenizer: Tokenizer,
    output: AnswerFile | None,
    done: int,
    total: int,
) -> None:
    """Answers chunk by chunk.

    A chunk of which a part is there is computed as a whole again, so that the rounding is that of an
    undisturbed run; the part is not written twice.
    """
    import jax

    from iml_jax.evaluation.engine import generation
    from iml_jax.evaluation.engine.progress import Meter

    size = max(CHUNK, 4 * generate.batch_size)
    shown = output is not None or (total > size and not sys.stdout.isatty())
    first = done // size * size
    waiting = itertools.islice(_prompts(arguments), first, None)
    with Meter(None if shown else _nowhere, label="generation", prompts=total) as meter:
        meter.resume(first)
        while prompts := list(itertools.islice(waiting, size)):
            ids = [tokenizer.encode(prompt.rstrip(" ")) for prompt in prompts]
            answers = generation.write_answers(
                loaded.model, ids, generate, decode=tokenizer.decode,
                numbers=range(first, first + len(prompts)), advance=meter.advance,
            )  # fmt: skip
            records = [
                {
                    "prompt": prompt,
                    "answer": (answer.text or "").strip(),
                    "finished": answer.finished,
                    "truncated_tokens": answer.truncated_tokens,
                }
                for prompt, answer in zip(prompts, answers, strict=True)
            ]
            if jax.process_index() == 0:
                if output:
                    output.append(records[max(0, done - first) :])
                else:
                    _print(records, bare=bool(arguments.prompt))
            first += len(prompts)


def _print(records: list[dict[str, Any]], bare: bool) -> None:
    from iml_jax.foundation import printing

    for record in records:
        if not bare:
            print(printing.json_line(record))
        elif sys.stdout.isatty():  # which would interpret control characters
            print(printing.printable(record["answer"], keep="\n\t"))
        else:
            print(record["answer"])
    sys.stdout.flush()


def _nowhere(text: str) -> None:
    pass


def _prompts(arguments: argparse.Namespace) -> Iterator[str]:
    return iter(arguments.prompt) if arguments.prompt else read_prompts(Path(arguments.input))


def _count_prompts(arguments: argparse.Namespace) -> int:
    """The number of prompts; reads all of them, so that a wrong one is reported before the model is read.

    Raises:
      UserError: there is none, one is empty, or the file cannot be read.
    """
    from iml_jax.foundation.errors import UserError

    total = 0
    for prompt in _prompts(arguments):
        total += 1
        if not prompt.rstrip(" "):
            raise UserError(f"prompt {total} is empty; a model needs some text to continue")
    if not total:
        raise UserError(f"{arguments.input}: holds no prompt")
    return total


def read_prompts(path: Path) -> Iterator[str]:
    """The prompts of a file, one after the other; lines of white space are left out.

    A prompt is a line, in a ``.jsonl`` file what the JSON on the line holds.

    Only "\\n" and "\\r\\n" end a line, and a byte-order mark is dropped (``storage.reading``).

    Raises:
      UserError: the file cannot be read, or a line is not what it must be.
    """
    from iml_jax.storage.reading import read_lines

    for number, line in read_lines(path):
        if line.strip():
            yield _from_json(line, path, number) if path.suffix == ".jsonl" else line


def _from_json(line: str, path: Path, number: int) -> str:
    from iml_jax.foundation.errors import UserError
    from iml_jax.storage.reading import parse_json

    record = parse_json(line, path, number)
    prompt = record.get("prompt") if isinstance(record, dict) else record
    if not isinstance(prompt, str):
        raise UserError(f'{path}:{number}: expected a string or an object with the key "prompt"')
    return prompt
