// Masked attention, forward: one task is one panel of queries of one head, over all keys that any of them sees.
//
// Scores are computed transposed, keys down and queries across the lanes of vectors. So the softmax runs lane by lane
// with no sum across a vector, a row's mask is two comparisons, a Philox block (four neighbouring keys) fills four
// vectors, keys and values are read as they lie, and P comes out as the left operand of P · V.
//
// The online softmax (Milakov and Gimelshein 2018) goes over tiles of keys. Its running maximum starts at a large
// negative finite number: a lane that has seen nothing yet then has weights e^(−inf) = 0 and no NaN.
#pragma once

#include <gptface/attention_tiles.h>

namespace gptface {

template <class Isa, class Word>
struct AttentionForward {
  using Pack = TensorRows<Isa, Word>;
  using V = Simd<Isa>;
  using Float = typename V::Float;
  static constexpr int kGroup = Arithmetic<Isa, Word>::group;
  static constexpr int kVectors = kTileVectors<Isa>;
  static constexpr int kLanes = kVectors * V::width;
  static constexpr int kExpDegree = kGroup == 2 ? 4 : 5;  // weights that become bfloat16 need no more
  // Scores and weights of a tile stay in the second-level cache, values of a tile in the first.
  static constexpr int64_t kKeyTile = 128;
  static constexpr float kNothingYet = -3e38f;

  static int64_t panels(const AttentionProblem& p) {
    const int64_t vectors = (p.queries + V::width - 1) / V::width;
    return (vectors + kVectors - 1) / kVectors;
  }

  static int64_t tasks(const AttentionProblem& p) { return p.batch * p.heads * panels(p); }

  struct Scratch {
    int64_t* packed;  // which key head is in `keys` and `values`, plus one; whether any of its values is left out
    PanelMask<Isa>* mask;
    Word *keys, *values;          // (keys, width) by rows; by depth
    unsigned char* left_out;      // (keys): values that are not finite
    Word *query_rows, *queries;   // (lanes, width) by rows; its transpose
    float *scores, *out;          // (key tile, lanes); (lanes, padded width)
    Word* weights;                // (key tile / group, lanes)
    float *top, *total, *rescale; // (lanes): running maximum and sum; what the last tile's maximum makes of the sums

    Scratch(const AttentionProblem& p, ScratchCursor& cursor) {
      const int64_t keys_padded = round_up<kKeyBlock>(p.keys), depth = p.width / kGroup;
      const int64_t columns = round_up<V::width>(p.width);
      packed = cursor.take<int64_t>(2);
      mask = cursor.take<PanelMask<Isa>>(1);
      keys = cursor.take<Word>(keys_padded * depth);
      values = cursor.take<Word>(keys_padded / kGroup * columns);
      query_rows = cursor.take<Word>(kLanes * depth);
      queries = cursor.take<Word>(kLanes * depth);
      scores = cursor.take<float>(kKeyTile * kLanes);
      weights = cursor.take<Word>(kKeyTile / kGroup * kLanes);
      out = cursor.take<float>(kLanes * columns);
      top = cursor.take<float>(3 * kLanes);
      total = top + kLanes;
      rescale = total + kLanes;
      left_out = cursor.take<unsigned char>(keys_padded);
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
    // Neighbouring tasks share a key head: the panels of a head, then the heads of a group, then the groups.
    const int64_t panel_count = panels(p), panel = task % panel_count, head = task / panel_count % p.heads,
                  batch = task / panel_count / p.heads, key_head = head / p.group();
    if (*scratch.packed != batch * p.key_heads + key_head + 1) {
      const int64_t padded = round_up<kKeyBlock>(p.keys);
      Pack::by_rows(p.type, row_of(p, p.key, batch, 0, key_head), p.key.row_stride, p.keys, p.width, padded,
                    p.width / kGroup, scratch.keys);
      const char* value = row_of(p, p.value, batch, 0, key_head);
      const int64_t columns = round_up<V::width>(p.width);
      Pack::by_depth(p.type, value, p.value.row_stride, p.keys, p.width, padded, columns, scratch.values);
      scratch.packed[0] = batch * p.key_heads + key_head + 1;
      scratch.packed[1] = Pack::leave_out(p.type, value, p.value.row_stride, p.keys, p.width, columns, scratch.values,
                                          scratch.left_out);
    }
    // Vectors spread evenly over the panels.
    const int64_t vectors = (p.queries + V::width - 1) / V::width, first = panel * vectors / panel_count,
                  count = (panel + 1) * vectors / panel_count - first;
    if (count == 1) run<1>(p, scratch, batch, head, first * V::width);
    if (count == 2) run<2>(p, scratch, batch, head, first * V::width);
    if (count == 3) run<3>(p, scratch, batch, head, first * V::width);
    if constexpr (kVectors >= 4)
      if (count == 4) run<4>(p, scratch, batch, head, first * V::width);
  }

  template <int NV>
  static void run(const AttentionProblem& p, Scratch& scratch, int64_t batch, int64_t head, int64_t first) {
    constexpr int64_t lanes = NV * V::width;
    const int64_t queries = p.queries - first < lanes ? p.queries - first : lanes;
    const int64_t columns = round_up<V::width>(p.width);
    PanelMask<Isa>& mask = *scratch.mask;
    mask.load(p, batch, first, queries);
    Pack::across(p.type, row_of(p, p.query, batch, first, head), p.query.row_stride, queries, p.width, lanes,
                 scratch.query_rows, scratch.queries);
    for (int64_t i = 0; i < lanes; ++i) scratch.top[i] = kNothingYet, scratch.total[i] = 0.0f;

    bool nothing_yet = true;
    const int64_t begin = mask.begin() / kKeyBlock * kKeyBlock, end = round_up<kKeyBlock>(mask.end());
    for (int64_t from = begin; from < end; from += kKeyTile) {
      const int64_t to = from + kKeyTile < end ? from + kKeyTile : end;
      const TileClass kind = mask.classify(from, to);
      if (kind == TileClass::skip) continue;
      score_tile<NV>(p, scratch, from, to, kind == TileClass::partial);
      if (!nothing_yet) rescale_out<NV>(scratch, queries, columns);
      if (p.dropout)
        weigh_tile<NV, true>(p, scratch, batch, head, first, from, to);
      else
        weigh_tile<NV, false>(p, scratch, batch, head, first, from, to);
      multiply_into<Isa, Word, Rows::by_depth>(
          round_up<4>(queries), (to - from) / kGroup, scratch.weights, lanes, scratch.values + from / kGroup * columns, columns,
          scratch.out, nothing_yet);
      if (scratch.packed[1]) add_left_out(p, scratch, batch, head / p.group(), queries, from, to < p.keys ? to : p.keys, lanes);
      nothing_yet = false;
    }

    float* lse = p.lse + (batch * p.heads + head) * p.queries + first;
    for (int64_t i = 0; i < queries; ++i) {
      const float total = scratch.total[i];
      char* out = row_of(p, p.out, batch, first + i, head);
      if (total == 0.0f) {  // saw nothing; a row with a NaN has a NaN here
        std::memset(out, 0, p.width * bytes_of(p.type));
        lse[i] = -__builtin_inff();
        continue;
      }
      Pack::write(p.type, scratch.out + i * columns, (p.dropout ? p.keep_scale : 1.0f) / total, p.width, out);
      lse[i] = scratch.top[i] + std::log(total);
    }
  }

  // What values that are not finite add, to the queries that see them.
  static __attribute__((noinline, cold)) void add_left_out(
      const AttentionProblem& p, Scratch& scratch, int64_t batch, int64_t key_head, int64_t queries, int64_t from,
      int64_t to, int64_t lanes) {
    for (int64_t j = from; j < to; ++j) {
      if (!scratch.left_out[j]) continue;
      const Word* weights = scratch.weights + (j - from) / kGroup * lanes;
      for (int64_t i = 0; i < queries; ++i)
        if (scratch.mask->lane_sees(i, j))
          Pack::add_row(p.type, row_of(p, p.value, batch, j, key_head), p.width, Pack::element(weights + i, (j - from) % kGroup),
                        scratch.out + i * round_up<V::width>(p.width));
    }
  }

  // Scores of keys [from, to), −infinity where hidden; the running maximum, and what it makes of
  // the sums so far.
  template <int NV>
  static void score_tile(const AttentionProblem& p, Scratch& scratch, int64_t from, int64_t to, bool partial) {
    constexpr int64_t lanes = NV * V::width;
    const int64_t depth = p.width / kGroup;
    const Float scale = V::set(p.scale);
    Float top[NV];
    for (int n = 0; n < NV; ++n) top[n] = V::load(scratch.top + n * V::width);
    multiply_rows<Isa, Word, NV, Rows::by_rows, kLeastRows<Isa, NV>>(
        to - from, depth, scratch.keys + from * depth, depth, scratch.queries, lanes,
        [&]<int MR>(int64_t row, Float(&tile)[MR][NV]) __attribute__((always_inline)) {
          float* scores = scratch.scores + row * lanes;
#pragma GCC unroll 8
          for (int m = 0; m < MR; ++m)
#pragma GCC unroll 4
            for (int n = 0; n < NV; ++n) {
              tile[m][n] = V::multiply(tile[m][n], scale);
              V::store(scores + m * lanes + n * V::width, tile[m][n]);
            }
          if (partial && scratch.mask->classify(from + row, from + row + MR) != TileClass::full) {
            for (int m = 0; m < MR; ++m, scores += lanes)
#pragma GCC unroll 4
              for (int n = 0; n < NV; ++n) {
                const Float score = V::select(
                    scratch.mask->sees(n, from + row + m), V::load(scores + n * V::width), V::set(-__builtin_inff()));
                top[n] = V::maximum(top[n], score);
                V::store(scores + n * V::width, score);
              }
          } else {
#pragma GCC unroll 8
            for (int m = 0; m < MR; ++m)
#pragma GCC unroll 4
              for (int n = 0; n < NV; ++n) top[n] = V::maximum(top[n], tile[m][n]);
          }
        });
    for (int n = 0; n < NV; ++n) {
      // A NaN among the scores may have become the maximum; its weights become NaN by themselves.
      const Float before = V::load(scratch.top + n * V::width);
      const Float rescale = exp<Isa, 5>(V::subtract(before, top[n]));
      V::store(scratch.rescale + n * V::width, rescale);
      V::store(scratch.top + n * V::width, top[n]);
      V::store(scratch.total + n * V::width, V::multiply(V::load(scratch.total + n * V::width), rescale));
    }
  }

  template <int NV>
  static void rescale_out(Scratch& scratch, int64_t queries, int64_t columns) {
    for (int64_t i = 0; i < queries; ++i) {
      if (scratch.rescale[i] == 1.0f) continue;
      const Float factor = V::set(scratch.rescale[i]);
      float* out = scratch.out + i * columns;
      for (int64_t c = 0; c < columns; c += V::width) V::store(out + c, V::multiply(V::load(out + c), factor));
    }
  }

  // Weights from scores, their sums, dropout (which the sums do not know), and words for the product with the values.
  template <int NV, bool Dropout>
  static void weigh_tile(
      const AttentionProblem& p, Scratch& scratch, int64_t batch, int64_t head, int64_t first, int64_t from,
      int64_t to) {
    constexpr int64_t lanes = NV * V::width;
    constexpr int kRows = Dropout ? 4 : 2;
    for (int n = 0; n < NV; ++n) {
      const int64_t at = n * V::width;
      const Float top = V::load(scratch.top + at);
      Float totals[2] = {V::load(scratch.total + at), V::zero()};
      for (int64_t row = 0; row < to - from; row += kRows) {
        Float weight[kRows];
#pragma GCC unroll 4
        for (int r = 0; r < kRows; ++r) {
          weight[r] = exp<Isa, kExpDegree>(V::subtract(V::load(scratch.scores + (row + r) * lanes + at), top));
          totals[r % 2] = V::add(totals[r % 2], weight[r]);
        }
        if constexpr (Dropout) {
          typename V::Mask dropped[4];
          keep_masks<Isa>(p, batch, head, first + at, from + row, dropped);
          for (int r = 0; r < 4; ++r) weight[r] = V::select(dropped[r], V::zero(), weight[r]);
        }
        for (int r = 0; r < kRows; r += kGroup) {
          Word* words = scratch.weights + (row + r) / kGroup * lanes + at;
          if constexpr (kGroup == 2)
            V::store_pairs(words, weight[r], weight[r + 1]);
          else
            V::store(words, weight[r]);
        }
      }
      V::store(scratch.total + at, V::add(totals[0], totals[1]));
    }
  }
};

}  // namespace gptface
