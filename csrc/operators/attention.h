// Tensors in, raw pointers out: what stands between the dispatcher and the CPU kernels of masked attention.
#pragma once

#include <optional>
#include <tuple>
#include <vector>

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <gptface/attention_problem.h>

namespace gptface {

// csrc/cpu/attention.cpp
void masked_attention_cpu(const AttentionProblem& problem);
int64_t masked_attention_backward_chunks_cpu(const AttentionProblem& problem);
void masked_attention_backward_cpu(const AttentionProblem& problem);

namespace operators {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// The kernels want a contiguous last dimension; torch's strides of dimensions of size 1 mean nothing.
inline Tensor with_contiguous_width(const Tensor& tensor) {
  return tensor.numel() == 0 || tensor.stride(3) == 1 || tensor.size(3) == 1 ? tensor : torch::stable::contiguous(tensor);
}

inline AttentionTensor attention_tensor(const Tensor& tensor) {
  return {const_cast<void*>(tensor.const_data_ptr()), tensor.stride(0), tensor.stride(1), tensor.stride(2)};
}

inline AttentionProblem attention_problem(
    const Tensor& query, const Tensor& key, const Tensor& value, const std::optional<Tensor>& intervals,
    const std::optional<Tensor>& seed, double scale, double dropout_p) {
  AttentionProblem problem{};
  const ScalarType type = query.scalar_type();
  STD_TORCH_CHECK(
      type == ScalarType::Float || type == ScalarType::BFloat16 || type == ScalarType::Half,
      "gptface::masked_attention: the CPU kernel takes float32, bfloat16 and float16");
  problem.type = type == ScalarType::Float ? ElementType::float32
      : type == ScalarType::BFloat16       ? ElementType::bfloat16
                                           : ElementType::float16;
  STD_TORCH_CHECK(
      query.dim() == 4 && key.dim() == 4 && value.dim() == 4 && key.scalar_type() == type && value.scalar_type() == type,
      "gptface::masked_attention: query, key and value must have four dimensions and one dtype");
  problem.batch = query.size(0);
  problem.queries = query.size(1);
  problem.heads = query.size(2);
  problem.width = query.size(3);
  problem.keys = key.size(1);
  problem.key_heads = key.size(2);
  STD_TORCH_CHECK(
      key.size(0) == problem.batch && key.size(3) == problem.width && problem.key_heads > 0 &&
          problem.heads % problem.key_heads == 0 && problem.width % 8 == 0 && problem.width > 0,
      "gptface::masked_attention: query (B, Sq, H, D) and key (B, Skv, Hkv, D) do not go together, or D is not a "
      "multiple of 8");
  for (int64_t d = 0; d < 4; ++d)
    STD_TORCH_CHECK(key.size(d) == value.size(d), "gptface::masked_attention: value must have the shape of key");
  problem.scale = static_cast<float>(scale);
  if (intervals.has_value()) {
    STD_TORCH_CHECK(
        intervals->dim() == 4 && intervals->scalar_type() == ScalarType::Int && intervals->is_contiguous() &&
            (intervals->size(0) == problem.batch || intervals->size(0) == 1) && intervals->size(1) == problem.queries &&
            (intervals->size(2) == 1 || intervals->size(2) == 2) && intervals->size(3) == 2,
        "gptface::masked_attention: intervals must be contiguous int32 (B or 1, Sq, 1 or 2, 2)");
    problem.intervals = static_cast<const int32_t*>(intervals->const_data_ptr());
    problem.interval_count = static_cast<int>(intervals->size(2));
    problem.interval_batch_stride = intervals->size(0) == 1 ? 0 : intervals->stride(0);
  }
  if (dropout_p > 0.0) {
    STD_TORCH_CHECK(
        seed.has_value() && seed->numel() == 1 && seed->scalar_type() == ScalarType::Long,
        "gptface::masked_attention: dropout needs a seed, int64 with one element");
    const uint64_t bits = static_cast<uint64_t>(*static_cast<const int64_t*>(seed->const_data_ptr()));
    problem.dropout = true;
    problem.seed_low = static_cast<uint32_t>(bits);
    problem.seed_high = static_cast<uint32_t>(bits >> 32);
    problem.drop_below = static_cast<uint32_t>(dropout_p * 4294967296.0);
    problem.keep_scale = static_cast<float>(1.0 / (1.0 - dropout_p));
  }
  return problem;
}

inline std::optional<Tensor> contiguous_or_none(const std::optional<Tensor>& tensor) {
  if (!tensor.has_value()) return std::nullopt;
  return torch::stable::contiguous(*tensor);
}

inline std::tuple<Tensor, Tensor> masked_attention(
    Tensor query, Tensor key, Tensor value, std::optional<Tensor> intervals, std::optional<Tensor> seed, double scale,
    double dropout_p, bool /*deterministic: these kernels are always*/) {
  query = with_contiguous_width(query);
  key = with_contiguous_width(key);
  value = with_contiguous_width(value);
  intervals = contiguous_or_none(intervals);
  AttentionProblem problem = attention_problem(query, key, value, intervals, seed, scale, dropout_p);
  Tensor out = torch::stable::new_empty(query, {problem.batch, problem.queries, problem.heads, problem.width});
  Tensor lse = torch::stable::new_empty(query, {problem.batch, problem.heads, problem.queries}, ScalarType::Float);
  problem.query = attention_tensor(query);
  problem.key = attention_tensor(key);
  problem.value = attention_tensor(value);
  problem.out = attention_tensor(out);
  problem.lse = static_cast<float*>(lse.mutable_data_ptr());
  masked_attention_cpu(problem);
  return {out, lse};
}

// The output alone, without dropout: what nobody differentiates. A step of generation comes here unchecked.
inline Tensor masked_attention_forward(
    Tensor query, Tensor key, Tensor value, std::optional<Tensor> intervals, double scale) {
  STD_TORCH_CHECK(
      query.is_cpu() && key.is_cpu() && value.is_cpu() && (!intervals.has_value() || intervals->is_cpu()),
      "gptface::masked_attention_forward: all tensors must be on the CPU");
  STD_TORCH_CHECK(
      query.dim() == 4 && query.size(3) >= 16 && query.size(3) <= 256,
      "gptface::masked_attention_forward: query must be (B, Sq, H, D), D from 16 to 256");
  query = with_contiguous_width(query);
  key = with_contiguous_width(key);
  value = with_contiguous_width(value);
  intervals = contiguous_or_none(intervals);
  AttentionProblem problem = attention_problem(query, key, value, intervals, std::nullopt, scale, 0.0);
  Tensor out = torch::stable::new_empty(query, {problem.batch, problem.queries, problem.heads, problem.width});
  problem.query = attention_tensor(query);
  problem.key = attention_tensor(key);
  problem.value = attention_tensor(value);
  problem.out = attention_tensor(out);
  masked_attention_cpu(problem);
  return out;
}

inline std::tuple<Tensor, Tensor, Tensor> masked_attention_backward(
    Tensor grad_out, std::optional<Tensor> grad_lse, Tensor query, Tensor key, Tensor value, Tensor out, Tensor lse,
    std::optional<Tensor> intervals, std::optional<Tensor> seed, double scale, double dropout_p, bool) {
  query = with_contiguous_width(query);
  key = with_contiguous_width(key);
  value = with_contiguous_width(value);
  out = with_contiguous_width(out);
  grad_out = with_contiguous_width(grad_out);
  intervals = contiguous_or_none(intervals);
  grad_lse = contiguous_or_none(grad_lse);
  lse = torch::stable::contiguous(lse);
  AttentionProblem problem = attention_problem(query, key, value, intervals, seed, scale, dropout_p);
  STD_TORCH_CHECK(
      grad_out.scalar_type() == query.scalar_type() && out.scalar_type() == query.scalar_type() &&
          lse.scalar_type() == ScalarType::Float && lse.numel() == problem.batch * problem.heads * problem.queries &&
          grad_out.numel() == query.numel() && out.numel() == query.numel() && grad_out.dim() == 4 && out.dim() == 4 &&
          (!grad_lse.has_value() || (grad_lse->scalar_type() == ScalarType::Float && grad_lse->numel() == lse.numel())),
      "gptface::masked_attention_backward: grad_out, out, lse and grad_lse must be as the forward made them");
  const std::vector<int64_t> key_shape{problem.batch, problem.keys, problem.key_heads, problem.width};
  Tensor grad_query = torch::stable::new_empty(query, {problem.batch, problem.queries, problem.heads, problem.width});
  Tensor grad_key = torch::stable::new_empty(key, key_shape);
  Tensor grad_value = torch::stable::new_empty(value, key_shape);
  problem.query = attention_tensor(query);
  problem.key = attention_tensor(key);
  problem.value = attention_tensor(value);
  problem.out = attention_tensor(out);
  problem.lse = static_cast<float*>(lse.mutable_data_ptr());
  problem.grad_out = attention_tensor(grad_out);
  problem.grad_lse = grad_lse.has_value() ? static_cast<const float*>(grad_lse->const_data_ptr()) : nullptr;
  problem.grad_query = attention_tensor(grad_query);
  problem.grad_key = attention_tensor(grad_key);
  problem.grad_value = attention_tensor(grad_value);
  problem.chunks = masked_attention_backward_chunks_cpu(problem);
  std::optional<Tensor> shares;
  if (problem.chunks > 1) {
    shares = torch::stable::new_empty(
        query, {problem.chunks, problem.batch, problem.heads, problem.queries, problem.width}, ScalarType::Float);
    problem.grad_shares = static_cast<float*>(shares->mutable_data_ptr());
  }
  masked_attention_backward_cpu(problem);
  return {grad_query, grad_key, grad_value};
}

}  // namespace operators
}  // namespace gptface
