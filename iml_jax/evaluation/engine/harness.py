"""iml_jax as a model of lm-evaluation-harness (lm_eval 0.4.13), so that its tasks run on our mesh.

The model gets the same token ids, windows and truncation as lm_eval's own ``hf`` model, so that both give the
same numbers for the same weights (tests/evaluation/engine/test_harness.py).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs
from lm_eval.utils import simple_parse_args_string
from tqdm import tqdm

from iml_jax.checkpoints import locate
from iml_jax.data import tokenizer as tokenizers
from iml_jax.data.tokenizer import EOS
from iml_jax.evaluation.engine import generation, harness_args, scoring
from iml_jax.evaluation.engine.checkpoint import load_model
from iml_jax.evaluation.engine.generation import GenerateConfig
from iml_jax.foundation.errors import UserError
from iml_jax.parallel.mesh import MeshConfig, make_mesh
from iml_jax.storage import paths

CHUNK = 4096  # contexts scored before their answers reach lm_eval's cache
MAX_GEN_TOKS = 256  # lm_eval's own default
AUTO_BATCH = 32
_SAMPLING = ("temperature", "top_k", "top_p")
_log = logging.getLogger(__name__)

Request = tuple[tuple[str, str] | None, list[int], list[int]]  # texts (for the cache), context, continuation


@register_model("iml")
class Harness(TemplateLM):
    """``--model iml --model_args checkpoint=RUN``: a checkpoint of ours on a mesh of ours.

    lm_eval's rules hold: spaces at a context's end move to the continuation, both are encoded together, no
    ``</s>`` is scored, an empty context is ``</s>``.
    """

    def __init__(
        self,
        checkpoint: str,
        *,
        prefix: str = "none",
        data: int = 1,
        fsdp: int = -1,
        tensor: int = 1,
        compute_dtype: str = "",
        tokenizer: str = "",
        batch_size: int | str | None = None,
        max_batch_size: int | None = None,
        device: str | None = None,
    ) -> None:
        """Loads the checkpoint.

        Args:
          checkpoint: RUN, RUN/checkpoints/STEP, or what ``iml convert --to orbax`` wrote.
          prefix: ``none``, nothing before a prompt, as in OPT-IML's training (``add_bos_token=False`` of
            lm_eval's hf model); ``eos``, a ``</s>`` before every text, as transformers' OPT tokenizer has by
            default.
          data, fsdp, tensor: the mesh (``Mesh`` of ``iml evaluate``); -1 takes the devices that are left.
          compute_dtype: ``float32`` or ``bfloat16``; the checkpoint's own where empty.
          tokenizer: a tokenizer directory; the run's own where empty.
          batch_size: rows at once; ``auto`` means 32. lm_eval's command line gives 1 where nothing is said.
          max_batch_size: must not be given.
          device: without effect: lm_eval's command line gives cuda:0 even where nobody asked for it, and JAX
            takes the devices that are there (``JAX_PLATFORMS`` chooses).

        Raises:
          UserError: no such checkpoint, an unknown prefix, or a setting that does not fit.
        """
        super().__init__()
        scoring.check_prefix(prefix, "prefix")
        if max_batch_size is not None:
            raise UserError("max_batch_size: there is no search for a batch size; give --batch_size N")
        changes = {"compute_dtype": compute_dtype} if compute_dtype else {}
        checkpoint, tokenizer = paths.required_argument(checkpoint), paths.argument(tokenizer)
        mesh = make_mesh(MeshConfig(data=data, fsdp=fsdp, tensor=tensor))
        self.prefix = prefix
        self.rows = _rows(batch_size)
        self.loaded = load_model(checkpoint, mesh, changes)
        if tokenizer:
            self.tokens = tokenizers.load(tokenizer)
        else:
            recorded = self.loaded.metadata["vocabulary"]["fingerprint"]
            self.tokens = tokenizers.load(locate.tokenizer_of(self.loaded.path), recorded)
        if self.tokens.tokens != self.loaded.model.config.vocab_tokens:
            raise UserError(
                f"{tokenizer or checkpoint}: the tokenizer has {self.tokens.tokens} tokens, but the model "
                f"{self.loaded.model.config.vocab_tokens}"
            )
        _log.info(
            "%s (step %d), prefix %s, mesh %s", self.loaded.path, self.loaded.step, prefix, dict(mesh.shape)
        )

    @classmethod
    def create_from_arg_string(
        cls, arg_string: str, additional_config: dict[str, Any] | None = None
    ) -> Harness:
        """From ``key=value,...``; raises UserError as ``harness_args.check``."""
        return cls.create_from_arg_obj(simple_parse_args_string(arg_string), additional_config)

    @classmethod
    def create_from_arg_obj(
        cls, arg_dict: dict[str, Any], additional_config: dict[str, Any] | None = None
    ) -> Harness:
        """From ``--model_args``; raises UserError as ``harness_args.check``."""
        more = {name: value for name, value in (additional_config or {}).items() if value is not None}
        return cls(**harness_args.check(arg_dict), **more)

    def chat_template(self, chat_template: bool | str = False) -> str:
        """Raises UserError: there is none."""
        raise UserError(f"chat_template: {harness_args.NO_TEMPLATE}; leave --apply_chat_template out")

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """Raises UserError: there is no template."""
        return self.chat_template()

    @property
    def eot_token_id(self) -> int:
        """``</s>``."""
        return EOS

    @property
    def max_length(self) -> int:
        """Positions of the model."""
        return self.loaded.model.config.max_positions

    @property
    def max_gen_toks(self) -> int:
        """Tokens that are written where a task says nothing."""
        return MAX_GEN_TOKS

    @property
    def tokenizer_name(self) -> str:
        """What lm_eval's request cache is kept under: other ids, other name."""
        return f"iml-{self.tokens.fingerprint[:16]}-{self.prefix}"

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        """Ids of a text, after ``</s>`` where ``prefix`` says so and ``add_special_tokens`` is not False."""
        before = scoring.PREFIXES[self.prefix] if add_special_tokens is not False else ()
        return [*before, *self.tokens.encode(string)]

    def _loglikelihood_tokens(
        self, requests: list[Request], disable_tqdm: bool = False, **kwargs: Any
    ) -> list[tuple[float, bool]]:
        """Log-likelihood in nats, and whether greedy decoding would write it, of every continuation.

        Contexts lose tokens on the left, each as many as its own continuation needs. Requests with the same
        context are scored together, their context being computed once.

        Raises:
          UserError: a continuation is empty or longer than the model.
        """
        together: dict[tuple[int, ...], list[int]] = {}
        for number, (texts, context, continuation) in enumerate(requests):
            if not 0 < len(continuation) <= self.max_length:
                raise UserError(
                    f"a continuation has {len(continuation)} tokens, the model takes 1 to {self.max_length}: "
                    f"{texts[1] if texts else '':.60}"
                )
            # A context of spaces only has moved to the continuation.
            kept = (context or [self.prefix_token_id])[-(self.max_length + 1 - len(continuation)) :]
            together.setdefault(tuple(kept), []).append(number)
        found: dict[int, tuple[float, bool]] = {}
        with _bar(len(requests), "scoring", disable_tqdm) as bar:
            for chunk in _chunks(list(together.items())):
                questions = [scoring.Candidates(kept, [requests[n][2] for n in of]) for kept, of in chunk]
                scored = scoring.score(self.loaded.model, questions, self.rows, advance=bar.update)
                for (_, numbers), one in zip(chunk, scored, strict=True):
                    for number, value, greedy in zip(numbers, one.values, one.greedy, strict=True):
                        found[number] = (value, greedy)
                        texts = requests[number][0]
                        if texts is not None:
                            self.cache_hook.add_partial("loglikelihood", texts, found[number])
        return [found[number] for number in range(len(requests))]

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """Log-likelihood in nats of whole texts, in windows of the model's length, each token once."""
        texts = [self.tok_encode(request.args[0]) for request in requests]
        windows = sum(-(-len(text) // self.max_length) for text in texts)
        with _bar(windows, "scoring", disable_tqdm) as bar:
            totals = scoring.loglikelihood_rolling(self.loaded.model, texts, self.rows, advance=bar.update)
        for request, total in zip(requests, totals, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, total)
        return totals

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Continuations up to the first of their stop strings, ``</s>`` or ``max_gen_toks``.

        Raises:
          UserError: a generation setting that is not ours, or more tokens than the model has positions for.
        """
        together: dict[str, list[int]] = {}
        for number, request in enumerate(requests):
            together.setdefault(repr(sorted(request.args[1].items())), []).append(number)
        found: dict[int, str] = {}
        with _bar(len(requests), "writing", disable_tqdm) as bar:
            for numbers in together.values():
                generate = self._settings(requests[numbers[0]].args[1])
                for chunk in _chunks(numbers):
                    for number, text in zip(chunk, self._write(requests, chunk, generate, bar), strict=True):
                        found[number] = text
                        self.cache_hook.add_partial("generate_until", requests[number].args, text)
        return [found[number] for number in range(len(requests))]

    def _settings(self, wanted: dict[str, Any]) -> GenerateConfig:
        """lm_eval's generation settings as ours."""
        settings: dict[str, Any] = dict(normalize_gen_kwargs(wanted, self.max_gen_toks))
        stop = handle_stop_sequences(settings.pop("until"), eos=tokenizers.SPECIALS[EOS])
        longest = settings.pop("max_gen_toks")
        settings.pop("do_sample")  # normalised: where it is off, the temperature is 0
        if unknown := settings.keys() - set(_SAMPLING):
            raise UserError(f"generation settings that iml does not have: {', '.join(sorted(unknown))}")
        texts = tuple(text for text in stop if text)
        return GenerateConfig(max_new_tokens=longest, batch_size=self.rows, stop=texts, **settings)

    def _write(
        self, requests: list[Instance], numbers: Sequence[int], generate: GenerateConfig, bar: tqdm
    ) -> list[str]:
        prompts = [self.tok_encode(requests[n].args[0]) or [self.prefix_token_id] for n in numbers]
        answers = generation.write_answers(
            self.loaded.model, prompts, generate,
            decode=self.tokens.decode, numbers=numbers, advance=bar.update,
        )  # fmt: skip
        return [answer.text or "" for answer in answers]


def _rows(batch_size: int | str | None) -> int:
    if batch_size is None or str(batch_size).startswith("auto"):
        return AUTO_BATCH
    try:
        rows = int(batch_size)
    except ValueError:
        rows = 0
    if rows < 1:
        raise UserError(f"batch_size={batch_size}: must be a number of at least 1, or auto")
    return rows


def _chunks(items: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return (items[start : start + CHUNK] for start in range(0, len(items), CHUNK))


def _bar(total: int, what: str, silent: bool) -> tqdm:
    return tqdm(total=total, desc=f"iml: {what}", disable=silent or None)  # None: only on a terminal
