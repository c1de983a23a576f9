#!/usr/bin/env bash
# Everything about one GPU, without network: benchmarks/gpu.sh WHEELS DATA OUT
#
# WHEELS holds the wheels of requirements.txt and requirements/cuda.txt and, for the comparison,
# those of torch, torchvision and lightly. On a machine with network:
#
#     pip download -d WHEELS -r requirements.txt -r requirements/cuda.txt
#     pip download -d WHEELS torch torchvision lightly
#
# DATA is a TFDS folder with a prepared cifar10. OUT gets the tables, all samples and the run; the
# virtual environments are made beside them. About 20 minutes; MINUTES (8) of them train CIFAR-10.
set -euo pipefail

if [ $# -ne 3 ]; then
	sed -n '2,12s/^# \{0,1\}//p' "$0" >&2
	exit 2
fi
for folder in "$1" "$2"; do
	[ -d "$folder" ] || { echo "gpu.sh: error: not a folder: $folder" >&2; exit 2; }
done
mkdir -p "$3"
wheels=$(realpath "$1") data=$(realpath "$2") out=$(realpath "$3")
cd "$(dirname "$0")/.."

install() {  # ENVIRONMENT WORDS...
	[ -x "$1/bin/python" ] || "${PYTHON:-python3}" -m venv "$1"
	"$1/bin/python" -m pip install --quiet --no-index --find-links "$wheels" "${@:2}"
}

install "$out/venv" -r requirements.txt -r requirements/cuda.txt
torch=()
if compgen -G "$wheels/torch-*.whl" >/dev/null && compgen -G "$wheels/lightly-*.whl" >/dev/null; then
	install "$out/torch" torch torchvision lightly
	torch=(--torch="$out/torch/bin/python")
else
	echo "gpu.sh: note: no wheels of torch and lightly in $wheels: measured without PyTorch" >&2
fi
nvidia-smi | tee "$out/nvidia-smi.txt"
"$out/venv/bin/python" -m benchmarks.gpu --output="$out" --data_dir="$data" \
	--minutes="${MINUTES:-8}" "${torch[@]}" | tee "$out/gpu.md"
