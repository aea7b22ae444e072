// Tensors in, raw pointers out: what stands between the dispatcher and the span-mask launchers, on every device alike.
#pragma once

#include <optional>
#include <tuple>
#include <vector>

#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <gptface/span_mask.h>

namespace gptface {

#ifdef GPTFACE_CUDA
// csrc/cuda/span_mask.cu; `units` (B, workspace_units) and `bits` (B, workspace_words) are scratch.
void sample_span_mask_cuda(const SpanMaskBatch& batch, int32_t* units, uint64_t* bits, void* stream);
template <typename Token>
void corrupt_tokens_cuda(const CorruptionBatch& batch, const Token* tokens, Token* corrupted, void* stream);
template <typename Token>
void mask_tokens_cuda(
    const SpanMaskBatch& sampling, int32_t* units, uint64_t* bits, const CorruptionBatch& batch, const Token* tokens,
    Token* corrupted, void* stream);
#else
// csrc/cpu/span_mask.cpp
void sample_span_mask_cpu(const SpanMaskBatch& batch);
template <typename Token>
void corrupt_tokens_cpu(const CorruptionBatch& batch, const Token* tokens, Token* corrupted);
template <typename Token>
void mask_tokens_cpu(
    const SpanMaskBatch& sampling, const CorruptionBatch& batch, const Token* tokens, Token* corrupted);
#endif

namespace operators {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

template <typename T>
const T* data_or_null(const std::optional<Tensor>& tensor, const char* name) {
  if (!tensor.has_value()) return nullptr;
  STD_TORCH_CHECK(tensor->is_contiguous(), "gptface: ", name, " is not contiguous");
  return static_cast<const T*>(tensor->const_data_ptr());
}

#ifdef GPTFACE_CUDA
inline void* current_stream(const Tensor& tensor) {
  void* stream = nullptr;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(tensor.get_device_index(), &stream));
  return stream;
}
#endif

// What sampling writes; the tensors own the memory that a SpanMaskBatch points to.
struct SpanMaskTensors {
  Tensor mask, indices, cu_masked, span_ids;
#ifdef GPTFACE_CUDA
  Tensor units, bits;
#endif
};

inline SpanMaskBatch sampling_batch(
    const std::vector<int64_t>& program, const std::optional<Tensor>& layout, const std::optional<Tensor>& word_ids,
    const std::optional<Tensor>& region_map, const Tensor& sample_ids, int64_t seed, int64_t step,
    const std::optional<Tensor>& device_step, int64_t max_length, int64_t max_masked) {
  SpanMaskBatch batch{};
  STD_TORCH_CHECK(
      batch.program.parse(program.data(), static_cast<int64_t>(program.size())),
      "gptface::sample_span_mask: the program does not belong to this version of the native library");
  STD_TORCH_CHECK(
      sample_ids.dim() == 1 && sample_ids.scalar_type() == ScalarType::Long && sample_ids.is_contiguous(),
      "gptface::sample_span_mask: sample_ids must be contiguous int64 (B,)");
  batch.samples = sample_ids.size(0);
  batch.positions = static_cast<int32_t>(max_length);
  const int64_t cells = batch.program.cells();
  if (layout.has_value()) {
    STD_TORCH_CHECK(layout->size(0) == batch.samples, "gptface::sample_span_mask: layout and sample_ids differ in length");
    if (layout->dim() == 1) {
      STD_TORCH_CHECK(layout->scalar_type() == ScalarType::Long, "gptface::sample_span_mask: lengths must be int64");
      batch.lengths = data_or_null<int64_t>(layout, "layout");
    } else {
      STD_TORCH_CHECK(
          layout->dim() == 2 && layout->size(1) == max_length && layout->scalar_type() == ScalarType::Byte,
          "gptface::sample_span_mask: codes must be uint8 (B, max_length)");
      batch.codes = data_or_null<uint8_t>(layout, "layout");
    }
  }
  const auto companion = [&](const std::optional<Tensor>& tensor, bool needed, int64_t width, ScalarType dtype) {
    STD_TORCH_CHECK(
        !needed || (tensor.has_value() && tensor->dim() == 2 && tensor->size(0) == batch.samples &&
                    tensor->size(1) == width && tensor->scalar_type() == dtype),
        "gptface::sample_span_mask: word_ids must be int64 (B, max_length), region_map int32 (B, cells)");
  };
  companion(word_ids, batch.program.text.present && batch.program.text.whole_words, max_length, ScalarType::Long);
  companion(region_map, batch.program.image.kind == ImageKind::regions, cells, ScalarType::Int);
  batch.word_ids = data_or_null<int64_t>(word_ids, "word_ids");
  batch.regions = data_or_null<int32_t>(region_map, "region_map");
  batch.sample_ids = static_cast<const int64_t*>(sample_ids.const_data_ptr());
  batch.seed = static_cast<uint64_t>(seed);
  batch.step = static_cast<uint64_t>(step);
  batch.device_step = data_or_null<int64_t>(device_step, "device_step");
  batch.capacity = max_masked;
  return batch;
}

// Allocates on the device of `like` and lets the batch point there.
inline SpanMaskTensors allocate_results(SpanMaskBatch& batch, const Tensor& like) {
  const auto allocate = [&](std::vector<int64_t> sizes, ScalarType dtype) {
    return torch::stable::new_empty(like, sizes, dtype);
  };
  SpanMaskTensors results{
      allocate({batch.samples, batch.positions}, ScalarType::Bool),
      allocate({batch.capacity}, ScalarType::Long),
      allocate({batch.samples + 1}, ScalarType::Long),
      allocate({batch.samples, batch.positions}, ScalarType::Int),
#ifdef GPTFACE_CUDA
      allocate({batch.samples, batch.workspace_units()}, ScalarType::Int),
      allocate({batch.samples, batch.workspace_words()}, ScalarType::Long),
#endif
  };
  batch.mask = static_cast<bool*>(results.mask.mutable_data_ptr());
  batch.indices = static_cast<int64_t*>(results.indices.mutable_data_ptr());
  batch.cu_masked = static_cast<int64_t*>(results.cu_masked.mutable_data_ptr());
  batch.span_ids = static_cast<int32_t*>(results.span_ids.mutable_data_ptr());
  return results;
}

// Everything but the mask: that is given, or comes out of sampling.
inline CorruptionBatch corruption_batch(
    const Tensor& token_ids, const std::vector<int64_t>& ranges, const std::vector<int64_t>& thresholds, bool per_span,
    const Tensor& sample_ids, int64_t seed, int64_t step, const std::optional<Tensor>& device_step) {
  CorruptionBatch batch{};
  STD_TORCH_CHECK(
      token_ids.dim() == 2 && token_ids.is_contiguous() &&
          (token_ids.scalar_type() == ScalarType::Long || token_ids.scalar_type() == ScalarType::Int),
      "gptface::corrupt_tokens: token_ids must be contiguous int64 or int32 (B, S)");
  STD_TORCH_CHECK(
      sample_ids.dim() == 1 && sample_ids.size(0) == token_ids.size(0) && sample_ids.scalar_type() == ScalarType::Long &&
          sample_ids.is_contiguous(),
      "gptface::corrupt_tokens: sample_ids must be contiguous int64 (B,)");
  STD_TORCH_CHECK(
      thresholds.size() == 2 && !ranges.empty() && ranges.size() % 3 == 0 &&
          ranges.size() <= 3 * CorruptionBatch::kMaximumRanges,
      "gptface::corrupt_tokens: from 1 to ", CorruptionBatch::kMaximumRanges, " vocabulary ranges");
  batch.samples = token_ids.size(0);
  batch.positions = static_cast<int32_t>(token_ids.size(1));
  batch.sample_ids = static_cast<const int64_t*>(sample_ids.const_data_ptr());
  batch.seed = static_cast<uint64_t>(seed);
  batch.step = static_cast<uint64_t>(step);
  batch.device_step = data_or_null<int64_t>(device_step, "device_step");
  batch.ranges = static_cast<int32_t>(ranges.size() / 3);
  for (int32_t r = 0; r < batch.ranges; ++r) {
    batch.low[r] = ranges[3 * r];
    batch.high[r] = ranges[3 * r + 1];
    batch.mask_id[r] = ranges[3 * r + 2];
  }
  batch.mask_threshold = static_cast<uint64_t>(thresholds[0]);
  batch.random_threshold = static_cast<uint64_t>(thresholds[1]);
  batch.per_span = per_span;
  return batch;
}

// `launch(tokens, corrupted)` with pointers of the tokens' own type.
template <typename Launch>
Tensor with_token_type(const Tensor& token_ids, const Launch& launch) {
  Tensor corrupted = torch::stable::new_empty(token_ids, token_ids.sizes());
  const void* tokens = token_ids.const_data_ptr();
  void* result = corrupted.mutable_data_ptr();
  if (token_ids.scalar_type() == ScalarType::Long)
    launch(static_cast<const int64_t*>(tokens), static_cast<int64_t*>(result));
  else
    launch(static_cast<const int32_t*>(tokens), static_cast<int32_t*>(result));
  return corrupted;
}

inline std::tuple<Tensor, Tensor, Tensor, Tensor> sample_span_mask(
    std::vector<int64_t> program, std::optional<Tensor> layout, std::optional<Tensor> word_ids,
    std::optional<Tensor> region_map, Tensor sample_ids, int64_t seed, int64_t step, std::optional<Tensor> device_step,
    int64_t max_length, int64_t max_masked) {
  SpanMaskBatch batch = sampling_batch(
      program, layout, word_ids, region_map, sample_ids, seed, step, device_step, max_length, max_masked);
#ifdef GPTFACE_CUDA
  const torch::stable::accelerator::DeviceGuard guard(sample_ids.get_device_index());
#endif
  SpanMaskTensors results = allocate_results(batch, sample_ids);
#ifdef GPTFACE_CUDA
  sample_span_mask_cuda(
      batch, static_cast<int32_t*>(results.units.mutable_data_ptr()),
      static_cast<uint64_t*>(results.bits.mutable_data_ptr()), current_stream(sample_ids));
#else
  sample_span_mask_cpu(batch);
#endif
  return {results.mask, results.indices, results.cu_masked, results.span_ids};
}

inline Tensor corrupt_tokens(
    Tensor token_ids, Tensor mask, Tensor span_ids, std::vector<int64_t> ranges, std::vector<int64_t> thresholds,
    bool per_span, Tensor sample_ids, int64_t seed, int64_t step, std::optional<Tensor> device_step) {
  CorruptionBatch batch =
      corruption_batch(token_ids, ranges, thresholds, per_span, sample_ids, seed, step, device_step);
  STD_TORCH_CHECK(
      mask.is_contiguous() && span_ids.is_contiguous() && mask.numel() == token_ids.numel() &&
          span_ids.numel() == token_ids.numel() && mask.scalar_type() == ScalarType::Bool &&
          span_ids.scalar_type() == ScalarType::Int,
      "gptface::corrupt_tokens: mask (bool) and span_ids (int32) must be contiguous and of the shape of token_ids");
  batch.mask = static_cast<const bool*>(mask.const_data_ptr());
  batch.span_ids = static_cast<const int32_t*>(span_ids.const_data_ptr());
#ifdef GPTFACE_CUDA
  const torch::stable::accelerator::DeviceGuard guard(token_ids.get_device_index());
#endif
  return with_token_type(token_ids, [&](const auto* tokens, auto* corrupted) {
#ifdef GPTFACE_CUDA
    corrupt_tokens_cuda(batch, tokens, corrupted, current_stream(token_ids));
#else
    corrupt_tokens_cpu(batch, tokens, corrupted);
#endif
  });
}

inline std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> mask_tokens(
    Tensor token_ids, std::vector<int64_t> ranges, std::vector<int64_t> thresholds, bool per_span,
    std::vector<int64_t> program, std::optional<Tensor> layout, std::optional<Tensor> word_ids,
    std::optional<Tensor> region_map, Tensor sample_ids, int64_t seed, int64_t step, std::optional<Tensor> device_step,
    int64_t max_masked) {
  CorruptionBatch batch =
      corruption_batch(token_ids, ranges, thresholds, per_span, sample_ids, seed, step, device_step);
  SpanMaskBatch sampling = sampling_batch(
      program, layout, word_ids, region_map, sample_ids, seed, step, device_step, token_ids.size(1), max_masked);
#ifdef GPTFACE_CUDA
  const torch::stable::accelerator::DeviceGuard guard(token_ids.get_device_index());
#endif
  SpanMaskTensors results = allocate_results(sampling, sample_ids);
  batch.mask = sampling.mask;
  batch.span_ids = sampling.span_ids;
  Tensor corrupted = with_token_type(token_ids, [&](const auto* tokens, auto* result) {
#ifdef GPTFACE_CUDA
    mask_tokens_cuda(
        sampling, static_cast<int32_t*>(results.units.mutable_data_ptr()),
        static_cast<uint64_t*>(results.bits.mutable_data_ptr()), batch, tokens, result, current_stream(token_ids));
#else
    mask_tokens_cpu(sampling, batch, tokens, result);
#endif
  });
  return {results.mask, results.indices, results.cu_masked, results.span_ids, corrupted};
}

}  // namespace operators
}  // namespace gptface
