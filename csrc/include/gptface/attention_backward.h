// Masked attention, backward: one task is one key head of one part (attention_plan.h) and one chunk of its keys.
//
// It goes over the group's query heads, their queries in wide blocks, and the chunk's keys in tiles. For a tile it
// recomputes the weights from the log-sum-exp, P = exp(S − lse), and forms dS = P (dP − delta) from the products K Qᵀ and
// V dOᵀ (keys down, queries across the lanes, as in the forward); then
//
//   dV += Pᵀ dO     dK += dSᵀ Q     dQ += dS K
//
// with dV and dK kept for the whole task. So each of the five products is computed once, and each goes only over the
// vectors of queries and blocks of keys that have to do with one another. Where there are too few parts and key heads to
// fill a machine the keys are cut into chunks, a number that depends on shapes and mask alone; each chunk then has its own
// share of dQ, and the shares are added in order: no atomics, and the same bits for any number of threads.
#pragma once

#include <gptface/attention_backward_layout.h>
#include <gptface/attention_backward_prefetch.h>
#include <gptface/attention_backward_repair.h>

namespace gptface {

template <class Isa, class Word>
struct AttentionBackward {
  using Pack = TensorRows<Isa, Word>;
  using V = Simd<Isa>;
  using Float = typename V::Float;
  using Layout = AttentionBackwardLayout<Isa, Word>;
  using Scratch = typename Layout::Scratch;
  using Place = typename Layout::Place;
  using Context = typename Layout::Context;
  using Repair = AttentionBackwardRepair<Isa, Word>;
  static constexpr int kGroup = Layout::kGroup;
  static constexpr int kVectors = Layout::kVectors;
  static constexpr int64_t kKeyTile = Layout::kKeyTile;
  static constexpr int kExpDegree = kGroup == 2 ? 4 : 5;

  static void task(const AttentionProblem& p, int64_t task, std::byte* memory) {
    ScratchCursor cursor{memory};
    const Place here(p, task);
    const AttentionPart& part = *here.part;
    Context c{p, part, Scratch(p, cursor), part.batch, here.key_head, here.chunk, here.first_key, here.keys,
              p.width / kGroup, round_up<V::width>(p.width), 0, 0, 0, 0, false, false, false};
    if (c.chunk == 0) write_no_gradients(c);
    if (c.keys == 0) return;
    const int64_t real = p.keys - c.first_key < c.keys ? p.keys - c.first_key : c.keys;
    Scratch& s = c.s;
    const char* key = row_of(p, p.key, c.batch, c.first_key, c.key_head);
    const char* value = row_of(p, p.value, c.batch, c.first_key, c.key_head);
    Pack::by_rows(p.type, key, p.key.row_stride, real, p.width, c.keys, c.depth, s.keys);
    Pack::by_depth(p.type, key, p.key.row_stride, real, p.width, c.keys, c.columns, s.keys_by_depth);
    Repair::leave_out_keys(c, real);
    Pack::by_rows(p.type, value, p.value.row_stride, real, p.width, c.keys, c.depth, s.values);
    std::memset(s.grad_keys, 0, c.keys * c.columns * sizeof(float));
    std::memset(s.grad_values, 0, c.keys * c.columns * sizeof(float));

    for (int64_t h = 0; h < p.group(); ++h)
      for (int64_t b = 0; b < here.query_blocks; ++b) {
        c.head = c.key_head * p.group() + h;
        c.first_query = here.first_query(b);
        c.lanes = here.lanes(b);
        c.queries = here.queries(b);
        if (part.chunks > 1 && !reaches_chunk(c)) {
          std::memset(share_of_grad_query(p, c.chunk, c.batch, c.head, c.first_query), 0, c.queries * p.width * sizeof(float));
          continue;
        }
        RowPrefetcher ahead = rows_of_next_block(c, here, task, b);
        query_block(c, ahead);
      }

    // The first and the last block may hold keys of the neighbours.
    const int64_t begin = c.first_key > part.key_begin ? c.first_key : part.key_begin,
                  end = c.first_key + c.keys < part.key_end ? c.first_key + c.keys : part.key_end;
    for (int64_t j = begin; j < end; ++j) {
      const int64_t row = (j - c.first_key) * c.columns;
      Pack::write(p.type, s.grad_keys + row, p.scale, p.width, row_of(p, p.grad_key, c.batch, j, c.key_head));
      Pack::write(p.type, s.grad_values + row, p.dropout ? p.keep_scale : 1.0f, p.width,
                  row_of(p, p.grad_value, c.batch, j, c.key_head));
    }
  }

  static void query_block(Context& c, RowPrefetcher& ahead) {
    const AttentionProblem& p = c.p;
    Scratch& s = c.s;
    load_queries(c);
    std::memset(s.grad_queries, 0, c.lanes * c.columns * sizeof(float));
    const int64_t tiles = (c.keys + kKeyTile - 1) / kKeyTile, blocks = c.keys / kKeyBlock;
    ahead.spread(blocks * ((c.lanes / V::width + kVectors - 1) / kVectors));
    for (int64_t t = 0; t < tiles; ++t) {
      const int64_t from = t * blocks / tiles * kKeyBlock, to = (t + 1) * blocks / tiles * kKeyBlock;
      grad_tile(c, ahead, from, to);
      if (c.any_key || c.any_query || c.any_grad_out) Repair::add_left_out(c, from, to);
    }
    for (int64_t i = 0; i < c.queries; ++i) {
      const float* row = s.grad_queries + i * c.columns;
      const int64_t query = c.first_query + i;
      if (c.part.chunks == 1)
        Pack::write(p.type, row, p.scale, p.width, row_of(p, p.grad_query, c.batch, query, c.head));
      else
        std::memcpy(share_of_grad_query(p, c.chunk, c.batch, c.head, query), row, p.width * sizeof(float));
    }
  }

  // What a tile of keys [from, to) of the chunk and the block of queries add to all three gradients. Keys go by blocks and
  // queries by vectors, and a block and a vector that have nothing to do with each other take no part.
  static void grad_tile(Context& c, RowPrefetcher& ahead, int64_t from, int64_t to) {
    Scratch& s = c.s;
    // Of each block of keys the first and the last lane, plus one, that have to do with it.
    int64_t left[kKeyTile / kKeyBlock], right[kKeyTile / kKeyBlock];
    for (int64_t b = 0; b < (to - from) / kKeyBlock; ++b) left[b] = c.lanes, right[b] = 0;
    for_each_mask(c, [&](const PanelMask<Isa>& mask, int64_t at, int vectors) {
      for (int64_t b = 0; b < (to - from) / kKeyBlock; ++b) {
        int first, after;
        mask.reaching(c.first_key + from + b * kKeyBlock, vectors, first, after);
        if (first >= after) continue;
        const int64_t begin = at + first * V::width, end = at + after * V::width;
        left[b] = begin < left[b] ? begin : left[b];
        right[b] = end > right[b] ? end : right[b];
      }
    });
    for_each_mask(c, [&](const PanelMask<Isa>& mask, int64_t at, int vectors) {
      for (int64_t b = 0; b < (to - from) / kKeyBlock; ++b) {
        int first, after;
        const int64_t key = from + b * kKeyBlock, row = b * kKeyBlock;
        mask.reaching(c.first_key + key, vectors, first, after);
        ahead.step();
        if (after - first == 1) grad_scores<1>(c, mask, at, vectors * V::width, first, key, row);
        if (after - first == 2) grad_scores<2>(c, mask, at, vectors * V::width, first, key, row);
        if (after - first == 3) grad_scores<3>(c, mask, at, vectors * V::width, first, key, row);
        if constexpr (kVectors >= 4)
          if (after - first == 4) grad_scores<4>(c, mask, at, vectors * V::width, first, key, row);
        for (int n = 0; n < vectors; ++n) {
          const int64_t lane = at + n * V::width;
          if ((n < first || n >= after) && left[b] <= lane && lane < right[b]) store_nothing(c, lane, row);
        }
      }
      // Vector by vector over the keys that it has to do with: dQ.
      for (int n = 0; n < vectors; ++n) {
        const int64_t lane = at + n * V::width, rows = c.queries - lane < V::width ? round_up<4>(c.queries - lane) : V::width;
        mask.for_each_range(n, c.first_key + from, c.first_key + to, [&](int64_t low, int64_t high) {
          const int64_t key = low - c.first_key;
          multiply_into<Isa, Word, Rows::by_depth>(
              rows, (high - low) / kGroup, s.grad_scores_by_depth + (key - from) / kGroup * c.lanes + lane, c.lanes,
              s.keys_by_depth + key / kGroup * c.columns, c.columns, s.grad_queries + lane * c.columns, false);
        });
      }
    });
    // Blocks of keys over the queries that have to do with them, those with the same ones together: dV and dK.
    const int64_t stride = c.lanes / kGroup;
    for (int64_t b = 0, next; b < (to - from) / kKeyBlock; b = next) {
      for (next = b + 1; next < (to - from) / kKeyBlock && left[next] == left[b] && right[next] == right[b];) ++next;
      if (left[b] >= right[b]) continue;
      const int64_t rows = (next - b) * kKeyBlock, skipped = left[b] / kGroup, deep = (right[b] - left[b]) / kGroup,
                    word = b * kKeyBlock * stride + skipped, sum = (from + b * kKeyBlock) * c.columns;
      multiply_into<Isa, Word, Rows::by_rows>(
          rows, deep, s.weights + word, stride, s.grad_outs_by_depth + skipped * c.columns, c.columns,
          s.grad_values + sum, false);
      multiply_into<Isa, Word, Rows::by_rows>(
          rows, deep, s.grad_scores + word, stride, s.queries_by_depth + skipped * c.columns, c.columns,
          s.grad_keys + sum, false);
    }
  }

  // body(mask, first lane, vectors) for every panel of the block of queries.
  template <class Body>
  static GPTFACE_INLINE void for_each_mask(Context& c, Body&& body) {
    int64_t panel = 0;
    for_each_panel<Isa>(c.lanes / V::width, [&]<int NV>(int64_t vector) { body(c.s.masks[panel++], vector * V::width, NV); });
  }

  // The block's queries and gradients in every form that the products need, its masks, and delta = sum(dO · O) − dlse.
  static void load_queries(Context& c) {
    const AttentionProblem& p = c.p;
    Scratch& s = c.s;
    const char* query = row_of(p, p.query, c.batch, c.first_query, c.head);
    const char* grad = row_of(p, p.grad_out, c.batch, c.first_query, c.head);
    int64_t panel = 0;
    for_each_panel<Isa>(c.lanes / V::width, [&]<int NV>(int64_t vector) {
      constexpr int64_t lanes = NV * V::width;
      const int64_t at = vector * V::width, queries = c.queries - at < lanes ? c.queries - at : lanes;
      s.masks[panel++].load(p, c.batch, c.first_query + at, queries);
      Pack::across(p.type, row_of(p, p.query, c.batch, c.first_query + at, c.head), p.query.row_stride, queries, p.width,
                   lanes, s.rows, s.queries + at * c.depth);
      Pack::across(p.type, row_of(p, p.grad_out, c.batch, c.first_query + at, c.head), p.grad_out.row_stride, queries,
                   p.width, lanes, s.rows, s.grad_outs + at * c.depth);
      Pack::across(p.type, row_of(p, p.out, c.batch, c.first_query + at, c.head), p.out.row_stride, queries, p.width,
                   lanes, s.rows, s.outs);
      delta_of_panel<NV>(c, at);
    });
    Pack::by_depth(p.type, query, p.query.row_stride, c.queries, p.width, c.lanes, c.columns, s.queries_by_depth);
    Pack::by_depth(p.type, grad, p.grad_out.row_stride, c.queries, p.width, c.lanes, c.columns, s.grad_outs_by_depth);
    const int64_t row = (c.batch * p.heads + c.head) * p.queries + c.first_query;
    Repair::leave_out_queries(c);
    for (int64_t i = 0; i < c.lanes; ++i) {
      const float lse = i < c.queries ? p.lse[row + i] : -__builtin_inff();
      // A row that sees nothing, as padding, must come out with weights e^(finite − infinity) = 0.
      s.lse[i] = lse == -__builtin_inff() ? __builtin_inff() : lse;
      if (p.grad_lse && s.lse[i] != __builtin_inff()) s.delta[i] -= p.grad_lse[row + i];
    }
  }

  // sum(dO · O) of the queries from lane `at`, added up in the very order of the product V dOᵀ: a row that sees a single
  // key has O = V there, and its dS must be 0 and not the difference of two roundings.
  template <int NV>
  static void delta_of_panel(Context& c, int64_t at) {
    using Product = Arithmetic<Isa, Word>;
    constexpr int64_t lanes = NV * V::width;
    const Word* grad_outs = c.s.grad_outs + at * c.depth;
    for (int64_t n = 0; n < lanes; n += V::width) {
      Float sum = V::zero();
      for (int64_t k = 0; k < c.depth; ++k)
        sum = Product::multiply_add(
            sum, Product::load(c.s.outs + k * lanes + n), Product::load(grad_outs + k * lanes + n));
      V::store(c.s.delta + at + n, sum);
    }
  }

  // Weights and dS of NV vectors, from `first` of the panel of `panel` lanes from `at`, and of the block of keys from `key`
  // of the chunk, the tile's row `row`.
  template <int NV>
  static __attribute__((noinline)) void grad_scores(
      Context& c, const PanelMask<Isa>& mask, int64_t at, int64_t panel, int first, int64_t key, int64_t row) {
    Scratch& s = c.s;
    constexpr int64_t lanes = NV * V::width;
    constexpr int MR = kLeastRows<Isa, NV>;
    const int64_t begin = first * V::width;
    const Word *queries = s.queries + at * c.depth + begin, *grad_outs = s.grad_outs + at * c.depth + begin;
    const bool partial = mask.classify(c.first_key + key, c.first_key + key + kKeyBlock) != TileClass::full;
    for (int64_t r = 0; r < kKeyBlock; r += MR) {
      // Both products leave the registers: what follows is a loop that the compiler need not unroll.
      alignas(64) float scores[MR * lanes], grads[MR * lanes];
      multiply_rows<Isa, Word, NV, Rows::by_rows, MR>(
          MR, c.depth, s.keys + (key + r) * c.depth, c.depth, queries, panel,
          [&]<int M>(int64_t, Float(&tile)[M][NV])
              __attribute__((always_inline)) { accumulate<Isa>(scores, lanes, true, tile); });
      multiply_rows<Isa, Word, NV, Rows::by_rows, MR>(
          MR, c.depth, s.values + (key + r) * c.depth, c.depth, grad_outs, panel,
          [&]<int M>(int64_t, Float(&tile)[M][NV])
              __attribute__((always_inline)) { accumulate<Isa>(grads, lanes, true, tile); });
      for (int n = 0; n < NV; ++n)
        for (int m = 0; m < MR; m += 4)
          four_rows(c, mask, partial, at, first + n, c.first_key + key + r + m, row + r + m, lanes,
                    scores + m * lanes + n * V::width, grads + m * lanes + n * V::width);
    }
  }

  // One vector of queries and four neighbouring keys: P and dS from K Qᵀ and V dOᵀ, into their places.
  static GPTFACE_INLINE void four_rows(
      Context& c, const PanelMask<Isa>& mask, bool partial, int64_t at, int n, int64_t key, int64_t row, int64_t lanes,
      const float* scores, const float* grads) {
    const AttentionProblem& p = c.p;
    const int64_t lane = at + n * V::width;
    const Float scale = V::set(p.scale), minus_lse = V::subtract(V::zero(), V::load(c.s.lse + lane)),
                delta = V::load(c.s.delta + lane);
    Float weights[4], grad_scores[4];
#pragma GCC unroll 4
    for (int m = 0; m < 4; ++m) {
      Float x = V::multiply_add(V::load(scores + m * lanes), scale, minus_lse);
      if (partial) x = V::select(mask.sees(n, key + m), x, V::set(-__builtin_inff()));
      weights[m] = exp<Isa, kExpDegree>(x);
      grad_scores[m] = V::load(grads + m * lanes);
    }
    if (p.dropout) {
      typename V::Mask dropped[4];
      keep_masks<Isa>(p, c.batch, c.head, c.first_query + lane, key, dropped);
#pragma GCC unroll 4
      for (int m = 0; m < 4; ++m) {
        const Float grad = V::select(dropped[m], V::zero(), V::multiply(grad_scores[m], V::set(p.keep_scale)));
        grad_scores[m] = V::multiply(weights[m], V::subtract(grad, delta));
        weights[m] = V::select(dropped[m], V::zero(), weights[m]);
      }
    } else {
#pragma GCC unroll 4
      for (int m = 0; m < 4; ++m) grad_scores[m] = V::multiply(weights[m], V::subtract(grad_scores[m], delta));
    }
    // Where nothing is seen the weight is 0, but 0 · NaN of a hidden value would not be.
    if (partial)
      for (int m = 0; m < 4; ++m) grad_scores[m] = V::select(mask.sees(n, key + m), grad_scores[m], V::zero());
    store_four(c, lane, row, weights, grad_scores);
  }

  static GPTFACE_INLINE void store_four(
      Context& c, int64_t lane, int64_t row, const Float (&weights)[4], const Float (&grads)[4]) {
#pragma GCC unroll 4
    for (int m = 0; m < 4; ++m) {
      const int64_t word = (row + m) * (c.lanes / kGroup) + lane / kGroup;
      if constexpr (kGroup == 1) {
        V::store(c.s.weights + word, weights[m]);
        V::store(c.s.grad_scores + word, grads[m]);
      } else {
        V::store_bfloat16(reinterpret_cast<BFloat16*>(c.s.weights + word), weights[m]);
        V::store_bfloat16(reinterpret_cast<BFloat16*>(c.s.grad_scores + word), grads[m]);
        if (m % 2 == 0)
          V::store_pairs(c.s.grad_scores_by_depth + (row + m) / 2 * c.lanes + lane, grads[m], grads[m + 1]);
      }
    }
  }

  // No weights between the vector at `lane` and the block of keys of the tile's row `row`.
  static void store_nothing(Context& c, int64_t lane, int64_t row) {
    for (int64_t m = row; m < row + kKeyBlock; ++m) {
      const int64_t word = m * (c.lanes / kGroup) + lane / kGroup;
      std::memset(c.s.weights + word, 0, V::width / kGroup * sizeof(Word));
      std::memset(c.s.grad_scores + word, 0, V::width / kGroup * sizeof(Word));
    }
  }
};

}  // namespace gptface
