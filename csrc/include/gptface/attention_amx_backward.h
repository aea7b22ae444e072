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
// so that dV, dK and dQ are loaded and stored once for four products. The scores of a pair are computed beside the
// exponentials of the pair before, and a step adds to dV and dK beside those of the next step: products and vectors of one
// thread run side by side where they are near one another in the program. P and dS by rows are 16 kB for a step, and what a
// step reads beside them, with a head dimension of 64, 64 kB of queries and gradients and 8 kB of keys and values: in the
// second-level cache, mostly. Per 32 keys, 16 queries and 32 channels that is five products of two tile operations, 160
// cycles of the tile unit, beside 32 vectors of about 29 instructions, two a cycle, whatever the head dimension is.
// Compiled, and proven on a tile unit in plain C++ (tile_unit.h); nothing here was ever timed on a processor that has the
// unit.
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
    StepProducts waiting;
    for (int64_t step = 0; step < steps; step += kSteps) {
      uint32_t reached[kVectors] = {};
      for (int k = 0; k < kSteps && step + k < steps; ++k) {
        ahead.step();
        grad_step(unit, c, step, k, reached, waiting);
      }
      add_products_by_column<Isa>(
          unit, static_cast<int>(s.channels), c.vectors, reached, {s.keys_by_depth + step * s.channels, 1, s.channels},
          {s.grad_scores_by_depth, 1, kVectors}, {s.grad_queries, 1, s.channels});
    }
    waiting.go_on(unit, s, 1, 1);
    write_grad_queries(c);
  }

  // What a step's weights and dS add to dV and dK: products that wait for the vectors of the next step, to go on beside them.
  struct StepProducts {
    int64_t sums = 0;    // the step's first tile of dV and dK
    uint32_t pairs = 0;  // bits: those of vectors that have to do with it; none, and there is nothing to do
    int buffer = 0;      // of weights and dS
    int done = 0;        // of the pairs of channels of dV, and then of dK

    // Up to a share of all, turn / turns.
    GPTFACE_INLINE void go_on(TileUnit<Isa>& unit, Scratch& s, int turn, int turns) {
      if (pairs == 0) return;
      const int each = static_cast<int>((s.channels + 1) / 2);
      for (const int due = turn * 2 * each / turns; done < due; ++done) {
        const bool values = done < each;
        const int64_t channel = 2 * (values ? done : done - each);
        multiply_pair<Isa, false>(
            unit, 2, s.channels - channel < 2 ? 1 : 2, pairs,
            {(values ? s.weights : s.grad_scores) + buffer * Layout::kStepTiles, 1, 2},
            {(values ? s.grad_outs_by_depth : s.queries_by_depth) + channel, 1, s.channels},
            {(values ? s.grad_values : s.grad_keys) + sums + channel, s.channels, 1});
      }
    }
  };

  // A pair of vectors and a step, and which of the two have to do with it.
  struct Pair {
    int n;
    bool reached[2];
  };

  // Weights and dS of step k of those at a time, which is step + k of the chunk. The vectors that have to do with it get bit
  // k of `reached`. What waits is done beside it, and what it leaves waits then.
  static void grad_step(
      TileUnit<Isa>& unit, Context& c, int64_t step, int k, uint32_t (&reached)[kVectors], StepProducts& waiting) {
    Scratch& s = c.s;
    const int64_t from = (step + k) * kStepKeys, to = from + kStepKeys < c.keys ? from + kStepKeys : c.keys;
    StepProducts left;
    left.sums = 2 * (step + k) * s.channels;
    left.buffer = 1 - waiting.buffer;
    Pair pairs[kPairs];
    int count = 0;
    for (int n = 0; n < c.vectors; n += 2) {
      const Pair pair{n, {reaches(c, n, from, to), n + 1 < c.vectors && reaches(c, n + 1, from, to)}};
      if (!pair.reached[0] && !pair.reached[1]) continue;
      left.pairs |= 1u << n / 2;
      pairs[count++] = pair;
    }
    if (count == 0) return;
    multiply_scores(unit, s, pairs[0], step + k, 0, false);
    multiply_scores(unit, s, pairs[0], step + k, 0, true);
    for (int i = 0; i < count; ++i)
      for (int j = 0; j < 2; ++j) {
        if (i + 1 < count) multiply_scores(unit, s, pairs[i + 1], step + k, (i + 1) % 2, j == 1);
        const int n = pairs[i].n + j;
        Tile *weights = s.weights + left.buffer * Layout::kStepTiles,
             *grad_scores = s.grad_scores + left.buffer * Layout::kStepTiles;
        if (pairs[i].reached[j]) {
          reached[n] |= 1u << k;
          const int64_t tile = 4 * (i % 2) + 2 * j;
          const Vector vector{n, reinterpret_cast<const float*>(s.scores[tile].words),
                              reinterpret_cast<const float*>(s.grads[tile].words), Scratch::half_row(weights, 0, n),
                              Scratch::half_row(grad_scores, 0, n),
                              reinterpret_cast<BFloat16Pair*>(s.grad_scores_by_depth[k * kVectors + n].words)};
          if (c.p.dropout)
            grad_vector<true>(c, vector, from, to);
          else
            grad_vector<false>(c, vector, from, to);
        } else {
          store_nothing(Scratch::half_row(weights, 0, n), Scratch::half_row(grad_scores, 0, n));
        }
        waiting.go_on(unit, s, 2 * i + j + 1, 2 * count);
      }
    if (c.any_key || c.any_query || c.any_grad_out)
      Repair::add_left_out(c, from, s.weights + left.buffer * Layout::kStepTiles,
                           s.grad_scores + left.buffer * Layout::kStepTiles);
    waiting = left;
  }

  // K Qᵀ, or V dOᵀ, of a step of the chunk and a pair of vectors.
  static GPTFACE_INLINE void multiply_scores(
      TileUnit<Isa>& unit, Scratch& s, const Pair& pair, int64_t step, int buffer, bool values) {
    const int skipped = pair.reached[0] ? 0 : 1, count = pair.reached[0] && pair.reached[1] ? 2 : 1;
    multiply_pair<Isa, true>(
        unit, 2, count, lowest_bits(s.depth), {(values ? s.values : s.keys) + 2 * step * s.depth, s.depth, 1},
        {(values ? s.grad_outs : s.queries) + (pair.n + skipped) * s.depth, s.depth, 1},
        {(values ? s.grads : s.scores) + 4 * buffer + 2 * skipped, 1, 2});
  }

  static GPTFACE_INLINE bool reaches(const Context& c, int n, int64_t from, int64_t to) {
    return reaches_keys(c.mask(n), n % kPanel, c.first_key + from, c.first_key + to);
  }

  // Vector n of the block and a step: its products, 32 rows each, and where P and dS by rows go, and dS by pairs of keys.
  struct Vector {
    int n;
    const float *scores, *grads;
    BFloat16 *weights, *grad_scores;
    BFloat16Pair* pairs;
  };

  // P and dS of keys [from, to) of the chunk; zeros for keys of the step that the vector has nothing to do with.
  template <bool Dropout>
  static __attribute__((noinline)) void grad_vector(Context& c, const Vector& vector, int64_t from, int64_t to) {
    const AttentionProblem& p = c.p;
    const int n = vector.n % kPanel;
    const int64_t lane = vector.n * V::width, first = c.first_key + from;
    const PanelMask<Isa>& mask = c.mask(vector.n);
    if (to - from < kStepKeys || !covers_keys(mask, n, first, c.first_key + to)) {
      store_nothing(vector.weights, vector.grad_scores);
      std::memset(vector.pairs, 0, sizeof(Tile));
    }
    const Float scale = V::set(p.scale), minus_lse = V::subtract(V::zero(), V::load(c.s.lse + lane)),
                delta = V::load(c.s.delta + lane);
    mask.for_each_range(n, first, c.first_key + to, [&](int64_t low, int64_t high) __attribute__((always_inline)) {
      for (int64_t key = low; key < high; key += 4) {
        const bool partial = mask.classify(key, key + 4) != TileClass::full;
        const int64_t row = key - first;
        const float *scores = vector.scores + row * V::width, *grads = vector.grads + row * V::width;
        Float weights[4], grad_scores[4];
#pragma GCC unroll 4
        for (int m = 0; m < 4; ++m) {
          weights[m] = V::multiply_add(V::load(scores + m * V::width), scale, minus_lse);
          grad_scores[m] = V::load(grads + m * V::width);
        }
        if (partial) {
#pragma GCC unroll 4
          for (int m = 0; m < 4; ++m) weights[m] = V::select(mask.sees(n, key + m), weights[m], V::set(-__builtin_inff()));
        }
#pragma GCC unroll 4
        for (int m = 0; m < 4; ++m) weights[m] = exp<Isa, 4>(weights[m]);
        if constexpr (Dropout) {
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
        if (partial) {
          // Where nothing is seen the weight is 0, but 0 · NaN of a hidden value would not be.
#pragma GCC unroll 4
          for (int m = 0; m < 4; ++m) grad_scores[m] = V::select(mask.sees(n, key + m), grad_scores[m], V::zero());
        }
#pragma GCC unroll 4
        for (int m = 0; m < 4; ++m) {
          V::store_bfloat16(vector.weights + (row + m) * kTileDepth, weights[m]);
          V::store_bfloat16(vector.grad_scores + (row + m) * kTileDepth, grad_scores[m]);
        }
        V::store_pairs(vector.pairs + row / 2 * V::width, grad_scores[0], grad_scores[1]);
        V::store_pairs(vector.pairs + (row / 2 + 1) * V::width, grad_scores[2], grad_scores[3]);
      }
    });
  }

  // No weight between a vector and the keys of a step.
  static GPTFACE_INLINE void store_nothing(BFloat16* weights, BFloat16* grad_scores) {
    for (int64_t row = 0; row < kStepKeys; ++row) {
      std::memset(weights + row * kTileDepth, 0, V::width * sizeof(BFloat16));
      std::memset(grad_scores + row * kTileDepth, 0, V::width * sizeof(BFloat16));
    }
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
