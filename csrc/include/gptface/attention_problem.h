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
  float* lse;  // (batch, heads, queries)

  // Backward only. Gradients that come out are contiguous.
  AttentionTensor grad_out;
  const float* grad_lse;  // (batch, heads, queries) or null
  AttentionTensor grad_query, grad_key, grad_value;
  int64_t chunks;      // of keys, each with its own task and its own share of grad_query
  float* grad_shares;  // (chunks, batch, heads, queries, width) where chunks > 1

  int64_t group() const { return heads / key_heads; }
};

// Kernels of one instruction set. A task runs on one thread with scratch of its own, whose bytes are zero at first and
// then as the last task of the same thread left them. What a task computes depends on the problem alone.
struct AttentionKernels {
  int64_t (*forward_tasks)(const AttentionProblem&);
  int64_t (*forward_scratch)(const AttentionProblem&);  // bytes
  void (*forward_task)(const AttentionProblem&, int64_t task, std::byte* scratch);
  int64_t (*backward_chunks)(const AttentionProblem&);  // into how many to cut the keys; from shapes alone
  int64_t (*backward_scratch)(const AttentionProblem&);
  void (*backward_task)(const AttentionProblem&, int64_t task, std::byte* scratch);  // batch * key_heads * chunks tasks
  void (*add_shares)(const AttentionProblem&, int64_t task);  // batch * heads tasks, where chunks > 1
};

}  // namespace gptface
