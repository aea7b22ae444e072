#!/bin/sh
# nvcc and the static CUDA runtime into a manylinux_2_28 container (AlmaLinux 8), as cibuildwheel's before-all runs it.
# The wheel needs neither afterwards: its CUDA library has the runtime inside and asks torch for the driver.
#
#   release/install_cuda_toolkit.sh [VERSION]      default 13-0
set -eu
version=${1:-13-0}
case $(uname -m) in
    x86_64) repository=x86_64 ;;
    aarch64) repository=sbsa ;;
    *) echo "no CUDA toolkit for $(uname -m)" >&2; exit 1 ;;
esac
dnf --assumeyes --quiet install dnf-plugins-core
dnf config-manager --add-repo \
    "https://developer.download.nvidia.com/compute/cuda/repos/rhel8/$repository/cuda-rhel8.repo"
dnf --assumeyes --quiet install "cuda-nvcc-$version" "cuda-cudart-devel-$version"
"/usr/local/cuda-$(echo "$version" | tr - .)/bin/nvcc" --version
