// Keeps a NaN or an infinity of keys, queries and gradients with the rows that see it, in the backward of masked attention.
//
// A tile's products go over hidden pairs with a weight of 0, and 0 * NaN would carry a bad number to whoever does not see
// it. So rows that are not finite are left out of the packed operands as these are made, and where there are any, what
// they add is added to the tile's sums row by row, for the pairs that see each other.
#pragma once

#include <cmath>

#include <gptface/attention_backward_layout.h>

namespace gptface {

template <class Isa, class Word>
struct AttentionBackwardRepair {
  using Pack = TensorRows<Isa, Word>;
  using V = Simd<Isa>;
  using Layout = AttentionBackwardLayout<Isa, Word>;
  using Scratch = typename Layout::Scratch;
  using Context = typename Layout::Context;
  static constexpr int kGroup = Layout::kGroup;

  // Of the chunk's first `real` keys; the others are padding.
  static void leave_out_keys(Context& c, int64_t real) {
    const AttentionProblem& p = c.p;
    const char* key = row_of(p, p.key, c.batch, c.first_key, c.key_head);
    c.any_key = Pack::leave_out(
        p.type, key, p.key.row_stride, real, p.width, c.columns, c.s.keys_by_depth, c.s.keys_left_out);
  }

  // Of the block's queries and of their gradients, whose delta = sum(dO * O) is there.
  static void leave_out_queries(Context& c) {
    const AttentionProblem& p = c.p;
    Scratch& s = c.s;
    const int64_t row = (c.batch * p.heads + c.head) * p.queries + c.first_query;
    // A query that is not finite has no finite log-sum-exp, and a gradient of an output that is not has no finite delta.
    c.any_query = c.any_grad_out = false;
    for (int64_t i = 0; i < c.queries; ++i) {
      s.queries_left_out[i] = !std::isfinite(p.lse[row + i]) &&
          Pack::leave_out_row(p.type, row_of(p, p.query, c.batch, c.first_query + i, c.head), i, p.width, c.columns,
                              s.queries_by_depth);
      s.grad_outs_left_out[i] = !std::isfinite(s.delta[i]) &&
          Pack::leave_out_row(p.type, row_of(p, p.grad_out, c.batch, c.first_query + i, c.head), i, p.width, c.columns,
                              s.grad_outs_by_depth);
      c.any_query |= s.queries_left_out[i] != 0;
      c.any_grad_out |= s.grad_outs_left_out[i] != 0;
    }
  }

  // What keys, queries and gradients that are not finite add to the gradients of a tile, where they are seen.
  static __attribute__((noinline, cold)) void add_left_out(Context& c, int64_t from, int64_t to) {
    const AttentionProblem& p = c.p;
    Scratch& s = c.s;
    to = to < p.keys - c.first_key ? to : p.keys - c.first_key;
    int64_t panel = 0;
    for_each_panel<Isa>(c.lanes / V::width, [&]<int NV>(int64_t vector) {
      const PanelMask<Isa>& mask = s.masks[panel++];
      const int64_t first = vector * V::width, end = first + NV * V::width;
      for (int64_t i = first; i < end && i < c.queries; ++i)
        for (int64_t j = from; j < to; ++j) {
          const bool key = c.any_key && s.keys_left_out[j], query = c.any_query && s.queries_left_out[i],
                     grad_out = c.any_grad_out && s.grad_outs_left_out[i];
          if (!(key || query || grad_out) || !mask.lane_sees(i - first, c.first_key + j)) continue;
          const int64_t word = (j - from) * (c.lanes / kGroup) + i / kGroup;
          const float weight = Pack::element(s.weights + word, i % kGroup);
          const float grad_score = Pack::element(s.grad_scores + word, i % kGroup);
          if (key)
            Pack::add_row(p.type, row_of(p, p.key, c.batch, c.first_key + j, c.key_head), p.width, grad_score,
                          s.grad_queries + i * c.columns);
          if (query)
            Pack::add_row(p.type, row_of(p, p.query, c.batch, c.first_query + i, c.head), p.width, grad_score,
                          s.grad_keys + j * c.columns);
          if (grad_out)
            Pack::add_row(p.type, row_of(p, p.grad_out, c.batch, c.first_query + i, c.head), p.width, weight,
                          s.grad_values + j * c.columns);
        }
    });
  }
};

}  // namespace gptface
