// Masked attention by tiles of bfloat16, backward: one task is one key head of one part and one chunk of its keys, as in
// attention_backward.h, with the same five products, formulas and shares of dQ.
//
// It goes over the group's query heads, their queries 128 at a time, and the chunk's keys in steps of 32. A step and a pair
// of vectors, 32 keys and 32 queries, are two by two tiles of S = K Qᵀ and of dP = V dOᵀ, keys down and queries across; from
// them P = exp(S − lse) and dS = P (dP − delta) are made in both forms that products need: rows by queries, 32 to a row, and
// pairs of keys down. Then
//
//   dV += P dO     dK += dS Q     over the block's queries, once a step
//   dQᵀ += Kᵀ dS                  over keys, once in four steps
//
// so that dV, dK and dQ are loaded and stored once for four products. P and dS by rows are 16 kB for a step, and what a step
// reads beside them, with a head dimension of 64, 64 kB of queries and gradients and 8 kB of keys and values: in the
// second-level cache, mostly. Per 32 keys, 16 queries and 32 channels that is five products of two tile operations, 160
// cycles of the tile unit, beside 32 vectors of about 30 instructions. Compiled, and proven on a tile unit in plain C++
// (tile_unit.h); no figure here was ever timed on a processor that has the unit.
#pragma once

#include <gptface/attention_amx_repair.h>
#include <gptface/attention_backward_prefetch.h>

namespace gptface {

template <class Isa>
struct AttentionAmxBackward {
  using Rows = TileRows<Isa>;
  using V = Simd<Isa>;
  using Float = typename V::Float;
  using Layout = AttentionAmxLayout<Isa>;
  using Scratch = typename Layout::Scratch;
  using Place = typename Layout::Place;
  using Context = typename Layout::Context;
  using Repair = AttentionAmxRepair<Isa>;
  static constexpr int kSteps = Layout::kSteps, kVectors = Layout::kVectors, kPairs = Layout::kPairs, kPanel = Layout::kPanel;
  static constexpr int64_t kKeyTile = kSteps * kStepKeys;

  static void task(const AttentionProblem& p, int64_t task, std::byte* memory) {
    ScratchCursor cursor{memory};
    const Place here(p, task);
    const AttentionPart& part = *here.part;
    Context c{p, part, Scratch(p, cursor), part.batch, here.key_head, here.chunk, here.first_key, here.keys};
    if (c.chunk == 0) write_no_gradients(c);
    if (c.keys == 0) return;
    const int64_t real = p.keys - c.first_key < c.keys ? p.keys - c.first_key : c.keys;
    Scratch& s = c.s;
    Rows::by_rows(c.key_rows(p.key), p.key.row_stride, real, p.width, s.keys, s.depth, false);
    Rows::by_rows(c.key_rows(p.value), p.value.row_stride, real, p.width, s.values, s.depth, false);
    Rows::by_pairs(c.key_rows(p.key), p.key.row_stride, real, p.width, s.keys_by_depth, s.channels, true);
    Repair::leave_out_keys(c, real);
    std::memset(s.grad_keys, 0, 2 * steps_of(c.keys) * s.channels * sizeof(Tile));
    std::memset(s.grad_values, 0, 2 * steps_of(c.keys) * s.channels * sizeof(Tile));

    for (int64_t h = 0; h < p.group(); ++h)
      for (int64_t b = 0; b < here.query_blocks; ++b) {
        c.head = c.key_head * p.group() + h;
        c.first_query = here.first_query(b);
        c.vectors = static_cast<int>(here.lanes(b) / V::width);
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
    for (int64_t j = begin; j < end; ++j)
      for (int64_t n = 0; n < s.channels; ++n) {
        const int64_t row = j - c.first_key, tile = row / kTileHeight * s.channels + n, rest = p.width - n * kTileWords;
        const auto to = [&](const AttentionTensor& tensor) {
          return reinterpret_cast<BFloat16*>(row_of(p, tensor, c.batch, j, c.key_head)) + n * kTileWords;
        };
        Rows::write(s.grad_keys[tile].words[row % kTileHeight], p.scale, rest, to(p.grad_key));
        Rows::write(s.grad_values[tile].words[row % kTileHeight], p.dropout ? p.keep_scale : 1.0f, rest, to(p.grad_value));
      }
  }

  static void query_block(Context& c, RowPrefetcher& ahead) {
    Scratch& s = c.s;
    TileUnit<Isa> unit;
    load_queries(unit, c);
    std::memset(s.grad_queries, 0, c.vectors * s.channels * sizeof(Tile));
    const int64_t steps = steps_of(c.keys);
    ahead.spread(steps);
    for (int64_t step = 0; step < steps; step += kSteps) {
      uint32_t reached[kVectors] = {};
      for (int k = 0; k < kSteps && step + k < steps; ++k) {
        ahead.step();
        grad_step(unit, c, step, k, reached);
      }
      add_products_by_column<Isa>(
          unit, static_cast<int>(s.channels), c.vectors, reached, {s.keys_by_depth + step * s.channels, 1, s.channels},
          {s.grad_scores_by_depth, 1, kVectors}, {s.grad_queries, 1, s.channels});
    }
    write_grad_queries(c);
  }

  // Weights and dS of step k of those at a time, which is step + k of the chunk, and what they add to dV and dK. The vectors
  // that have to do with it get bit k of `reached`.
  static void grad_step(TileUnit<Isa>& unit, Context& c, int64_t step, int k, uint32_t (&reached)[kVectors]) {
    Scratch& s = c.s;
    const int64_t from = (step + k) * kStepKeys, to = from + kStepKeys < c.keys ? from + kStepKeys : c.keys;
    const uint32_t depth = lowest_bits(s.depth);
    const TileGrid<const Tile> keys{s.keys + 2 * (step + k) * s.depth, s.depth, 1},
        values{s.values + 2 * (step + k) * s.depth, s.depth, 1};
    uint32_t pairs = 0;
    for (int n = 0; n < c.vectors; n += 2) {
      const bool one = reaches(c, n, from, to), other = n + 1 < c.vectors && reaches(c, n + 1, from, to);
      if (!one && !other) continue;
      pairs |= 1u << n / 2;
      const int first = one ? n : n + 1, count = one && other ? 2 : 1;
      multiply_pair<Isa, true>(unit, 2, count, depth, keys, {s.queries + first * s.depth, s.depth, 1},
                               {s.scores + (first - n), 2, 1});
      multiply_pair<Isa, true>(unit, 2, count, depth, values, {s.grad_outs + first * s.depth, s.depth, 1},
                               {s.grads + (first - n), 2, 1});
      for (int i = 0; i < 2; ++i) {
        if (i == 0 ? one : other) {
          reached[n + i] |= 1u << k;
          grad_vector(c, n + i, from, to, k);
        } else {
          for (int64_t key = 0; key < kStepKeys; ++key) store_nothing(s, key, n + i);
        }
      }
    }
    if (pairs == 0) return;
    const int channels = static_cast<int>(s.channels);
    const int64_t sums = 2 * (step + k) * s.channels;
    add_products<Isa>(unit, 2, channels, pairs, {s.weights, kPairs, 1}, {s.grad_outs_by_depth, 1, s.channels},
                      {s.grad_values + sums, s.channels, 1});
    add_products<Isa>(unit, 2, channels, pairs, {s.grad_scores, kPairs, 1}, {s.queries_by_depth, 1, s.channels},
                      {s.grad_keys + sums, s.channels, 1});
    if (c.any_key || c.any_query || c.any_grad_out) Repair::add_left_out(c, from);
  }

  static GPTFACE_INLINE bool reaches(const Context& c, int n, int64_t from, int64_t to) {
    return reaches_keys(c.mask(n), n % kPanel, c.first_key + from, c.first_key + to);
  }

  // P and dS of vector n and keys [from, to) of the chunk, from the products in `scores` and `grads`; zeros for keys of the
  // step that it has nothing to do with.
  static void grad_vector(Context& c, int n, int64_t from, int64_t to, int k) {
    Scratch& s = c.s;
    const PanelMask<Isa>& mask = c.mask(n);
    if (to - from < kStepKeys || !covers_keys(mask, n % kPanel, c.first_key + from, c.first_key + to)) {
      for (int64_t key = 0; key < kStepKeys; ++key) store_nothing(s, key, n);
      std::memset(s.grad_scores_by_depth + k * kVectors + n, 0, sizeof(Tile));
    }
    mask.for_each_range(n % kPanel, c.first_key + from, c.first_key + to, [&](int64_t low, int64_t high) {
      for (int64_t key = low; key < high; key += kKeyBlock) {
        const bool partial = mask.classify(key, key + kKeyBlock) != TileClass::full;
        for (int m = 0; m < kKeyBlock; m += 4) four_keys(c, mask, partial, n, key + m, key + m - c.first_key - from, k);
      }
    });
  }

  // The same for four neighbouring keys from `key`, rows `row` of the step.
  static GPTFACE_INLINE void four_keys(
      Context& c, const PanelMask<Isa>& mask, bool partial, int n, int64_t key, int64_t row, int k) {
    const AttentionProblem& p = c.p;
    Scratch& s = c.s;
    const int64_t lane = n * V::width, tile = row / kTileHeight * 2 + n % 2;
    const float* scores = reinterpret_cast<const float*>(s.scores[tile].words[row % kTileHeight]);
    const float* grads = reinterpret_cast<const float*>(s.grads[tile].words[row % kTileHeight]);
    const Float scale = V::set(p.scale), minus_lse = V::subtract(V::zero(), V::load(s.lse + lane)),
                delta = V::load(s.delta + lane);
    Float weights[4], grad_scores[4];
#pragma GCC unroll 4
    for (int m = 0; m < 4; ++m) {
      Float x = V::multiply_add(V::load(scores + m * V::width), scale, minus_lse);
      if (partial) x = V::select(mask.sees(n % kPanel, key + m), x, V::set(-__builtin_inff()));
      weights[m] = exp<Isa, 4>(x);
      grad_scores[m] = V::load(grads + m * V::width);
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
      for (int m = 0; m < 4; ++m) grad_scores[m] = V::select(mask.sees(n % kPanel, key + m), grad_scores[m], V::zero());
    BFloat16Pair* pairs = reinterpret_cast<BFloat16Pair*>(s.grad_scores_by_depth[k * kVectors + n].words[row / 2]);
#pragma GCC unroll 4
    for (int m = 0; m < 4; ++m) {
      V::store_bfloat16(Scratch::half_row(s.weights, row + m, n), weights[m]);
      V::store_bfloat16(Scratch::half_row(s.grad_scores, row + m, n), grad_scores[m]);
    }
    V::store_pairs(pairs, grad_scores[0], grad_scores[1]);
    V::store_pairs(pairs + V::width, grad_scores[2], grad_scores[3]);
  }

  // No weight between vector n and a key of the step.
  static GPTFACE_INLINE void store_nothing(Scratch& s, int64_t key, int n) {
    std::memset(Scratch::half_row(s.weights, key, n), 0, V::width * sizeof(BFloat16));
    std::memset(Scratch::half_row(s.grad_scores, key, n), 0, V::width * sizeof(BFloat16));
  }

  // The block's queries and gradients in every form that the products need, its masks, and delta = sum(dO · O) − dlse.
  static void load_queries(TileUnit<Isa>& unit, Context& c) {
    const AttentionProblem& p = c.p;
    Scratch& s = c.s;
    for (int n = 0; n < c.vectors; n += kPanel) {
      const int64_t at = n * V::width, rest = c.queries - at;
      s.masks[n / kPanel].load(p, c.batch, c.first_query + at, rest < kPanel * V::width ? rest : kPanel * V::width);
    }
    Rows::by_rows(c.query_rows(p.query), p.query.row_stride, c.queries, p.width, s.queries, s.depth, true);
    Rows::by_rows(c.query_rows(p.grad_out), p.grad_out.row_stride, c.queries, p.width, s.grad_outs, s.depth, true);
    Rows::by_pairs(c.query_rows(p.query), p.query.row_stride, c.queries, p.width, s.queries_by_depth, s.channels, false);
    Rows::by_pairs(c.query_rows(p.grad_out), p.grad_out.row_stride, c.queries, p.width, s.grad_outs_by_depth, s.channels, false);
    for (int n = 0; n < c.vectors; ++n) delta_of_vector(unit, c, n);
    Repair::leave_out_queries(c);
    const int64_t row = (c.batch * p.heads + c.head) * p.queries + c.first_query;
    for (int64_t i = 0; i < c.vectors * V::width; ++i) {
      const float lse = i < c.queries ? p.lse[row + i] : -__builtin_inff();
      // A row that sees nothing, as padding, must come out with weights e^(finite − infinity) = 0.
      s.lse[i] = lse == -__builtin_inff() ? __builtin_inff() : lse;
      if (p.grad_lse && s.lse[i] != __builtin_inff()) s.delta[i] -= p.grad_lse[row + i];
    }
  }

  // sum(dO · O) of the queries of vector n as the diagonal of a product O dOᵀ, and so added up in the very order of V dOᵀ: a
  // row that sees a single key has O = V there, and its dS must be 0 and not the difference of two roundings.
  static void delta_of_vector(TileUnit<Isa>& unit, Context& c, int n) {
    const AttentionProblem& p = c.p;
    Scratch& s = c.s;
    const int64_t at = n * V::width, queries = c.queries - at < V::width ? c.queries - at : V::width;
    Rows::by_rows(c.query_rows(p.out, at), p.out.row_stride, queries, p.width, s.outs, s.depth, false);
    multiply_pair<Isa, true>(unit, 1, 1, lowest_bits(s.depth), {s.outs, s.depth, 1}, {s.grad_outs + n * s.depth, s.depth, 1},
                             {s.scores, 1, 1});
    for (int i = 0; i < V::width; ++i) std::memcpy(s.delta + at + i, &s.scores->words[i][i], sizeof(float));
  }

  static void write_grad_queries(Context& c) {
    const AttentionProblem& p = c.p;
    Scratch& s = c.s;
    for (int n = 0; n < c.vectors; ++n) {
      const int64_t at = n * V::width, queries = c.queries - at < V::width ? c.queries - at : V::width;
      for (int64_t d = 0; d < s.channels; ++d) {
        Tile& tile = s.grad_queries[n * s.channels + d];
        const int64_t rest = p.width - d * kTileWords;
        Rows::transpose(tile, tile);
        for (int64_t i = 0; i < queries; ++i) {
          const int64_t query = c.first_query + at + i;
          if (c.part.chunks == 1)
            Rows::write(tile.words[i], p.scale, rest,
                        reinterpret_cast<BFloat16*>(row_of(p, p.grad_query, c.batch, query, c.head)) + d * kTileWords);
          else
            std::memcpy(share_of_grad_query(p, c.chunk, c.batch, c.head, query) + d * kTileWords, tile.words[i],
                        (rest < kTileWords ? rest : kTileWords) * sizeof(float));
        }
      }
    }
  }
};

}  // namespace gptface
