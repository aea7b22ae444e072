// Masked attention by tiles of bfloat16, forward: one task is one panel of queries of one head of a part
// (attention_plan.h), as in attention_forward.h.
//
// Sixteen rows of keys as they lie are a left operand, so scores come out keys down and queries across the lanes of
// vectors, and the softmax, its masks and its dropout are those of the vector kernels. Weights of two neighbouring keys
// side by side are the right operand of the transposed output, out = values · weights, channels down and queries across: a
// query's factors are a lane's, and only values, queries and the finished output are transposed, each once.
//
// A panel of up to 64 queries goes over the part's keys in units: 64 keys and a pair of vectors. While the softmax of a unit
// runs on vectors, the tile unit computes the scores of the next and adds the values of the one before; products and vectors
// of one thread run side by side in the processor where they are near one another in the program, so they come by turns, a
// few hundred instructions each. Scores and weights of two units are 24 kB, keys and values of a unit 16 kB with a head
// dimension of 64, queries and sums of the panel 24 kB.
//
// A unit is D / 4 products for the scores and as many for the values, 16 cycles of the tile unit each, 512 in all with
// D = 64; and 128 vectors of softmax, two instructions a cycle. Where the log-sum-exp is asked for, to float32's accuracy,
// that is about 15 instructions each, 960 cycles; where it is not, weights go straight to bfloat16 by a table
// (simd_emulated.h) and their sum is that of the rounded ones, about nine, 580. Compiled, and proven on a tile unit in plain
// C++ (tile_unit.h); nothing here was ever timed on a processor that has the unit.
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
  static constexpr int kSteps = 2;  // of keys in a unit
  static constexpr float kNothingYet = -3e38f;
  static constexpr float kSlack = 5.5f;  // a factor of 2^8
  // Sums of products of two numbers below 2^59 are finite, as far as 256 of them.
  static constexpr uint32_t kTame = (127 + 59) << 7;

  struct Scratch {
    int64_t* packed;          // what is in `keys` and `values`, see pack_keys
    PanelMask<Isa>* mask;
    Tile *keys, *values;      // (steps of a part, 2, depth); (steps of a part, channels), channels down
    unsigned char* left_out;  // (keys of a part): values that are not finite
    unsigned char* wild;      // (steps of a part): whether a key may have a score that is not finite
    Tile* queries;            // (vectors, depth), queries across
    Tile *scores, *weights;   // of two units: (steps, pair, 2); (steps, pair), pairs of keys down
    Tile* out;                // (vectors, channels), channels down
    float *top, *total;       // (lanes): the score that the weights are relative to, and their sum
    float* next;              // (lanes): the greatest score of a unit to come
    uint32_t* bad;            // (vectors): lanes that saw a score that is NaN or infinite
    int64_t base, depth, channels;  // the key in the first row of `keys`; tiles along the width

    Scratch(const AttentionProblem& p, ScratchCursor& cursor) {
      depth = (p.width + kTileDepth - 1) / kTileDepth;
      channels = (p.width + kTileWords - 1) / kTileWords;
      const int64_t steps = steps_of(p.part_keys);
      packed = cursor.take<int64_t>(4);
      mask = cursor.take<PanelMask<Isa>>(1);
      queries = cursor.take<Tile>(kVectors * depth);
      scores = cursor.take<Tile>(2 * kScoreTiles);
      weights = cursor.take<Tile>(2 * kWeightTiles);
      out = cursor.take<Tile>(kVectors * channels);
      top = cursor.take<float>(kLanes);
      total = cursor.take<float>(kLanes);
      next = cursor.take<float>(kLanes);
      bad = cursor.take<uint32_t>(kVectors);
      keys = cursor.take<Tile>(2 * steps * depth);
      values = cursor.take<Tile>(steps * channels);
      left_out = cursor.take<unsigned char>(steps * kStepKeys);
      wild = cursor.take<unsigned char>(steps);
    }

    static constexpr int kScoreTiles = kSteps * 4, kWeightTiles = kSteps * 2;
    // Scores of step k of a unit and vector j of its pair, 32 rows; and its weights, 16 rows of pairs.
    GPTFACE_INLINE float* scores_of(int buffer, int k, int j) const {
      return reinterpret_cast<float*>(scores[buffer * kScoreTiles + 4 * k + 2 * j].words);
    }
    GPTFACE_INLINE BFloat16Pair* weights_of(int buffer, int k, int j) const {
      return reinterpret_cast<BFloat16Pair*>(weights[buffer * kWeightTiles + 2 * k + j].words);
    }
  };

  // What the softmax of a panel goes by: scores are products of queries and keys as they lie, and the scale is positive,
  // for its sign is the queries'.
  struct Softmax {
    float scale, exponents;  // of a score; of a score into units of 1/128 of a factor of two
    float slack;             // kSlack, in scores
    bool wild;               // whether a score may be NaN or infinite
  };

  // Up to two steps of keys, from `step` of the part, and up to two vectors, from `first`, that have to do with any of them.
  struct Unit {
    int64_t step = 0, from = 0, to = 0;
    uint32_t steps = 0;  // bits: those that a vector of the pair has to do with
    int first = 0, count = 0;
    int buffer = 0;
  };

  // The units of a panel, in order.
  struct Units {
    const PanelMask<Isa>& mask;
    int64_t base, step, end;
    int vectors, pair = 0, buffer = 0;

    GPTFACE_INLINE bool advance(Unit& unit) {
      for (; step < end; step += kSteps, pair = 0) {
        while (pair < vectors) {
          const int n = pair;
          pair += 2;
          uint32_t steps[2] = {};
          for (int j = 0; j < 2 && n + j < vectors; ++j)
            for (int k = 0; k < kSteps && step + k < end; ++k) {
              const int64_t from = base + (step + k) * kStepKeys;
              if (reaches_keys(mask, n + j, from, from + kStepKeys)) steps[j] |= 1u << k;
            }
          if ((steps[0] | steps[1]) == 0) continue;
          unit.step = step;
          unit.from = base + step * kStepKeys;
          unit.to = unit.from + kSteps * kStepKeys;
          unit.steps = steps[0] | steps[1];
          unit.first = steps[0] ? n : n + 1;
          unit.count = steps[0] && steps[1] ? 2 : 1;
          unit.buffer = buffer;
          buffer = 1 - buffer;
          return true;
        }
      }
      return false;
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
    Tile *keys = s.keys + 2 * from * s.depth, *values = s.values + from * s.channels;
    unsigned char* left_out = s.left_out + from * kStepKeys;
    Rows::by_rows(elements(p, p.key, part.batch, first, key_head), p.key.row_stride, rows, p.width, keys, s.depth, false);
    for (int64_t step = from; step < to; ++step) {
      const int64_t halves = rows - (step - from) * kStepKeys > kTileHeight ? 2 : 1;
      s.wild[step] = Rows::any_from(kTame, s.keys + 2 * step * s.depth, halves * s.depth);
    }
    Rows::by_pairs(value, p.value.row_stride, rows, p.width, values, s.channels, true);
    if (Rows::leave_out(value, p.value.row_stride, rows, p.width, values, s.channels, true, left_out))
      s.packed[1] = 1;
    else
      std::memset(left_out, 0, rows);
  }

  // The panel's queries, and what its softmax goes by for steps [begin, end).
  static Softmax pack_queries(const AttentionProblem& p, Scratch& s, const Place& here, int64_t begin, int64_t end) {
    const int64_t tiles = here.vectors * s.depth;
    Rows::by_rows(elements(p, p.query, here.part->batch, here.first, here.head), p.query.row_stride, here.queries, p.width,
                  s.queries, s.depth, true);
    bool wild = !std::isfinite(p.scale) || Rows::any_from(kTame, s.queries, tiles);
    for (int64_t step = begin; step < end; ++step) wild |= s.wild[step] != 0;
    float scale = p.scale;
    if (!(scale > 0.0f)) {
      Rows::multiply_by_sign(scale, s.queries, tiles);
      scale = scale == 0.0f ? 1.0f : -scale;
    }
    constexpr float kMost = 1e30f;  // far above any score, and far below infinity
    return {scale, scale * (128.0f * 1.44269504088896341f), kSlack / scale < kMost ? kSlack / scale : kMost, wild};
  }

  // A panel of queries, over the units that it has to do with.
  static void run(const AttentionProblem& p, Scratch& s, const Place& here, RowPrefetcher& ahead) {
    PanelMask<Isa>& mask = *s.mask;
    mask.load(p, here.part->batch, here.first, here.queries);
    const bool any = mask.first() < mask.last();
    const int64_t begin = any ? (mask.first() - s.base) / kStepKeys : 0, end = any ? steps_of(mask.last() - s.base) : 0;
    if (any) pack_keys(p, *here.part, s, here.key_head, begin, end);
    ahead.spread((end - begin + kSteps - 1) / kSteps * ((here.vectors + 1) / 2));
    const Softmax softmax = pack_queries(p, s, here, begin, end);
    for (int64_t i = 0; i < kLanes; ++i) s.top[i] = kNothingYet, s.total[i] = 0.0f;
    std::memset(s.bad, 0, kVectors * sizeof(uint32_t));
    std::memset(s.out, 0, here.vectors * s.channels * sizeof(Tile));
    if (softmax.wild)
      go_over_units<true>(p, s, here, softmax, {mask, s.base, begin, end, here.vectors}, ahead);
    else
      go_over_units<false>(p, s, here, softmax, {mask, s.base, begin, end, here.vectors}, ahead);
    for (int n = 0; n < here.vectors; ++n) write_vector(p, s, here, softmax, n);
  }

  template <bool Wild>
  static __attribute__((noinline)) void go_over_units(
      const AttentionProblem& p, Scratch& s, const Place& here, const Softmax& softmax, Units units, RowPrefetcher& ahead) {
    TileUnit<Isa> tiles;
    Unit before, now, next;
    bool more = units.advance(next);
    if (more) {
      for (int k = 0; k < kSteps; ++k) score_step(tiles, s, next, k);
      find_tops<Wild>(s, next);
    }
    while (more) {
      before = now;
      now = next;
      more = units.advance(next);
      ahead.step();
      // Of the tile unit's work, this many pieces: steps of scores and pairs of channels.
      const int steps = more ? kSteps : 0, pairs = before.count ? static_cast<int>((s.channels + 1) / 2) : 0;
      int step = 0, pair = 0;
      const auto multiply = [&](int turn) __attribute__((always_inline)) {
        for (const int due = (turn * steps + kTurns - 1) / kTurns; step < due; ++step) score_step(tiles, s, next, step);
        for (const int due = turn * pairs / kTurns; pair < due; ++pair) add_values(tiles, s, before, pair);
      };
      float factors[2][V::width];
      uint32_t risen = 0;
      for (int j = 0; j < now.count; ++j) risen |= static_cast<uint32_t>(follow_top(s, softmax, now.first + j, factors[j])) << j;
      for (int k = 0; k < kSteps; ++k)
        for (int j = 0; j < 2; ++j) {
          multiply(2 * k + j + 1);
          if (j >= now.count || !(now.steps >> k & 1)) continue;
          if (p.lse && p.dropout)
            weigh<true, true>(p, s, here, softmax, now, k, j);
          else if (p.lse)
            weigh<true, false>(p, s, here, softmax, now, k, j);
          else if (p.dropout)
            weigh<false, true>(p, s, here, softmax, now, k, j);
          else
            weigh<false, false>(p, s, here, softmax, now, k, j);
        }
      if (more) find_tops<Wild>(s, next);
      for (int j = 0; j < now.count; ++j)
        if (risen >> j & 1) rescale_out(s, now.first + j, factors[j]);
      if (s.packed[1]) add_left_out(p, s, here, now);
    }
    for (int pair = 0; now.count && pair < (s.channels + 1) / 2; ++pair) add_values(tiles, s, now, pair);
  }
  static constexpr int kTurns = 2 * kSteps;

  // Products of queries and keys of step k of a unit.
  static GPTFACE_INLINE void score_step(TileUnit<Isa>& tiles, Scratch& s, const Unit& unit, int k) {
    if (!(unit.steps >> k & 1)) return;
    multiply_pair<Isa, true>(
        tiles, 2, unit.count, lowest_bits(s.depth), {s.keys + 2 * (unit.step + k) * s.depth, s.depth, 1},
        {s.queries + unit.first * s.depth, s.depth, 1}, {s.scores + unit.buffer * Scratch::kScoreTiles + 4 * k, 1, 2});
  }

  // What a unit's weights add to two tiles of channels.
  static GPTFACE_INLINE void add_values(TileUnit<Isa>& tiles, Scratch& s, const Unit& unit, int pair) {
    multiply_pair<Isa, false>(
        tiles, s.channels - 2 * pair < 2 ? 1 : 2, unit.count, unit.steps,
        {s.values + unit.step * s.channels + 2 * pair, 1, s.channels}, {s.weights + unit.buffer * Scratch::kWeightTiles, 1, 2},
        {s.out + unit.first * s.channels + 2 * pair, 1, s.channels});
  }

  // The greatest visible score of each query of a unit; where keys are partly hidden, -infinity for those that are.
  template <bool Wild>
  static GPTFACE_INLINE void find_tops(Scratch& s, const Unit& unit) {
    for (int j = 0; j < unit.count; ++j) {
      const int n = unit.first + j;
      Float tops[2] = {V::set(kNothingYet), V::set(kNothingYet)};
      for (int k = 0; k < kSteps; ++k) {
        const int64_t from = unit.from + k * kStepKeys;
        float* scores = s.scores_of(unit.buffer, k, j);
        s.mask->for_each_range(n, from, from + kStepKeys, [&](int64_t low, int64_t high) __attribute__((always_inline)) {
          for (int64_t key = low; key < high; key += kKeyBlock) {
            float* row = scores + (key - from) * V::width;
            if (s.mask->classify(key, key + kKeyBlock) != TileClass::full) hide(*s.mask, n, key, row);
#pragma GCC unroll 8
            for (int m = 0; m < kKeyBlock; ++m) {
              const Float score = V::load(row + m * V::width);
              tops[m % 2] = V::maximum(tops[m % 2], score);
              // -infinity has weight 0, as it should.
              if constexpr (Wild) s.bad[n] |= V::bits(V::not_less(score, V::set(__builtin_inff())));
            }
          }
        });
      }
      V::store(s.next + n * V::width, V::maximum(tops[0], tops[1]));
    }
  }

  static __attribute__((noinline)) void hide(const PanelMask<Isa>& mask, int n, int64_t key, float* row) {
    for (int m = 0; m < kKeyBlock; ++m, row += V::width)
      V::store(row, V::select(mask.sees(n, key + m), V::load(row), V::set(-__builtin_inff())));
  }

  // What the weights of vector n are relative to from now on, and its total in these terms; whether any lane has risen, and
  // then the factors for its sums.
  static GPTFACE_INLINE bool follow_top(Scratch& s, const Softmax& softmax, int n, float* factors) {
    const int64_t at = n * V::width;
    const Float old = V::load(s.top + at), next = V::load(s.next + at);
    const auto risen = V::greater(next, V::add(old, V::set(softmax.slack)));
    if (V::bits(risen) == 0) return false;
    const Float top = V::select(risen, next, old);
    const Float factor = exp<Isa, 5>(V::multiply(V::subtract(old, top), V::set(softmax.scale)));
    V::store(s.top + at, top);
    V::store(s.total + at, V::multiply(V::load(s.total + at), factor));
    V::store(factors, factor);
    return true;
  }

  static GPTFACE_INLINE void rescale_out(Scratch& s, int n, const float* factors) {
    const Float factor = V::load(factors);
    for (Tile* tile = s.out + n * s.channels; tile < s.out + (n + 1) * s.channels; ++tile)
      for (int r = 0; r < kTileHeight; ++r) {
        float* row = reinterpret_cast<float*>(tile->words[r]);
        V::store(row, V::multiply(V::load(row), factor));
      }
  }

  // Weights of vector j of a unit for step k, their sum, and dropout, which the sum does not know; zeros for keys that the
  // vector has nothing to do with. Exact: their sum is for a log-sum-exp of float32's accuracy.
  template <bool Exact, bool Dropout>
  static GPTFACE_INLINE void weigh(
      const AttentionProblem& p, Scratch& s, const Place& here, const Softmax& softmax, const Unit& unit, int k, int j) {
    const int n = unit.first + j;
    const int64_t at = n * V::width, from = unit.from + k * kStepKeys, to = from + kStepKeys;
    const float* scores = s.scores_of(unit.buffer, k, j);
    BFloat16Pair* weights = s.weights_of(unit.buffer, k, j);
    if (!covers_keys(*s.mask, n, from, to)) std::memset(weights, 0, sizeof(Tile));
    const Float top = V::load(s.top + at), scale = V::set(softmax.scale), exponents = V::set(softmax.exponents),
                one = V::set(127.0f * 128.0f);
    Float totals[2] = {V::load(s.total + at), V::zero()};
    s.mask->for_each_range(n, from, to, [&](int64_t low, int64_t high) __attribute__((always_inline)) {
      const float* row = scores + (low - from) * V::width;
      BFloat16Pair* to_row = weights + (low - from) / 2 * V::width;
      for (int64_t key = low; key < high; key += 4, row += 4 * V::width, to_row += 2 * V::width) {
        typename V::Mask dropped[4];
        if constexpr (Dropout) keep_masks<Isa>(p, here.part->batch, here.head, here.first + at, key, dropped);
        if constexpr (Exact) {
          Float weight[4];
#pragma GCC unroll 4
          for (int m = 0; m < 4; ++m) {
            weight[m] = exp<Isa, 4>(V::multiply(V::subtract(V::load(row + m * V::width), top), scale));
            totals[m % 2] = V::add(totals[m % 2], weight[m]);
            if constexpr (Dropout) weight[m] = V::select(dropped[m], V::zero(), weight[m]);
          }
          V::store_pairs(to_row, weight[0], weight[1]);
          V::store_pairs(to_row + V::width, weight[2], weight[3]);
        } else {
          Float exponent[4];
#pragma GCC unroll 4
          for (int m = 0; m < 4; ++m)
            exponent[m] = V::multiply_add(V::subtract(V::load(row + m * V::width), top), exponents, one);
          typename V::Pairs pairs[2] = {V::power_pairs(exponent[0], exponent[1]), V::power_pairs(exponent[2], exponent[3])};
          totals[0] = V::add_pairs(totals[0], pairs[0]);
          totals[1] = V::add_pairs(totals[1], pairs[1]);
          if constexpr (Dropout) {
            pairs[0] = V::without(pairs[0], dropped[0], dropped[1]);
            pairs[1] = V::without(pairs[1], dropped[2], dropped[3]);
          }
          V::store(to_row, pairs[0]);
          V::store(to_row + V::width, pairs[1]);
        }
      }
    });
    V::store(s.total + at, V::add(totals[0], totals[1]));
  }

  // What values that are not finite add, to the queries of a unit that see them.
  static __attribute__((noinline, cold)) void add_left_out(
      const AttentionProblem& p, Scratch& s, const Place& here, const Unit& unit) {
    const int64_t first = unit.first * V::width, last = first + unit.count * V::width;
    for (int64_t j = unit.from; j < unit.to && j < p.keys && j < s.base + s.packed[3] * kStepKeys; ++j) {
      if (!s.left_out[j - s.base]) continue;
      const BFloat16* value = elements(p, p.value, here.part->batch, j, here.key_head);
      for (int64_t i = first; i < last && i < here.queries; ++i) {
        if (!s.mask->lane_sees(i, j)) continue;
        const int64_t n = i / V::width, lane = i % V::width;
        const int64_t row = j - unit.from;
        const BFloat16Pair* weights =
            s.weights_of(unit.buffer, static_cast<int>(row / kStepKeys), static_cast<int>(n) - unit.first);
        const float weight = Pack::element(weights + row % kStepKeys / 2 * V::width + lane, row % 2);
        for (int64_t c = 0; c < p.width; ++c) {
          float* sum = reinterpret_cast<float*>(s.out[n * s.channels + c / kTileHeight].words[c % kTileHeight]) + lane;
          *sum += weight * to_float<Isa>(value[c]);
        }
      }
    }
  }

  // The output and log-sum-exp of vector n.
  static void write_vector(const AttentionProblem& p, Scratch& s, const Place& here, const Softmax& softmax, int n) {
    const int64_t at = n * V::width, queries = here.queries - at < V::width ? here.queries - at : V::width;
    float* lse = p.lse ? p.lse + (here.part->batch * p.heads + here.head) * p.queries + here.first + at : nullptr;
    alignas(64) float factors[V::width];
    for (int64_t i = 0; i < V::width; ++i) {
      // No sum where nothing was seen.
      const float total = s.bad[n] >> i & 1 ? __builtin_nanf("") : s.total[at + i];
      factors[i] = total == 0.0f ? 0.0f : (p.dropout ? p.keep_scale : 1.0f) / total;
      if (lse && i < queries) lse[i] = total == 0.0f ? -__builtin_inff() : s.top[at + i] * softmax.scale + std::log(total);
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
