#!/usr/bin/env bash
# The first minutes on a GPU: does everything run there, and how fast? From the root of the repository:
#
#     bash benchmarks/gpu_checks.sh                        # eight minutes on one GPU
#     bash benchmarks/gpu_checks.sh --device cpu --quick   # the same on a CPU, with toy models: does the script work?
#
# Nothing is installed: it needs Python with torch, numpy, scipy, pandas, pyarrow, einops, jaxtyping, safetensors,
# huggingface_hub, scikit-learn and tqdm, and this source. Tables are Markdown, printed as soon as each is there and
# also written to $OUT/gpu_checks.md where OUT names a folder. A part that fails shows its error and the others go on;
# the exit code is then 1. PYTHON names another Python than python3.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

DEVICE=cuda QUICK=
while [ $# -gt 0 ]; do
    case $1 in
        --device) DEVICE=${2:?--device needs a name}; shift 2 ;;
        --quick) QUICK=1; shift ;;
        *) echo "$1 is not an option; see the first lines of $0." >&2; exit 2 ;;
    esac
done

export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1
LIMIT=480  # seconds for all parts together
REPORT=/dev/null ERRORS=$(mktemp) FAILED=0
trap 'rm -f "$ERRORS"' EXIT
[ -z "${OUT:-}" ] || { mkdir -p "$OUT"; REPORT=$OUT/gpu_checks.md; : > "$REPORT"; }

part() { # part HEADING SECONDS SCRIPT ARGUMENTS: one benchmark, its tables and, if it fails, its error
    local heading=$1 seconds=$2 script=$3 left=$((LIMIT - SECONDS)) code
    shift 3
    {
        echo; echo "## $heading"; echo
        if [ "$left" -lt 15 ]; then
            echo "Skipped: the $LIMIT s for all parts are over."
        else
            timeout -k 5 "$((seconds < left ? seconds : left))" \
                "${PYTHON:-python3}" "benchmarks/$script" --device "$DEVICE" "$@" 2> "$ERRORS"
            code=$?
            if [ "$code" -eq 124 ] || [ "$code" -eq 137 ]; then
                echo; echo "Stopped: it had not ended after its $seconds s."
            elif [ "$code" -ne 0 ]; then
                echo; echo "Failed with exit code $code:"; echo '```'; tail -n 20 "$ERRORS"; echo '```'
            fi
            [ "$code" -eq 0 ]
        fi
    } | tee -a "$REPORT"
    [ "${PIPESTATUS[0]}" -eq 0 ] || FAILED=1
}

if [ -n "$QUICK" ]; then
    LIMIT=850
    part "What must hold on a GPU" 300 cuda_checks.py
    part "Ceilings and training steps" 300 gpu_training.py --quick --no-choices
    part "Waiting for data" 300 feed_speed.py --size mini --batch 2 --ecgs 60 --steps 1 --rounds 1 --threads 1
    part "Embedding 800,000 ECGs" 300 embedding_at_scale.py --size mini --ecgs 8 --batch 2
    part "A probe of many codes" 300 probe_at_scale.py --ecgs 6000 --features 8 --codes 4 --n-bootstrap 5 --threads 1
else
    part "What must hold on a GPU" 75 cuda_checks.py --budget 60
    part "Ceilings and training steps" 200 gpu_training.py --recipes small base --ways plain compiled --rounds 3 \
        --steps 10 --no-choices --budget 130
    part "Waiting for data" 70 feed_speed.py --size small base --batch 256 --ecgs 20000 --steps 20 --budget 40
    part "Embedding 800,000 ECGs" 70 embedding_at_scale.py --budget 50
    part "A probe of 1,076 codes" 100 probe_at_scale.py
fi
echo; echo "$SECONDS s in all$([ "$FAILED" -eq 0 ] || echo '; a part failed')."
exit "$FAILED"
