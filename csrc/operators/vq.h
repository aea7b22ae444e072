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
int64_t vq_packed_bytes_cpu(const VQProblem& problem);
void vq_pack_cpu(const VQProblem& problem, std::byte* memory);
// `packed` is null or what vq_pack_cpu filled; where it is of another codebook's shape, metric or precision, nothing is
// done and false returned. What was packed for another instruction set has another layout: it is left alone, and the
// codebook packed in the call.
bool vq_lookup_cpu(const VQProblem& problem, const std::byte* packed, int64_t packed_bytes);

namespace operators {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

inline constexpr int64_t kVQMostNumber = std::numeric_limits<int32_t>::max() - 64;  // of rows and of codes

// What concerns the codebook.
inline VQProblem vq_codebook_problem(const Tensor& codebook, const std::string& metric, bool bfloat16) {
  STD_TORCH_CHECK(
      codebook.dim() == 3 && codebook.scalar_type() == ScalarType::Float && codebook.is_contiguous() &&
          codebook.size(1) > 0 && codebook.size(1) <= kVQMostNumber && codebook.size(2) > 0,
      "gptface: vq lookup: codebook must be contiguous float32 (G, K, D) with 1 to ", kVQMostNumber, " codes");
  STD_TORCH_CHECK(
      metric == "euclidean" || metric == "cosine" || metric == "dot", "gptface: vq lookup: no metric ", metric);
  VQProblem problem{};
  problem.codebook = static_cast<const float*>(codebook.const_data_ptr());
  problem.groups = codebook.size(0);
  problem.codes = codebook.size(1);
  problem.width = codebook.size(2);
  problem.metric = metric == "euclidean" ? VQMetric::euclidean : metric == "cosine" ? VQMetric::cosine : VQMetric::dot;
  problem.ranking_suffices = bfloat16;
  return problem;
}

// The codebook packed for vq_lookup_packed_kernel: uint8, its layout the kernels' own.
inline Tensor vq_pack_kernel(Tensor codebook, std::string metric, bool bfloat16) {
  const VQProblem problem = vq_codebook_problem(codebook, metric, bfloat16);
  const std::vector<int64_t> bytes{vq_packed_bytes_cpu(problem)};
  Tensor packed = torch::stable::new_empty(codebook, bytes, ScalarType::Byte);
  vq_pack_cpu(problem, static_cast<std::byte*>(packed.mutable_data_ptr()));
  return packed;
}

using VQFound = std::tuple<Tensor, Tensor, Tensor, Tensor>;

inline VQFound vq_lookup_with(
    const Tensor& x, const Tensor& codebook, const Tensor* packed, const std::string& metric, int64_t topk,
    bool bfloat16, bool nearest_rows) {
  VQProblem problem = vq_codebook_problem(codebook, metric, bfloat16);
  const ScalarType type = x.scalar_type();
  STD_TORCH_CHECK(
      type == ScalarType::Float || type == ScalarType::BFloat16 || type == ScalarType::Half,
      "gptface: vq lookup: x must be float32, bfloat16 or float16");
  STD_TORCH_CHECK(
      x.dim() == 3 && x.size(0) == problem.groups && x.size(2) == problem.width && x.size(1) <= kVQMostNumber,
      "gptface: vq lookup: x must be (G, N, D) like the codebook, with at most ", kVQMostNumber, " rows");
  STD_TORCH_CHECK(
      topk >= 1 && topk <= problem.codes && topk <= kVQMostCandidates, "gptface: vq lookup: topk must be 1 to ",
      kVQMostCandidates, " and at most the number of codes");

  problem.type = type == ScalarType::Float ? ElementType::float32
      : type == ScalarType::BFloat16       ? ElementType::bfloat16
                                           : ElementType::float16;
  problem.x = x.const_data_ptr();
  problem.group_stride = x.stride(0);
  problem.row_stride = x.stride(1);
  problem.column_stride = x.size(2) == 1 ? 1 : x.stride(2);
  problem.rows = x.size(1);
  problem.topk = static_cast<int>(topk);
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
  const bool bytes = !packed ||
      (packed->scalar_type() == ScalarType::Byte && packed->dim() == 1 && packed->is_contiguous());
  const bool done = bytes &&
      vq_lookup_cpu(
          problem, packed ? static_cast<const std::byte*>(packed->const_data_ptr()) : nullptr,
          packed ? packed->numel() : 0);
  STD_TORCH_CHECK(done, "gptface: vq lookup: packed was not made from such a codebook for such a call");
  return {scores, indices, counts, nearest};
}

inline VQFound vq_lookup_kernel(
    Tensor x, Tensor codebook, std::string metric, int64_t topk, bool bfloat16, bool nearest_rows) {
  return vq_lookup_with(x, codebook, nullptr, metric, topk, bfloat16, nearest_rows);
}

// The same bits; `packed` is what vq_pack_kernel made of `codebook`, `metric` and `bfloat16`.
inline VQFound vq_lookup_packed_kernel(
    Tensor x, Tensor codebook, Tensor packed, std::string metric, int64_t topk, bool bfloat16, bool nearest_rows) {
  return vq_lookup_with(x, codebook, &packed, metric, topk, bfloat16, nearest_rows);
}

}  // namespace operators
}  // namespace gptface
