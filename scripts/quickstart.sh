#!/usr/bin/env bash
# The main job, end to end, on a laptop: prepare a small OPT-IML Bench, instruction-tune a tiny OPT on
# eight simulated devices, evaluate it on the three levels before and after, convert it to PyTorch and
# let transformers answer with it. Usage: quickstart.sh [OUTPUT_DIRECTORY]
set -euo pipefail
# shellcheck source=scripts/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

output="${1:-$repository/runs/quickstart}"
mkdir -p "$output"
output="$(cd "$output" && pwd)"
# A second quickstart trains a run of its own beside the first; what is prepared already is kept, and nothing
# is deleted.
number=1 suffix=""
while [ -e "$output/run$suffix" ] || [ -e "$output/huggingface$suffix" ]; do
  number=$((number + 1))
  suffix="-$number"
done
run="$output/run$suffix" exported="$output/huggingface$suffix"
started=$SECONDS

say() { printf '\n== %s\n' "$*"; }

say "1/4 prepare: source files -> SeqIO tasks -> token cache and mixture table"
iml prepare --gin_file=mixtures/miniature.gin \
  --gin.Miniature.directory="$output/bench" --gin.Prepare.output_dir="$output/prepared"

say "2/4 train: a tiny OPT on 8 simulated devices (data 2 x fsdp 2 x tensor 2), evaluated before and after"
iml train --cpu_devices=8 --gin_file=runs/miniature.gin \
  --gin.Train.prepared_dir="$output/prepared" --gin.Train.run_dir="$run"

say "3/4 convert: Orbax checkpoint -> PyTorch (safetensors), logits compared"
iml convert --to huggingface "$run" "$exported"

say "4/4 two answers from transformers' OPT"
python "$repository/scripts/answer_with_transformers.py" "$exported" "$run"

say "done in $((SECONDS - started)) s; the report: $run/report.html"
