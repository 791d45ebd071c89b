"""Packaging of iml_jax. Each dependency carries its reason; `requirements.lock` pins what is tested."""

from pathlib import Path

from setuptools import find_packages, setup

CORE = [
    "jax>=0.10.2,<0.13",  # arrays, jit, meshes, multi-host runtime
    "flax>=0.12.8",  # NNX modules of the model
    "filelock>=3.12",  # JAX's lock of a compilation cache of bounded size
    "optax>=0.2.8",  # AdamW, schedules, clipping
    "orbax-checkpoint>=0.12.8",  # sharded asynchronous checkpoints
    "grain>=0.2.18",  # mixing, packing, sharding and restoring the data stream
    "xxhash>=3.5",  # checksums of the files of a checkpoint: XXH3, as fast as memory, without the GIL
    "array-record>=0.8.3",  # the record files of prepared tasks
    "protobuf>=5",  # parses tf.train.Example records without TensorFlow
    "gin-config>=0.5",  # run, mixture and model files
    "tokenizers>=0.22",  # OPT's byte-level BPE
    "safetensors>=0.6",  # PyTorch weights without pickle
    "rouge-score>=0.1.2",  # Rouge-L, the library under t5's metric
    "sacrebleu>=2.4",  # corpus BLEU, the library under t5's metric
    "scikit-learn>=1.5",  # macro F1 and Matthews correlation, the library under t5's metrics
    "scipy>=1.13",  # Pearson and Spearman correlation, the library under t5's metrics
    "numpy>=2.0",  # host-side arrays
    "rich>=13",  # progress bars and tables on the terminal
    "tensorboardX>=2.6",  # TensorBoard event files without TensorFlow (nor torch: training/board.py)
    "matplotlib>=3.8",  # the plots of report.html
    "jinja2>=3.1.6",  # PromptSource templates, in its sandbox
    "pyyaml>=6",  # PromptSource's templates.yaml
    "pyarrow>=15",  # task rows in Parquet
]
PREPARE = [
    "seqio>=0.0.20",  # tasks, mixtures and the cache job
    "tensorflow>=2.21",  # what SeqIO's preprocessing runs on
    "tensorflow-text>=2.21",  # imported by seqio
    "tensorflow-datasets>=4.9.10",  # imported by seqio
    "t5>=0.9.4",  # the metric functions that SeqIO tasks carry
    "apache-beam>=2.70",  # runs the cache job, here or on a cluster
    "sentencepiece<0.2.3",  # imported by seqio; 0.2.3 was built for protobuf 7, beam holds protobuf at 6
]
TORCH = [
    "torch>=2.6",  # the other side of a conversion's logits check; reads pytorch_model.bin
    "transformers>=5",  # PyTorch's OPT
]
HARNESS = [
    "lm_eval>=0.4.13,<0.5",  # lm-evaluation-harness, whose tasks `iml-lm-eval` runs on our mesh
]
TPU = [
    "libtpu>=0.0.42,<0.0.43",  # TPU runtime; its compiler serves `iml plan` where there is no TPU
]
TEST = [
    "pytest>=8",  # test runner
    "pytest-timeout>=2.4",  # a test that hangs fails with a traceback instead of stopping the suite
    "pytest-xdist>=3.6",  # both cores
    "accelerate>=1",  # imported by lm_eval's PyTorch model, the other side of the harness test
    "hypothesis>=6.100",  # property tests
    "import-linter>=2.5",  # the layers of the package, against the real imports
    "ruff>=0.12",  # lint and format
    "mypy>=1.15",  # type checker
    "types-PyYAML",  # stubs for mypy
]

setup(
    name="iml_jax",
    version="0.1.0",
    description="Instruction-tune OPT on a device mesh: SeqIO tasks in, PyTorch checkpoints out.",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=[*find_packages(include=["iml_jax", "iml_jax.*"]), "iml_jax.gin"],
    # The gin files live at the top of the repository and ship inside the wheel.
    package_dir={"iml_jax.gin": "gin"},
    package_data={
        "iml_jax.gin": ["*/*.gin"],
        "iml_jax.bench": ["*.tsv", "known/*.tsv", "sources/*.tsv", "sources/*/*.tsv"],
        "iml_jax.evaluation": ["metrics/*.tsv", "pages/*.css", "pages/*.js", "pages/templates/*.jinja"],
    },
    install_requires=CORE,
    extras_require={
        "prepare": PREPARE,
        "torch": TORCH,
        "harness": HARNESS,
        "tpu": TPU,
        "test": [*PREPARE, *TORCH, *HARNESS, *TPU, *TEST],
    },
    entry_points={
        "console_scripts": ["iml = iml_jax.cli:main", "iml-lm-eval = iml_jax.commands.lm_eval:main"]
    },
)
