// Span masks on the CPU: the batch in parallel threads, every sample by csrc/include/gptface/span_mask.h.
#include <algorithm>
#include <vector>

#include <torch/csrc/stable/ops.h>

#include <gptface/span_mask.h>

namespace gptface {

namespace {
constexpr int64_t kSamplesPerTask = 16;
}

void sample_span_mask_cpu(const SpanMaskBatch& batch) {
  const int64_t positions = batch.positions;
  // Scratch is touched only where a unit is not simply a position.
  const bool scattered = batch.codes || batch.word_ids ||
      (batch.program.image.kind != ImageKind::none && positions != batch.program.cells());
  torch::stable::parallel_for(0, batch.samples, kSamplesPerTask, [&](int64_t begin, int64_t end) {
    std::vector<int32_t> units(scattered ? batch.workspace_units() : 0);
    std::vector<uint64_t> bits(batch.workspace_words());
    for (int64_t sample = begin; sample < end; ++sample) {
      int32_t* ids = batch.span_ids + sample * positions;
      std::fill(ids, ids + positions, -1);
      std::fill(units.begin(), units.end(), -1);
      sample_span_ids(batch, sample, units.data(), bits.data());
      bool* mask = batch.mask + sample * positions;
      int32_t count = 0;
      for (int64_t p = 0; p < positions; ++p) {
        mask[p] = ids[p] >= 0;
        count += ids[p] >= 0;
      }
      batch.cu_masked[sample + 1] = count;
    }
  });
  batch.cu_masked[0] = 0;
  for (int64_t sample = 0; sample < batch.samples; ++sample) batch.cu_masked[sample + 1] += batch.cu_masked[sample];
  torch::stable::parallel_for(0, batch.samples, kSamplesPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t sample = begin; sample < end; ++sample) {
      const bool* mask = batch.mask + sample * positions;
      int64_t next = batch.cu_masked[sample];
      for (int64_t p = 0; p < positions && next < batch.capacity; ++p)
        if (mask[p]) batch.indices[next++] = sample * positions + p;
    }
  });
  const int64_t masked = std::min(batch.cu_masked[batch.samples], batch.capacity);
  std::fill(batch.indices + masked, batch.indices + batch.capacity, int64_t{-1});
}

template <typename Token>
void corrupt_tokens_cpu(const CorruptionBatch& batch, const Token* tokens, Token* corrupted) {
  const int64_t positions = batch.positions;
  const uint64_t step = batch.device_step ? static_cast<uint64_t>(*batch.device_step) : batch.step;
  torch::stable::parallel_for(0, batch.samples, kSamplesPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t sample = begin; sample < end; ++sample) {
      const SampleIdentity identity(batch.seed, step, static_cast<uint64_t>(batch.sample_ids[sample]));
      for (int64_t i = sample * positions; i < (sample + 1) * positions; ++i)
        corrupted[i] = batch.mask[i]
            ? static_cast<Token>(corrupt_token(
                  batch, identity, tokens[i], static_cast<int32_t>(i - sample * positions), batch.span_ids[i]))
            : tokens[i];
    }
  });
}

template void corrupt_tokens_cpu<int32_t>(const CorruptionBatch&, const int32_t*, int32_t*);
template void corrupt_tokens_cpu<int64_t>(const CorruptionBatch&, const int64_t*, int64_t*);

}  // namespace gptface
