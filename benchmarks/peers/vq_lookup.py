"""Nearest codes by others: torch's products and ``argmin``, eager and compiled; faiss; flash-kmeans; and the training
step of vector-quantize-pytorch.

Norms of the codes are computed in the call, since a codebook changes every training step, except where a contender's
name says that it has prepared them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.contender import CannotRun, Case, Contender, Prepared, optional_import
from benchmarks.vq_problem import LookupProblem, prepare_step

__all__ = ["contenders"]

Assign = Callable[[Tensor, Tensor], Tensor]
MATRIX_SHARE = 0.25  # of the device's memory that one N × K matrix may take: several are alive at once


def contenders(case: Case) -> list[Contender]:
    """The lookups, or the training steps, that others offer."""
    if case.settings["step"]:
        return [Contender("vector-quantize-pytorch", "vector-quantize-pytorch", _prepare_vector_quantize)]
    found = []
    for name, assign in (("addmm + argmin", _addmm), ("cdist + argmin", _cdist)):
        for compiled in (False, True):
            label = f"{name}, compiled" if compiled else name
            prepare = functools.partial(_prepare_matrix, assign=assign, compiled=compiled)
            found.append(Contender(label, "torch", prepare))
    found.append(Contender("faiss", "faiss", _prepare_faiss))
    found.append(Contender("faiss, index built before", "faiss", _prepare_faiss_index))
    found.append(Contender("flash-kmeans", "flash-kmeans", _prepare_flash_kmeans))
    return found


def _addmm(x: Tensor, codebook: Tensor) -> Tensor:
    norms = codebook.square().sum(1)
    return torch.addmm(norms, x, codebook.T, alpha=-2.0).argmin(1)


def _cdist(x: Tensor, codebook: Tensor) -> Tensor:
    return torch.cdist(x, codebook).argmin(1)


def _prepare_matrix(problem: LookupProblem, assign: Assign, compiled: bool) -> Prepared:
    problem.refuse_matrix(MATRIX_SHARE)
    function = torch.compile(assign, dynamic=False) if compiled else assign

    def run(_: None) -> Tensor:
        with torch.no_grad():
            return function(problem.x, problem.codebook)

    return Prepared(run)


def _prepare_faiss(problem: LookupProblem) -> Prepared:
    faiss = optional_import("faiss", "faiss")
    if problem.x.device.type == "cuda":
        if not hasattr(faiss, "StandardGpuResources"):
            raise CannotRun("faiss is installed without its GPU part")
        optional_import("faiss.contrib.torch_utils", "faiss")
        resources = faiss.StandardGpuResources()
        return Prepared(lambda _: faiss.knn_gpu(resources, problem.x, problem.codebook, 1)[1][:, 0])
    faiss.omp_set_num_threads(torch.get_num_threads())
    rows, codes = problem.x.numpy(), problem.codebook.numpy()
    return Prepared(lambda _: torch.from_numpy(faiss.knn(rows, codes, 1)[1][:, 0]))


def _prepare_faiss_index(problem: LookupProblem) -> Prepared:
    """The peer of a codebook packed before: an exact index that holds the codes, and their norms where it can."""
    faiss = optional_import("faiss", "faiss")
    if problem.x.device.type == "cuda":
        raise CannotRun("on a processor only; faiss.knn_gpu runs on a GPU")
    faiss.omp_set_num_threads(torch.get_num_threads())
    index = faiss.IndexFlatL2(problem.shape.length)
    index.add(problem.codebook.numpy())
    index.sync_l2norms()
    rows = problem.x.numpy()
    return Prepared(lambda _: torch.from_numpy(index.search(rows, 1)[1][:, 0]))


def _prepare_flash_kmeans(problem: LookupProblem) -> Prepared:
    kernels = optional_import("flash_kmeans.assign_euclid_triton", "flash-kmeans")
    if problem.x.device.type != "cuda":
        raise CannotRun("needs CUDA")

    def run(_: None) -> Tensor:
        rows = problem.x.unsqueeze(0)
        return kernels.euclid_assign_triton(rows, problem.codebook.unsqueeze(0), rows.square().sum(-1))[0].long()

    return Prepared(run)


def _prepare_vector_quantize(problem: LookupProblem) -> Prepared:
    library = optional_import("vector_quantize_pytorch", "vector-quantize-pytorch")
    module = library.VectorQuantize(
        dim=problem.shape.length, codebook_size=problem.shape.codes, decay=0.99, commitment_weight=0.25
    ).to(problem.x.device)
    module._codebook.embed.data.copy_(problem.codebook.unsqueeze(0))
    module._codebook.embed_avg.data.copy_(problem.codebook.unsqueeze(0))

    def forward(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        quantized, indices, loss = module(x.unsqueeze(0))
        return quantized[0], indices[0], loss.sum()

    return prepare_step(problem, forward)
