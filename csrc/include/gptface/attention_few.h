// Masked attention of few queries on the CPU without torch, forward without dropout: a step of generation.
//
// One query reads its whole cache once, so nothing is worth packing; there are too few queries to share the work among
// threads, so the keys are cut into chunks. A chunk's share of a row is its sum of weighted values with the maximum and
// the sum of the weights; the shares of a row are then added in the order of the chunks. The cut follows from the problem
// alone, and with it every bit of a result.
#pragma once

#include <memory>

#include <gptface/attention.h>

namespace gptface {

// Keys of a chunk at most: the weights of a block of rows stay in the first-level cache.
inline constexpr int64_t kFewChunkKeys = 512;

// Queries up to which these kernels are the faster ones: a row takes D / 16 products and as many steps of a sum for every
// key, where the other kernels take D for up to sixteen queries of a head, and packing besides.
inline constexpr int64_t kFewQueries = 8;
inline constexpr int64_t kFewWidth = 256;  // at most

struct FewQueriesPlan {
  int64_t chunk_keys, chunks;
  float* shares;  // (batch, heads, queries, chunks, width + 2): sums, maximum, sum of weights; null for one chunk
};

// Kernels of one instruction set; what a task computes depends on the problem and the plan alone.
struct FewQueriesKernels {
  int64_t (*scratch)(const AttentionProblem&, const FewQueriesPlan&);  // bytes
  void (*task)(const AttentionProblem&, const FewQueriesPlan&, int64_t task, std::byte* scratch);  // batch * key_heads * chunks
  void (*add_shares)(const AttentionProblem&, const FewQueriesPlan&, int64_t task);  // batch * heads, where chunks > 1
};

// Whether a call is one of few queries. Dropout and gradients have the other kernels alone.
inline bool has_few_queries(const AttentionProblem& p) {
  return !p.dropout && p.queries <= kFewQueries && p.width <= kFewWidth;
}

// Fills out and, where it is there, lse.
inline void attention_few_queries(
    const FewQueriesKernels& kernels, const AttentionProblem& p, int workers, ParallelFor parallel_for = run_on_threads) {
  constexpr int64_t kEnoughTasks = 64, kShortChunk = 256, kBlock = 16;
  // Less than this is read before other threads have woken up.
  constexpr int64_t kBytesOfWorker = int64_t{1} << 17;
  const int64_t heads = p.batch * p.key_heads;
  if (heads == 0 || p.queries == 0) return;
  const auto chunks_of = [&](int64_t keys) { return std::max<int64_t>((p.keys + keys - 1) / keys, 1); };
  const int64_t chunks = chunks_of(heads * chunks_of(kFewChunkKeys) < kEnoughTasks ? kShortChunk : kFewChunkKeys);
  FewQueriesPlan plan{};
  plan.chunk_keys = std::max<int64_t>(((p.keys + chunks - 1) / chunks + kBlock - 1) / kBlock * kBlock, kBlock);
  plan.chunks = chunks_of(plan.chunk_keys);
  std::unique_ptr<float[]> shares;
  if (plan.chunks > 1) {
    shares.reset(new float[p.batch * p.heads * p.queries * plan.chunks * (p.width + 2)]);
    plan.shares = shares.get();
  }
  const int64_t bytes = 2 * heads * p.keys * p.width * (p.type == ElementType::float32 ? 4 : 2);
  workers = static_cast<int>(std::clamp<int64_t>(bytes / kBytesOfWorker, 1, std::max(workers, 1)));
  detail::run_attention_tasks(
      heads * plan.chunks, 1, kernels.scratch(p, plan), workers, parallel_for,
      [&](int64_t task, std::byte* scratch) { kernels.task(p, plan, task, scratch); });
  if (plan.chunks > 1)
    for_each_task(p.batch * p.heads, 1, 1, parallel_for, [&](int64_t task, int) { kernels.add_shares(p, plan, task); });
}

}  // namespace gptface
