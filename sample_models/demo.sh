#!/bin/sh
# The four audits of one trained model, with their real output. Run by `make demo`.
set -eu
cd "$(dirname "$0")"

say() { printf '\n$ %s\n\n' "$*"; "$@"; }

say lipaudit bound digits_mlp.onnx --preprocess none --domain 0,16 --inputs digits_mlp.npz:x
say lipaudit local digits_mlp.onnx --preprocess none --inputs digits_mlp.npz:x
say lipaudit certify digits_mlp.onnx --preprocess none --inputs digits_mlp.npz:x --labels digits_mlp.npz:y --radius 1 --radius 2 --radius 4
mkdir -p ../build
say lipaudit gate --config demo.toml -o html:../build/audit.html
printf '\nThe same audit for a reviewer, to open in a browser: build/audit.html\n'
