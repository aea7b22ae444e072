// Span masks on the CPU: the batch in parallel threads, every sample by csrc/include/gptface/span_mask.h.
#include <algorithm>
#include <bit>
#include <cstring>
#include <vector>

#include <torch/csrc/stable/ops.h>

#include <gptface/span_mask.h>

namespace gptface {

namespace {

constexpr int64_t kSamplesPerTask = 16;

template <typename Token>
void corrupt_sample(
    const CorruptionBatch& batch, uint64_t step, int64_t sample, const Token* tokens, Token* corrupted) {
  const SampleIdentity identity(batch.seed, step, static_cast<uint64_t>(batch.sample_ids[sample]));
  const int64_t first = sample * batch.positions;
  uint32_t decision = 0;
  int32_t decided = -1;  // the span that `decision` is for
  for (int32_t p = 0; p < batch.positions; ++p) {
    const int64_t i = first + p;
    corrupted[i] = tokens[i];
    if (!batch.mask[i]) continue;
    const int32_t span = batch.span_ids[i];
    if (!batch.per_span || span < 0 || span != decided) decision = corruption_decision(batch, identity, p, span);
    decided = span;
    corrupted[i] = static_cast<Token>(corrupt_token(batch, identity, decision, tokens[i], p));
  }
}

// The masked positions of one sample, written from `next` on: eight bytes of the mask at a time, of which most are 0.
void pack(const bool* mask, int64_t positions, int64_t first, const SpanMaskBatch& batch, int64_t next) {
  int64_t p = 0;
  if constexpr (std::endian::native == std::endian::little)
    for (; p + 8 <= positions && next + 8 <= batch.capacity; p += 8) {
      uint64_t eight;
      std::memcpy(&eight, mask + p, 8);
      for (; eight != 0; eight &= eight - 1) batch.indices[next++] = first + p + (lowest_bit(eight) >> 3);
    }
  for (; p < positions && next < batch.capacity; ++p)
    if (mask[p]) batch.indices[next++] = first + p;
}

// `finish(sample)` follows every sample at once, while its row of mask and span ids is in the cache.
template <typename Finish>
void sample_batch(const SpanMaskBatch& batch, const Finish& finish) {
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
      finish(sample);
    }
  });
  batch.cu_masked[0] = 0;
  for (int64_t sample = 0; sample < batch.samples; ++sample) batch.cu_masked[sample + 1] += batch.cu_masked[sample];
  torch::stable::parallel_for(0, batch.samples, kSamplesPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t sample = begin; sample < end; ++sample) {
      const bool* mask = batch.mask + sample * positions;
      pack(mask, positions, sample * positions, batch, batch.cu_masked[sample]);
    }
  });
  const int64_t masked = std::min(batch.cu_masked[batch.samples], batch.capacity);
  std::fill(batch.indices + masked, batch.indices + batch.capacity, int64_t{-1});
}

uint64_t step_of(const CorruptionBatch& batch) {
  return batch.device_step ? static_cast<uint64_t>(*batch.device_step) : batch.step;
}

}  // namespace

void sample_span_mask_cpu(const SpanMaskBatch& batch) {
  sample_batch(batch, [](int64_t) {});
}

template <typename Token>
void corrupt_tokens_cpu(const CorruptionBatch& batch, const Token* tokens, Token* corrupted) {
  const uint64_t step = step_of(batch);
  torch::stable::parallel_for(0, batch.samples, kSamplesPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t sample = begin; sample < end; ++sample) corrupt_sample(batch, step, sample, tokens, corrupted);
  });
}

template <typename Token>
void mask_tokens_cpu(
    const SpanMaskBatch& sampling, const CorruptionBatch& batch, const Token* tokens, Token* corrupted) {
  const uint64_t step = step_of(batch);
  sample_batch(sampling, [&](int64_t sample) { corrupt_sample(batch, step, sample, tokens, corrupted); });
}

template void corrupt_tokens_cpu<int32_t>(const CorruptionBatch&, const int32_t*, int32_t*);
template void corrupt_tokens_cpu<int64_t>(const CorruptionBatch&, const int64_t*, int64_t*);
template void mask_tokens_cpu<int32_t>(const SpanMaskBatch&, const CorruptionBatch&, const int32_t*, int32_t*);
template void mask_tokens_cpu<int64_t>(const SpanMaskBatch&, const CorruptionBatch&, const int64_t*, int64_t*);

}  // namespace gptface
