// Masked attention by tiles of bfloat16, forward: one task is one panel of queries of one head of a part
// (attention_plan.h), as in attention_forward.h.
//
// Sixteen rows of keys as they lie are a left operand, so scores come out keys down and queries across the lanes of
// vectors, and the softmax, its masks and its dropout are those of the vector kernels. Weights of two neighbouring keys
// side by side are the right operand of the transposed output, out = values · weights, channels down and queries across: a
// query's factors are a lane's, and only values, queries and the finished output are transposed, each once.
//
// A panel of 64 queries goes over 128 keys at a time: 32 kB of scores and 16 kB of weights, with 2 kB of keys and values
// for each 32 keys and 32 channels. Per 32 keys, 16 queries and 32 channels that is two products for the scores and two for
// the output, 64 cycles of the tile unit, beside 32 vectors of softmax: 18 instructions each where nothing is hidden. With
// a head dimension of 64 the two are about even, and above it the tiles bound it. Compiled, and proven on a tile unit in
// plain C++ (tile_unit.h); no figure here was ever timed on a processor that has the unit.
//
// The running maximum is followed lazily: a query's sums are rescaled only where its maximum has risen by more than
// kSlack, so that its weights stay below e^kSlack.
#pragma once

#include <gptface/attention_amx_steps.h>
#include <gptface/attention_forward_place.h>

namespace gptface {

template <class Isa>
struct AttentionAmxForward {
  using Pack = TensorRows<Isa, BFloat16Pair>;
  using Rows = TileRows<Isa>;
  using V = Simd<Isa>;
  using Float = typename V::Float;
  using Place = AttentionForwardPlace<Isa>;
  static constexpr int kVectors = kTileVectors<Isa>;
  static constexpr int kLanes = kVectors * V::width;
  static constexpr int kSteps = 4;  // of keys at a time
  static constexpr float kNothingYet = -3e38f;
  static constexpr float kSlack = 5.5f;  // a factor of 2^8

  struct Scratch {
    int64_t* packed;          // what is in `keys` and `values`, see pack_keys
    PanelMask<Isa>* mask;
    Tile *keys, *values;      // (steps of a part, 2, depth); (steps of a part, channels), channels down
    unsigned char* left_out;  // (keys of a part): values that are not finite
    Tile* queries;            // (vectors, depth), queries across
    Tile *scores, *weights;   // (steps, 2, vectors); (steps, vectors), pairs of keys down
    Tile* out;                // (vectors, channels), channels down
    float *top, *total;       // (lanes): what the weights are relative to, and their sum
    int64_t base, depth, channels;  // the key in the first row of `keys`; tiles along the width

    Scratch(const AttentionProblem& p, ScratchCursor& cursor) {
      depth = (p.width + kTileDepth - 1) / kTileDepth;
      channels = (p.width + kTileWords - 1) / kTileWords;
      const int64_t steps = steps_of(p.part_keys);
      packed = cursor.take<int64_t>(4);
      mask = cursor.take<PanelMask<Isa>>(1);
      queries = cursor.take<Tile>(kVectors * depth);
      scores = cursor.take<Tile>(2 * kSteps * kVectors);
      weights = cursor.take<Tile>(kSteps * kVectors);
      out = cursor.take<Tile>(kVectors * channels);
      top = cursor.take<float>(kLanes);
      total = cursor.take<float>(kLanes);
      keys = cursor.take<Tile>(2 * steps * depth);
      values = cursor.take<Tile>(steps * channels);
      left_out = cursor.take<unsigned char>(steps * kStepKeys);
    }

    // A row of scores, and of pairs of weights: of key `key` of those at a time, vector n.
    GPTFACE_INLINE float* score_row(int64_t key, int n) const {
      return reinterpret_cast<float*>(scores[key / kTileHeight * kVectors + n].words[key % kTileHeight]);
    }
    GPTFACE_INLINE BFloat16Pair* weight_row(int64_t key, int n) const {
      return reinterpret_cast<BFloat16Pair*>(weights[key / kStepKeys * kVectors + n].words[key % kStepKeys / 2]);
    }
  };

  static int64_t scratch_bytes(const AttentionProblem& p) {
    ScratchCursor cursor{nullptr};
    Scratch(p, cursor);
    return cursor.used;
  }

  static void task(const AttentionProblem& p, int64_t task, std::byte* memory) {
    ScratchCursor cursor{memory};
    Scratch scratch(p, cursor);
    const Place here(p, task);
    const AttentionPart& part = *here.part;
    scratch.base = part.key_begin / kKeyBlock * kKeyBlock;
    if (here.panel == 0) {
      write_nothing<Isa>(p, part.batch, here.head, part.owned_query_begin, part.query_begin);
      write_nothing<Isa>(p, part.batch, here.head, part.query_end, part.owned_query_end);
    }
    if (here.vectors == 0) return;
    RowPrefetcher ahead(p.width * bytes_of(p.type));
    look_ahead(p, here, task, ahead);
    run(p, scratch, here, ahead);
  }

  static const BFloat16* elements(const AttentionProblem& p, const AttentionTensor& tensor, int64_t batch, int64_t row, int64_t head) {
    return reinterpret_cast<const BFloat16*>(row_of(p, tensor, batch, row, head));
  }

  // Steps [from, to) of keys and values, if they are not there yet; `packed` as in attention_forward.h.
  static void pack_keys(
      const AttentionProblem& p, const AttentionPart& part, Scratch& s, int64_t key_head, int64_t from, int64_t to) {
    const int64_t name = (&part - p.parts) * p.key_heads + key_head + 1;
    if (s.packed[0] != name || from < s.packed[2] || from > s.packed[3]) {
      s.packed[0] = name;
      s.packed[1] = 0;
      s.packed[2] = s.packed[3] = from;
    }
    from = s.packed[3];
    if (from >= to) return;
    s.packed[3] = to;
    const int64_t first = s.base + from * kStepKeys, padded = (to - from) * kStepKeys,
                  rows = first + padded < p.keys ? padded : p.keys - first;
    const BFloat16* value = elements(p, p.value, part.batch, first, key_head);
    Tile* values = s.values + from * s.channels;
    unsigned char* left_out = s.left_out + from * kStepKeys;
    Rows::by_rows(elements(p, p.key, part.batch, first, key_head), p.key.row_stride, rows, p.width,
                  s.keys + 2 * from * s.depth, s.depth, false);
    Rows::by_pairs(value, p.value.row_stride, rows, p.width, values, s.channels, true);
    if (Rows::leave_out(value, p.value.row_stride, rows, p.width, values, s.channels, true, left_out))
      s.packed[1] = 1;
    else
      std::memset(left_out, 0, rows);
  }

  // A panel of queries, over the steps of keys that each of its vectors has to do with.
  static void run(const AttentionProblem& p, Scratch& s, const Place& here, RowPrefetcher& ahead) {
    PanelMask<Isa>& mask = *s.mask;
    mask.load(p, here.part->batch, here.first, here.queries);
    const bool any = mask.first() < mask.last();
    const int64_t begin = any ? (mask.first() - s.base) / kStepKeys : 0, end = any ? steps_of(mask.last() - s.base) : 0;
    if (any) pack_keys(p, *here.part, s, here.key_head, begin, end);
    ahead.spread(end - begin);
    Rows::by_rows(elements(p, p.query, here.part->batch, here.first, here.head), p.query.row_stride, here.queries, p.width,
                  s.queries, s.depth, true);
    for (int64_t i = 0; i < kLanes; ++i) s.top[i] = kNothingYet, s.total[i] = 0.0f;
    std::memset(s.out, 0, here.vectors * s.channels * sizeof(Tile));

    TileUnit<Isa> unit;
    uint32_t begun = 0;
    for (int64_t step = begin; step < end; step += kSteps) {
      const int steps = static_cast<int>(end - step < kSteps ? end - step : kSteps);
      const int64_t from = s.base + step * kStepKeys, to = from + steps * kStepKeys;
      uint32_t reached[kVectors], all = 0;
      for (int n = 0; n < here.vectors; ++n) {
        reached[n] = 0;
        for (int k = 0; k < steps; ++k)
          if (reaches_keys(mask, n, from + k * kStepKeys, from + (k + 1) * kStepKeys)) reached[n] |= 1u << k;
        all |= reached[n];
      }
      for (int k = 0; k < steps; ++k) {
        ahead.step();
        if (all >> k & 1) score_step(unit, s, here.vectors, reached, step, k);
      }
      for (int n = 0; n < here.vectors; ++n) {
        if (reached[n] == 0) continue;
        mask_scores(p, s, n, from, to, begun >> n & 1);
        begun |= 1u << n;
        if (p.dropout)
          weigh<true>(p, s, here, n, reached[n], from, to);
        else
          weigh<false>(p, s, here, n, reached[n], from, to);
      }
      if (all != 0)
        add_products_by_column<Isa>(
            unit, static_cast<int>(s.channels), here.vectors, reached, {s.values + step * s.channels, 1, s.channels},
            {s.weights, 1, kVectors}, {s.out, 1, s.channels});
      if (s.packed[1]) add_left_out(p, s, here, from, to < p.keys ? to : p.keys);
    }
    for (int n = 0; n < here.vectors; ++n) write_vector(p, s, here, n);
  }

  // Products of step k of those at a time, which is step + k of the part, with the vectors that have to do with it.
  static GPTFACE_INLINE void score_step(
      TileUnit<Isa>& unit, Scratch& s, int vectors, const uint32_t* reached, int64_t step, int k) {
    const TileGrid<const Tile> keys{s.keys + 2 * (step + k) * s.depth, s.depth, 1};
    for (int n = 0; n < vectors; n += 2) {
      const bool one = reached[n] >> k & 1, other = n + 1 < vectors && (reached[n + 1] >> k & 1);
      if (!one && !other) continue;
      const int first = one ? n : n + 1;
      multiply_pair<Isa, true>(
          unit, 2, one && other ? 2 : 1, lowest_bits(s.depth), keys, {s.queries + first * s.depth, s.depth, 1},
          {s.scores + 2 * k * kVectors + first, kVectors, 1});
    }
  }

  // Scaled scores of vector n, -infinity where hidden; what its weights are relative to from now on, and what that makes of
  // its sums so far.
  static void mask_scores(const AttentionProblem& p, Scratch& s, int n, int64_t from, int64_t to, bool begun) {
    const int64_t at = n * V::width;
    const Float scale = V::set(p.scale), old = V::load(s.top + at);
    Float tops[2] = {old, old};
    s.mask->for_each_range(n, from, to, [&](int64_t low, int64_t high) {
      for (int64_t key = low; key < high; key += kKeyBlock) {
        const bool partial = s.mask->classify(key, key + kKeyBlock) != TileClass::full;
        float* row = s.score_row(key - from, n);
        if (partial) {
          for (int m = 0; m < kKeyBlock; ++m) {
            const Float score = V::select(
                s.mask->sees(n, key + m), V::multiply(V::load(row + m * V::width), scale), V::set(-__builtin_inff()));
            V::store(row + m * V::width, score);
            tops[m % 2] = V::maximum(tops[m % 2], score);
          }
        } else {
#pragma GCC unroll 8
          for (int m = 0; m < kKeyBlock; ++m) {
            const Float score = V::multiply(V::load(row + m * V::width), scale);
            V::store(row + m * V::width, score);
            tops[m % 2] = V::maximum(tops[m % 2], score);
          }
        }
      }
    });
    // A NaN among the scores is no maximum; its weights become NaN by themselves.
    const Float next = V::maximum(tops[0], tops[1]);
    const auto risen = V::greater(next, V::add(old, V::set(kSlack)));
    if (V::bits(risen) == 0) return;
    const Float top = V::select(risen, next, old);
    V::store(s.top + at, top);
    if (!begun) return;
    const Float factor = exp<Isa, 5>(V::subtract(old, top));
    V::store(s.total + at, V::multiply(V::load(s.total + at), factor));
    for (Tile* tile = s.out + n * s.channels; tile < s.out + (n + 1) * s.channels; ++tile)
      for (int r = 0; r < kTileHeight; ++r) {
        float* row = reinterpret_cast<float*>(tile->words[r]);
        V::store(row, V::multiply(V::load(row), factor));
      }
  }

  // Weights of vector n from its scores of keys [from, to), their sums, and dropout, which the sums do not know; zeros for
  // keys of its steps that it has nothing to do with.
  template <bool Dropout>
  static void weigh(
      const AttentionProblem& p, Scratch& s, const Place& here, int n, uint32_t reached, int64_t from, int64_t to) {
    const int64_t at = n * V::width;
    for (uint32_t rest = reached; rest != 0; rest &= rest - 1) {
      const int k = __builtin_ctz(rest);
      if (!covers_keys(*s.mask, n, from + k * kStepKeys, from + (k + 1) * kStepKeys))
        std::memset(s.weights + k * kVectors + n, 0, sizeof(Tile));
    }
    const Float top = V::load(s.top + at);
    Float totals[2] = {V::load(s.total + at), V::zero()};
    s.mask->for_each_range(n, from, to, [&](int64_t low, int64_t high) {
      for (int64_t key = low; key < high; key += 4) {
        const float* row = s.score_row(key - from, n);
        Float weight[4];
#pragma GCC unroll 4
        for (int m = 0; m < 4; ++m) {
          weight[m] = exp<Isa, 4>(V::subtract(V::load(row + m * V::width), top));
          totals[m % 2] = V::add(totals[m % 2], weight[m]);
        }
        if constexpr (Dropout) {
          typename V::Mask dropped[4];
          keep_masks<Isa>(p, here.part->batch, here.head, here.first + at, key, dropped);
#pragma GCC unroll 4
          for (int m = 0; m < 4; ++m) weight[m] = V::select(dropped[m], V::zero(), weight[m]);
        }
        BFloat16Pair* pairs = s.weight_row(key - from, n);
        V::store_pairs(pairs, weight[0], weight[1]);
        V::store_pairs(pairs + V::width, weight[2], weight[3]);
      }
    });
    V::store(s.total + at, V::add(totals[0], totals[1]));
  }

  // What values that are not finite add, to the queries that see them.
  static __attribute__((noinline, cold)) void add_left_out(
      const AttentionProblem& p, Scratch& s, const Place& here, int64_t from, int64_t to) {
    for (int64_t j = from; j < to; ++j) {
      if (!s.left_out[j - s.base]) continue;
      const BFloat16* value = elements(p, p.value, here.part->batch, j, here.key_head);
      for (int64_t i = 0; i < here.queries; ++i) {
        if (!s.mask->lane_sees(i, j)) continue;
        const int64_t n = i / V::width, lane = i % V::width;
        const float weight = Pack::element(s.weight_row(j - from, static_cast<int>(n)) + lane, j % 2);
        for (int64_t c = 0; c < p.width; ++c) {
          float* sum = reinterpret_cast<float*>(s.out[n * s.channels + c / kTileHeight].words[c % kTileHeight]) + lane;
          *sum += weight * to_float<Isa>(value[c]);
        }
      }
    }
  }

  // The output and log-sum-exp of vector n.
  static void write_vector(const AttentionProblem& p, Scratch& s, const Place& here, int n) {
    const int64_t at = n * V::width, queries = here.queries - at < V::width ? here.queries - at : V::width;
    float* lse = p.lse + (here.part->batch * p.heads + here.head) * p.queries + here.first + at;
    alignas(64) float factors[V::width];
    for (int64_t i = 0; i < V::width; ++i) {
      // No sum where nothing was seen; a row with a NaN has a NaN here.
      const float total = s.total[at + i];
      factors[i] = total == 0.0f ? 0.0f : (p.dropout ? p.keep_scale : 1.0f) / total;
      if (i < queries) lse[i] = total == 0.0f ? -__builtin_inff() : s.top[at + i] + std::log(total);
    }
    const Float factor = V::load(factors);
    for (int64_t c = 0; c < s.channels; ++c) {
      Tile& tile = s.out[n * s.channels + c];
      for (int r = 0; r < kTileHeight; ++r) {
        float* row = reinterpret_cast<float*>(tile.words[r]);
        V::store(row, V::multiply(V::load(row), factor));
      }
      Rows::transpose(tile, tile);
      for (int64_t i = 0; i < queries; ++i)
        Rows::write(tile.words[i], 1.0f, p.width - c * kTileWords,
                    const_cast<BFloat16*>(elements(p, p.out, here.part->batch, here.first + at + i, here.head)) + c * kTileWords);
    }
  }
};

}  // namespace gptface
