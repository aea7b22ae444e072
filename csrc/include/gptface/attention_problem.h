// Masked attention as plain data: what a launcher hands to the kernels.
#pragma once

#include <cstddef>
#include <cstdint>

#include <gptface/element_type.h>

namespace gptface {

// (batch, row, head, width) with a contiguous last dimension; strides in elements.
struct AttentionTensor {
  void* data;
  int64_t batch_stride, row_stride, head_stride;
};

// Keys come in blocks of eight: a multiple of every tile's rows, of a pair, and of the four words of a Philox block.
inline constexpr int64_t kKeyBlock = 8;

// Queries that see nothing outside of [key_begin, key_end), keys that no other queries see, and what is around them that
// sees nothing or is seen by nobody: see attention_plan.h. Rows of the sample.
struct AttentionPart {
  int64_t batch, query_begin, query_end, key_begin, key_end;
  // With the neighbourhood:
  int64_t owned_query_begin = 0, owned_query_end = 0, owned_key_begin = 0, owned_key_end = 0;
  int64_t panels = 0, panels_before = 0;  // of queries, in this part and in those before it
  int64_t chunks = 0, chunks_before = 0;  // of keys, for the backward
};

// out[b, i, h] = sum_j softmax_j(scale * query[b, i, h] . key[b, j, g]) value[b, j, g] over the visible j, with
// g = h / (heads / key_heads); see gptface/ops/attention/reference.py for the definition, dropout included.
struct AttentionProblem {
  ElementType type;
  int64_t batch, queries, keys, heads, key_heads, width;
  float scale;

  const int32_t* intervals;  // (batch or 1, queries, interval_count, 2), null where nothing is hidden
  int64_t interval_batch_stride;
  int interval_count;

  bool dropout;
  uint32_t drop_below;  // a weight is dropped iff its random word is below
  float keep_scale;     // 1 / (1 - p)
  uint32_t seed_low, seed_high;

  AttentionTensor query, key, value, out;
  float* lse;  // (batch, heads, queries), or null where nobody reads it (forward only)

  // Backward only. Gradients that come out are contiguous.
  AttentionTensor grad_out;
  const float* grad_lse;  // (batch, heads, queries) or null
  AttentionTensor grad_query, grad_key, grad_value;
  int64_t chunks;      // the most that a part has: each has its own task and its own share of grad_query
  float* grad_shares;  // (chunks, batch, heads, queries, width) where chunks > 1

  const AttentionPart* parts;  // the launcher's
  int64_t part_count;
  int64_t part_keys, chunk_keys;  // the most keys of a part, and of a chunk of the backward, in whole blocks

  int64_t group() const { return heads / key_heads; }
};

// Kernels of one instruction set. A task runs on one thread with scratch of its own, whose bytes are zero at first and
// then as the last task of the same thread left them. What a task computes depends on the problem alone.
struct AttentionKernels {
  int64_t lanes;          // queries in a vector
  int64_t panel_vectors;  // that a task of the forward takes at most
  int64_t key_tile;       // keys that a chunk of the backward has at least, where there are as many
  int64_t (*forward_scratch)(const AttentionProblem&);  // bytes
  void (*forward_task)(const AttentionProblem&, int64_t task, std::byte* scratch);  // panels of all parts * heads
  int64_t (*backward_scratch)(const AttentionProblem&);
  void (*backward_task)(const AttentionProblem&, int64_t task, std::byte* scratch);  // chunks of all parts * key_heads
  void (*add_shares)(const AttentionProblem&, int64_t task);  // parts * heads tasks, where a part has chunks > 1
};

}  // namespace gptface
