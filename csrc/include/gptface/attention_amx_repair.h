// Keeps a NaN or an infinity with the rows that see it, in the backward of masked attention by tiles: what
// attention_backward_repair.h does for vectors.
#pragma once

#include <cmath>

#include <gptface/attention_amx_layout.h>

namespace gptface {

template <class Isa>
struct AttentionAmxRepair {
  using Rows = TileRows<Isa>;
  using V = Simd<Isa>;
  using Layout = AttentionAmxLayout<Isa>;
  using Scratch = typename Layout::Scratch;
  using Context = typename Layout::Context;

  // Of the chunk's first `real` keys; the others are padding.
  static void leave_out_keys(Context& c, int64_t real) {
    c.any_key = Rows::leave_out(
        c.key_rows(c.p.key), c.p.key.row_stride, real, c.p.width, c.s.keys_by_depth, c.s.channels, true, c.s.keys_left_out);
  }

  // Of the block's queries and of their gradients, whose delta = sum(dO * O) is there.
  static void leave_out_queries(Context& c) {
    const AttentionProblem& p = c.p;
    Scratch& s = c.s;
    const float* lse = p.lse + (c.batch * p.heads + c.head) * p.queries + c.first_query;
    // A query that is not finite has no finite log-sum-exp, and a gradient of an output that is not has no finite delta.
    c.any_query = c.any_grad_out = false;
    for (int64_t i = 0; i < c.queries; ++i) {
      s.queries_left_out[i] = !std::isfinite(lse[i]) &&
          Rows::leave_out_row(c.query_rows(p.query, i), i, p.width, s.queries_by_depth, s.channels, false);
      s.grad_outs_left_out[i] = !std::isfinite(s.delta[i]) &&
          Rows::leave_out_row(c.query_rows(p.grad_out, i), i, p.width, s.grad_outs_by_depth, s.channels, false);
      c.any_query |= s.queries_left_out[i] != 0;
      c.any_grad_out |= s.grad_outs_left_out[i] != 0;
    }
  }

  // What keys, queries and gradients that are not finite add to the gradients of a step from key `from` of the chunk, where
  // they are seen; with the weights and dS of the step.
  static __attribute__((noinline, cold)) void add_left_out(Context& c, int64_t from, Tile* weights, Tile* grad_scores) {
    const AttentionProblem& p = c.p;
    Scratch& s = c.s;
    int64_t to = from + kStepKeys < c.keys ? from + kStepKeys : c.keys;
    to = to < p.keys - c.first_key ? to : p.keys - c.first_key;
    // Element d of row `row` of sums with channels across, and of those with channels down.
    const auto across = [&](Tile* tiles, int64_t row, int64_t d) -> float& {
      return reinterpret_cast<float*>(tiles[row / kTileHeight * s.channels + d / kTileWords].words[row % kTileHeight])[d % kTileWords];
    };
    const auto down = [&](Tile* tiles, int64_t row, int64_t d) -> float& {
      return reinterpret_cast<float*>(tiles[row / kTileWords * s.channels + d / kTileHeight].words[d % kTileHeight])[row % kTileWords];
    };
    for (int64_t i = 0; i < c.queries; ++i)
      for (int64_t j = from; j < to; ++j) {
        const bool key = c.any_key && s.keys_left_out[j], query = c.any_query && s.queries_left_out[i],
                   grad_out = c.any_grad_out && s.grad_outs_left_out[i];
        const int n = static_cast<int>(i / V::width);
        if (!(key || query || grad_out) || !c.mask(n).lane_sees(i % (Layout::kPanel * V::width), c.first_key + j)) continue;
        const float weight = to_float<Isa>(Scratch::half_row(weights, j - from, n)[i % V::width]);
        const float grad_score = to_float<Isa>(Scratch::half_row(grad_scores, j - from, n)[i % V::width]);
        for (int64_t d = 0; d < p.width; ++d) {
          if (key) down(s.grad_queries, i, d) += grad_score * to_float<Isa>(c.key_rows(p.key, j)[d]);
          if (query) across(s.grad_keys, j, d) += grad_score * to_float<Isa>(c.query_rows(p.query, i)[d]);
          if (grad_out) across(s.grad_values, j, d) += weight * to_float<Isa>(c.query_rows(p.grad_out, i)[d]);
        }
      }
  }
};

}  // namespace gptface
