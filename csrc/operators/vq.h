// Tensors in, raw pointers out: what stands between the dispatcher and the CPU kernels of the VQ lookup.
#pragma once

#include <limits>
#include <string>
#include <tuple>
#include <vector>

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <gptface/vq_problem.h>

namespace gptface {

// csrc/cpu/vq.cpp
void vq_lookup_cpu(const VQProblem& problem);

namespace operators {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

inline std::tuple<Tensor, Tensor, Tensor, Tensor> vq_lookup_kernel(
    Tensor x, Tensor codebook, std::string metric, int64_t topk, bool bfloat16, bool nearest_rows) {
  const ScalarType type = x.scalar_type();
  STD_TORCH_CHECK(
      type == ScalarType::Float || type == ScalarType::BFloat16 || type == ScalarType::Half,
      "gptface::vq_lookup_kernel: x must be float32, bfloat16 or float16");
  STD_TORCH_CHECK(
      x.dim() == 3 && codebook.dim() == 3 && codebook.scalar_type() == ScalarType::Float && codebook.is_contiguous() &&
          x.size(0) == codebook.size(0) && x.size(2) == codebook.size(2) && codebook.size(1) > 0 && x.size(2) > 0,
      "gptface::vq_lookup_kernel: x must be (G, N, D) and codebook contiguous float32 (G, K, D)");
  STD_TORCH_CHECK(
      metric == "euclidean" || metric == "cosine" || metric == "dot", "gptface::vq_lookup_kernel: no metric ", metric);
  STD_TORCH_CHECK(
      topk >= 1 && topk <= codebook.size(1) && topk <= kVQMostCandidates,
      "gptface::vq_lookup_kernel: topk must be 1 to ", kVQMostCandidates, " and at most the number of codes");
  constexpr int64_t most = std::numeric_limits<int32_t>::max() - 64;
  STD_TORCH_CHECK(
      x.size(1) <= most && codebook.size(1) <= most, "gptface::vq_lookup_kernel: at most ", most, " rows and codes");

  VQProblem problem{};
  problem.type = type == ScalarType::Float ? ElementType::float32
      : type == ScalarType::BFloat16       ? ElementType::bfloat16
                                           : ElementType::float16;
  problem.x = x.const_data_ptr();
  problem.group_stride = x.stride(0);
  problem.row_stride = x.stride(1);
  problem.column_stride = x.size(2) == 1 ? 1 : x.stride(2);
  problem.codebook = static_cast<const float*>(codebook.const_data_ptr());
  problem.groups = x.size(0);
  problem.rows = x.size(1);
  problem.codes = codebook.size(1);
  problem.width = x.size(2);
  problem.metric = metric == "euclidean" ? VQMetric::euclidean : metric == "cosine" ? VQMetric::cosine : VQMetric::dot;
  problem.topk = static_cast<int>(topk);
  problem.ranking_suffices = bfloat16;
  const std::vector<int64_t> found{problem.groups, problem.rows, topk}, by_code{problem.groups, problem.codes};
  Tensor scores = torch::stable::new_empty(x, found, ScalarType::Float);
  Tensor indices = torch::stable::new_empty(x, found, ScalarType::Long);
  Tensor counts = torch::stable::new_empty(x, by_code, ScalarType::Long);
  Tensor nearest =
      torch::stable::new_empty(x, std::vector<int64_t>{problem.groups, nearest_rows ? problem.codes : 0}, ScalarType::Long);
  problem.scores = static_cast<float*>(scores.mutable_data_ptr());
  problem.indices = static_cast<int64_t*>(indices.mutable_data_ptr());
  problem.counts = static_cast<int64_t*>(counts.mutable_data_ptr());
  problem.nearest_rows = nearest_rows ? static_cast<int64_t*>(nearest.mutable_data_ptr()) : nullptr;
  vq_lookup_cpu(problem);
  return {scores, indices, counts, nearest};
}

}  // namespace operators
}  // namespace gptface
