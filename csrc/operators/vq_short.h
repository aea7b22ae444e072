// Tensors in, raw pointers out: what stands between the dispatcher and the CUDA kernels of the VQ lookup of short vectors.
#pragma once

#include <string>
#include <tuple>
#include <vector>

#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <gptface/vq_short.h>

#include "span_mask.h"

namespace gptface {

// csrc/cuda/vq.cu
int vq_short_shares(int64_t groups, int64_t rows, int64_t codes, int width);
void vq_short_cuda(const VQShortProblem& problem, void* stream);

namespace operators {

// x (G, N, D) of any strides; all else contiguous float32: codebook and words (G, K, D), bias (G, K), centre (G, D),
// scale (G). Returns scores (G, N), indices (G, N) and counts (G, K).
inline std::tuple<Tensor, Tensor, Tensor> vq_lookup_short(
    Tensor x, Tensor codebook, Tensor words, Tensor bias, Tensor centre, Tensor scale, std::string metric) {
  const ScalarType type = x.scalar_type();
  STD_TORCH_CHECK(
      type == ScalarType::Float || type == ScalarType::BFloat16 || type == ScalarType::Half,
      "gptface::vq_lookup_short: x must be float32, bfloat16 or float16");
  STD_TORCH_CHECK(
      x.dim() == 3 && codebook.dim() == 3 && x.size(0) == codebook.size(0) && x.size(2) == codebook.size(2) &&
          codebook.size(1) > 0 && x.size(2) > 0 && x.size(2) <= kVQShortWidth,
      "gptface::vq_lookup_short: x must be (G, N, D) and codebook (G, K, D), D at most ", kVQShortWidth);
  const int64_t groups = x.size(0), rows = x.size(1), codes = codebook.size(1), width = x.size(2);
  STD_TORCH_CHECK(
      words.numel() == groups * codes * width && bias.numel() == groups * codes && centre.numel() == groups * width &&
          scale.numel() == groups,
      "gptface::vq_lookup_short: words, bias, centre and scale must be of the codebook's shape");
  for (const Tensor* tensor : {&codebook, &words, &bias, &centre, &scale})
    STD_TORCH_CHECK(
        tensor->scalar_type() == ScalarType::Float && tensor->is_contiguous(),
        "gptface::vq_lookup_short: all but x must be contiguous float32");
  STD_TORCH_CHECK(
      metric == "euclidean" || metric == "cosine" || metric == "dot", "gptface::vq_lookup_short: no metric ", metric);

  const torch::stable::accelerator::DeviceGuard guard(x.get_device_index());
  VQShortProblem problem{};
  problem.type = type == ScalarType::Float ? ElementType::float32
      : type == ScalarType::BFloat16       ? ElementType::bfloat16
                                           : ElementType::float16;
  problem.x = x.const_data_ptr();
  problem.group_stride = x.stride(0);
  problem.row_stride = x.stride(1);
  problem.column_stride = width == 1 ? 1 : x.stride(2);
  problem.codebook = static_cast<const float*>(codebook.const_data_ptr());
  problem.words = static_cast<const float*>(words.const_data_ptr());
  problem.bias = static_cast<const float*>(bias.const_data_ptr());
  problem.centre = static_cast<const float*>(centre.const_data_ptr());
  problem.scale = static_cast<const float*>(scale.const_data_ptr());
  problem.groups = groups;
  problem.rows = rows;
  problem.codes = codes;
  problem.width = static_cast<int>(width);
  problem.metric = metric == "euclidean" ? VQMetric::euclidean : metric == "cosine" ? VQMetric::cosine : VQMetric::dot;
  const std::vector<int64_t> found{groups, rows}, by_code{groups, codes};
  Tensor scores = torch::stable::new_empty(x, found, ScalarType::Float);
  Tensor indices = torch::stable::new_empty(x, found, ScalarType::Long);
  Tensor counts = torch::stable::new_zeros(x, by_code, ScalarType::Long);
  if (groups * rows > 0) {
    problem.shares = vq_short_shares(groups, rows, codes, problem.width);
    const std::vector<int64_t> nominated{groups, rows, problem.shares, kVQShortNominated};
    Tensor workspace = torch::stable::new_empty(x, nominated, ScalarType::Int);
    problem.nominated = static_cast<int32_t*>(workspace.mutable_data_ptr());
    problem.scores = static_cast<float*>(scores.mutable_data_ptr());
    problem.indices = static_cast<int64_t*>(indices.mutable_data_ptr());
    problem.counts = static_cast<int64_t*>(counts.mutable_data_ptr());
    vq_short_cuda(problem, current_stream(x));
  }
  return {scores, indices, counts};
}

}  // namespace operators
}  // namespace gptface
