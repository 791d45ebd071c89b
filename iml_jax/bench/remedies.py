"""What belongs where in a data folder, and how a person gets it: one line for each task that is missing."""

from __future__ import annotations

from pathlib import Path

from iml_jax.bench.sources import LAYOUT

# Benchmark -> its files in its folder, and where they come from.
_RULES = {
    "super_natural_instructions": "tasks/{task}.json; clone github.com/allenai/natural-instructions",
    "crossfit": "{task}/{task}_K_SEED_SPLIT.tsv; run tasks/_build_gym.py of github.com/INK-USC/CrossFit",
    "exmix": "{task}/; {origin}",
    "t5": "{dataset}/SPLIT.parquet (or a TFDS folder); save the rows of the TensorFlow dataset {dataset}",
    "reasoning": "{task}_train.tsv (question, answer, rationale), or the set's own files; {origin}",
}
# OPT-IML appendix A.1.
_EXMIX = {
    "aidayago2": "the entity linking sets of github.com/facebookresearch/KILT",
    "clinc150": "data/ of github.com/clinc/oos-eval",
    "cogs": "data/ of github.com/najoungkim/COGS",
    "funql": "the FunQL data of github.com/JasperGuo/Unimer",
    "gpt2_output": "download_dataset.py of github.com/openai/gpt-2-output-dataset",
    "hwu64": "hwu/ of github.com/alexa/dialoglue",
    "newsquizqa": "github.com/google-research-datasets/NewsQuizQA",
    "restaurant8k": "restaurant8k/ of github.com/alexa/dialoglue",
    "shakespeare": "data/ of github.com/harsh19/Shakespearizing-Modern-English",
    "styleptb": "github.com/lvyiwei1/StylePTB",
    "top": "top/ of github.com/alexa/dialoglue",
    "ukp": "tudatalib.ulb.tu-darmstadt.de/handle/tudatalib/2345",
    "wikipedia_toxicity_subtypes": "the TensorFlow dataset wikipedia_toxicity_subtypes",
    "wned": "the entity linking sets of github.com/facebookresearch/KILT",
}
_REASONING = {
    "coqa": "coqa-train-v1.0.json of stanfordnlp.github.io/coqa",
    "cos_e": "data/v1.11 of github.com/salesforce/cos-e, and CommonsenseQA's *_rand_split.jsonl",
    "math": "the MATH archive that github.com/hendrycks/math links to",
    "proofwriter": "the ProofWriter archive of allenai.org/data/proofwriter",
    "winowhy": "github.com/HKUST-KnowComp/WinoWhy",
}
_COT_DATA = "flan/v2/cot_data of github.com/google-research/FLAN"


def remedy(benchmark: str, task: str, data_dir: Path) -> str:
    """What file of a known task belongs where in a data folder, and how a person gets it.

    Its source says; where that has no word on single tasks, the rule of the benchmark.

    Raises:
      KeyError: there is no such task of a benchmark with a source.
    """
    place = data_dir / benchmark
    if benchmark in LAYOUT and (told := LAYOUT[benchmark](place).remedy(task)):
        return told
    names = {"task": task}
    if benchmark == "exmix":
        names["origin"] = _EXMIX[task]
    elif benchmark == "reasoning":
        names["origin"] = _REASONING.get(task, _COT_DATA)
    elif benchmark == "t5":
        from iml_jax.bench.sources.t5.source import forms

        names["dataset"] = forms()[task].datasets[0]
    return f"{place}/{_RULES[benchmark].format(**names)}"
