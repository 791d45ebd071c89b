"""``iml generate``: answers to prompts."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iml_jax.storage import paths

if TYPE_CHECKING:
    from iml_jax.config import Config

HELP = "Answer prompts with a checkpoint."
CONFIGS = ("Generate", "Mesh", "Model", "Distributed")
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
        help="a prompt, put to the model as it is, without a delimiter or </s> added (only spaces at its "
        "end go, as in training); may be repeated; prints each answer",
    )
    parser.add_argument(
        "--input",
        type=paths.argument,
        default="",
        metavar="FILE",
        help="one prompt a line; in .jsonl a string or an object with the key prompt; prints JSON lines",
    )


def run(arguments: argparse.Namespace, config: Config) -> None:
    """Prints one answer a prompt, in order: bare text for ``--prompt``, JSON lines for ``--input``.

    Raises:
      UserError: no prompt, an unreadable file, or a checkpoint that is none.
      Fault: the checkpoint cannot be read, or its outputs are not finite.
    """
    from iml_jax.parallel import distributed

    with distributed.joined(config.build("Distributed")):
        _generate(arguments, config)


def _generate(arguments: argparse.Namespace, config: Config) -> None:
    import jax

    from iml_jax import printing
    from iml_jax.checkpoints import locate
    from iml_jax.commands.evaluate import make_mesh, model_changes
    from iml_jax.data import tokenizer as tokenizers
    from iml_jax.errors import UserError
    from iml_jax.evaluation import generation
    from iml_jax.evaluation.checkpoint import load_model

    if bool(arguments.prompt) == bool(arguments.input):
        raise UserError("give either --prompt TEXT (it may be repeated) or --input FILE")
    prompts = arguments.prompt or read_prompts(Path(arguments.input))
    generate = config.build("Generate")
    loaded = load_model(arguments.checkpoint, make_mesh(config), model_changes(config))
    tokenizer = tokenizers.load(locate.tokenizer_of(loaded.place))
    if tokenizer.tokens != loaded.config.vocab_tokens:
        raise UserError(
            f"{locate.tokenizer_of(loaded.place)}: has {tokenizer.tokens} tokens, but the model "
            f"{loaded.config.vocab_tokens}; copy the tokenizer that it was trained with there"
        )
    ids = [tokenizer.encode(prompt.rstrip(" ")) for prompt in prompts]
    if not all(ids):
        raise UserError(f"prompt {ids.index([]) + 1} is empty; a model needs something to go on from")
    answers = generation.write_answers(
        loaded.config, loaded.params, loaded.mesh, ids, generate, decode=tokenizer.decode
    )
    if jax.process_index():
        return
    for prompt, answer in zip(prompts, answers, strict=True):
        text = (answer.text or "").strip()
        if arguments.prompt:
            # What a program reads is the answer itself; a terminal would obey what is in it.
            print(printing.printable(text, keep="\n\t") if sys.stdout.isatty() else text)
        else:
            record: dict[str, Any] = {"prompt": prompt, "answer": text, "finished": answer.finished}
            print(printing.json_line({**record, "truncated_tokens": answer.truncated_tokens}))


def read_prompts(path: Path) -> list[str]:
    """The prompts of a file: its lines, or what the JSON on each line of a ``.jsonl`` file holds.

    Only "\\n" and "\\r\\n" end a line, and a byte-order mark is dropped (``storage.reading``).

    Raises:
      UserError: the file cannot be read, has no prompt, or a line is not what it must be.
    """
    from iml_jax.errors import UserError
    from iml_jax.storage.reading import read_lines

    prompts = [
        _from_json(line, path, number) if path.suffix == ".jsonl" else line
        for number, line in read_lines(path)
        if line.strip()
    ]
    if not prompts:
        raise UserError(f"{path}: holds no prompt")
    return prompts


def _from_json(line: str, path: Path, number: int) -> str:
    from iml_jax.errors import UserError
    from iml_jax.storage.reading import parse_json

    record = parse_json(line, path, number)
    prompt = record.get("prompt") if isinstance(record, dict) else record
    if not isinstance(prompt, str):
        raise UserError(f'{path}:{number}: expected a string or an object with the key "prompt"')
    return prompt
