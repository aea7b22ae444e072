// Masked attention, forward: one task is one panel of queries of one head of a part (attention_plan.h).
//
// Scores are computed transposed, keys down and queries across the lanes of vectors. So the softmax runs lane by lane
// with no sum across a vector, a row's mask is two comparisons, a Philox block (four neighbouring keys) fills four
// vectors, keys and values are read as they lie, and P comes out as the left operand of P · V.
//
// The online softmax (Milakov and Gimelshein 2018) goes over tiles of keys. Its running maximum starts at a large
// negative finite number: a lane that has seen nothing yet then has weights e^(−inf) = 0 and no NaN. Each vector of
// queries takes part only in the blocks of keys that it has to do with.
#pragma once

#include <gptface/attention_forward_place.h>

namespace gptface {

template <class Isa, class Word>
struct AttentionForward {
  using Pack = TensorRows<Isa, Word>;
  using V = Simd<Isa>;
  using Float = typename V::Float;
  using Place = AttentionForwardPlace<Isa>;
  static constexpr int kGroup = Arithmetic<Isa, Word>::group;
  static constexpr int kVectors = kTileVectors<Isa>;
  static constexpr int kLanes = kVectors * V::width;
  static constexpr int kExpDegree = kGroup == 2 ? 4 : 5;  // weights that become bfloat16 need no more
  // Scores and weights of a tile stay in the second-level cache, values of a tile in the first.
  static constexpr int64_t kKeyTile = 128;
  static constexpr float kNothingYet = -3e38f;

  struct Scratch {
    int64_t* packed;              // what is in `keys` and `values`, see pack_keys
    PanelMask<Isa>* mask;
    Word *keys, *values;          // (keys of a part, width) by rows; by depth
    unsigned char* left_out;      // (keys of a part): values that are not finite
    Word *query_rows, *queries;   // (lanes, width) by rows; its transpose
    float *scores, *out;          // (key tile, lanes); (lanes, padded width)
    Word* weights;                // (key tile / group, lanes)
    float *top, *total, *rescale; // (lanes): running maximum and sum; what the last tile's maximum makes of the sums
    int64_t base;                 // the key in the first row of `keys` and `values`

    Scratch(const AttentionProblem& p, ScratchCursor& cursor) {
      const int64_t depth = p.width / kGroup, columns = round_up<V::width>(p.width);
      packed = cursor.take<int64_t>(4);
      mask = cursor.take<PanelMask<Isa>>(1);
      query_rows = cursor.take<Word>(kLanes * depth);
      queries = cursor.take<Word>(kLanes * depth);
      scores = cursor.take<float>(kKeyTile * kLanes);
      weights = cursor.take<Word>(kKeyTile / kGroup * kLanes);
      out = cursor.take<float>(kLanes * columns);
      top = cursor.take<float>(3 * kLanes);
      total = top + kLanes;
      rescale = total + kLanes;
      keys = cursor.take<Word>(p.part_keys * depth);
      values = cursor.take<Word>(p.part_keys / kGroup * columns);
      left_out = cursor.take<unsigned char>(p.part_keys);
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

  // Keys and values [from, to) in whole blocks, if they are not there yet. `packed` says what is: which key head of which
  // part, plus one; whether any of its values is left out; from which key to which. A part that a window slides over is
  // packed as it goes.
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
    const int64_t padded = to - from, rows = to < p.keys ? padded : p.keys - from, depth = p.width / kGroup,
                  columns = round_up<V::width>(p.width), at = from - s.base;
    const char* value = row_of(p, p.value, part.batch, from, key_head);
    Word* values = s.values + at / kGroup * columns;
    Pack::by_rows(p.type, row_of(p, p.key, part.batch, from, key_head), p.key.row_stride, rows, p.width, padded, depth,
                  s.keys + at * depth);
    Pack::by_depth(p.type, value, p.value.row_stride, rows, p.width, padded, columns, values);
    if (Pack::leave_out(p.type, value, p.value.row_stride, rows, p.width, columns, values, s.left_out + at))
      s.packed[1] = 1;
    else
      std::memset(s.left_out + at, 0, rows);
  }

  // A panel of queries, over the blocks of keys that each of its vectors has to do with.
  static void run(const AttentionProblem& p, Scratch& s, const Place& here, RowPrefetcher& ahead) {
    const int vectors = here.vectors;
    const int64_t lanes = vectors * V::width, batch = here.part->batch, head = here.head, first = here.first,
                  queries = here.queries;
    const int64_t columns = round_up<V::width>(p.width);
    PanelMask<Isa>& mask = *s.mask;
    mask.load(p, batch, first, queries);
    const int64_t begin = mask.first() / kKeyBlock * kKeyBlock, end = round_up<kKeyBlock>(mask.last());
    if (begin < end) pack_keys(p, *here.part, s, here.key_head, begin, end);
    ahead.spread((end - begin) / kKeyBlock);
    Pack::across(p.type, row_of(p, p.query, batch, first, head), p.query.row_stride, queries, p.width, lanes,
                 s.query_rows, s.queries);
    for (int64_t i = 0; i < lanes; ++i) s.top[i] = kNothingYet, s.total[i] = 0.0f;

    bool begun[kVectors] = {};
    for (int64_t from = begin; from < end; from += kKeyTile) {
      const int64_t to = from + kKeyTile < end ? from + kKeyTile : end;
      if (mask.classify(from, to) == TileClass::skip) continue;
      score_tile(p, s, ahead, vectors, from, to);
      for (int n = 0; n < vectors; ++n) {
        bool rescaled = !begun[n];
        mask.for_each_range(n, from, to, [&](int64_t low, int64_t high) {
          const int64_t at = n * V::width, rows = queries - at < V::width ? round_up<4>(queries - at) : V::width;
          if (!rescaled) rescale_out(s, at, rows, columns);
          rescaled = true;
          if (p.dropout)
            weigh<true>(p, s, batch, head, first, n, lanes, from, low, high);
          else
            weigh<false>(p, s, batch, head, first, n, lanes, from, low, high);
          multiply_into<Isa, Word, Rows::by_depth>(
              rows, (high - low) / kGroup, s.weights + (low - from) / kGroup * lanes + at, lanes,
              s.values + (low - s.base) / kGroup * columns, columns, s.out + at * columns, !begun[n]);
          begun[n] = true;
        });
      }
      if (s.packed[1]) add_left_out(p, s, batch, here.key_head, queries, from, to < p.keys ? to : p.keys, lanes);
    }

    float* lse = p.lse ? p.lse + (batch * p.heads + head) * p.queries + first : nullptr;
    for (int64_t i = 0; i < queries; ++i) {
      const float total = s.total[i];
      char* out = row_of(p, p.out, batch, first + i, head);
      if (total == 0.0f) {  // saw nothing; a row with a NaN has a NaN here
        std::memset(out, 0, p.width * bytes_of(p.type));
        if (lse) lse[i] = -__builtin_inff();
        continue;
      }
      Pack::write(p.type, s.out + i * columns, (p.dropout ? p.keep_scale : 1.0f) / total, p.width, out);
      if (lse) lse[i] = s.top[i] + std::log(total);
    }
  }

  // What values that are not finite add, to the queries that see them.
  static __attribute__((noinline, cold)) void add_left_out(
      const AttentionProblem& p, Scratch& scratch, int64_t batch, int64_t key_head, int64_t queries, int64_t from,
      int64_t to, int64_t lanes) {
    for (int64_t j = from; j < to; ++j) {
      if (!scratch.left_out[j - scratch.base]) continue;
      const Word* weights = scratch.weights + (j - from) / kGroup * lanes;
      for (int64_t i = 0; i < queries; ++i)
        if (scratch.mask->lane_sees(i, j))
          Pack::add_row(p.type, row_of(p, p.value, batch, j, key_head), p.width, Pack::element(weights + i, (j - from) % kGroup),
                        scratch.out + i * round_up<V::width>(p.width));
    }
  }

  // Scores of keys [from, to) for the vectors that have to do with them, −infinity where hidden; the running maximum, and
  // what it makes of the sums so far.
  static void score_tile(
      const AttentionProblem& p, Scratch& s, RowPrefetcher& ahead, int vectors, int64_t from, int64_t to) {
    const int64_t lanes = vectors * V::width;
    std::memcpy(s.rescale, s.top, lanes * sizeof(float));
    for (int64_t key = from; key < to; key += kKeyBlock) {
      int first, after;
      s.mask->reaching(key, vectors, first, after);
      float* scores = s.scores + (key - from) * lanes;
      ahead.step();
      if (after - first == 1) score_block<1>(p, s, lanes, first, key, scores);
      if (after - first == 2) score_block<2>(p, s, lanes, first, key, scores);
      if (after - first == 3) score_block<3>(p, s, lanes, first, key, scores);
      if constexpr (kVectors >= 4)
        if (after - first == 4) score_block<4>(p, s, lanes, first, key, scores);
    }
    for (int64_t at = 0; at < lanes; at += V::width) {
      // A NaN among the scores may have become the maximum; its weights become NaN by themselves.
      const Float rescale = exp<Isa, 5>(V::subtract(V::load(s.rescale + at), V::load(s.top + at)));
      V::store(s.rescale + at, rescale);
      V::store(s.total + at, V::multiply(V::load(s.total + at), rescale));
    }
  }

  // The same for a block of keys and NV vectors from `first`, without the sums.
  template <int NV>
  static __attribute__((noinline)) void score_block(
      const AttentionProblem& p, Scratch& s, int64_t lanes, int first, int64_t key, float* scores) {
    const int64_t depth = p.width / kGroup, at = first * V::width;
    const bool partial = s.mask->classify(key, key + kKeyBlock) != TileClass::full;
    multiply_rows<Isa, Word, NV, Rows::by_rows, kLeastRows<Isa, NV>>(
        kKeyBlock, depth, s.keys + (key - s.base) * depth, depth, s.queries + at, lanes,
        [&]<int MR>(int64_t row, Float(&tile)[MR][NV]) __attribute__((always_inline)) {
          // Loaded here, for the product needs all registers.
          const Float scale = V::set(p.scale);
          Float top[NV];
#pragma GCC unroll 4
          for (int n = 0; n < NV; ++n) top[n] = V::load(s.top + at + n * V::width);
          float* to = scores + row * lanes + at;
#pragma GCC unroll 8
          for (int m = 0; m < MR; ++m)
#pragma GCC unroll 4
            for (int n = 0; n < NV; ++n) {
              tile[m][n] = V::multiply(tile[m][n], scale);
              V::store(to + m * lanes + n * V::width, tile[m][n]);
            }
          if (partial) {
            for (int m = 0; m < MR; ++m, to += lanes)
#pragma GCC unroll 4
              for (int n = 0; n < NV; ++n) {
                const Float score = V::select(
                    s.mask->sees(first + n, key + row + m), V::load(to + n * V::width), V::set(-__builtin_inff()));
                top[n] = V::maximum(top[n], score);
                V::store(to + n * V::width, score);
              }
          } else {
#pragma GCC unroll 8
            for (int m = 0; m < MR; ++m)
#pragma GCC unroll 4
              for (int n = 0; n < NV; ++n) top[n] = V::maximum(top[n], tile[m][n]);
          }
#pragma GCC unroll 4
          for (int n = 0; n < NV; ++n) V::store(s.top + at + n * V::width, top[n]);
        });
  }

  // Sums so far of the queries of `rows` lanes from `at`.
  static void rescale_out(Scratch& s, int64_t at, int64_t rows, int64_t columns) {
    for (int64_t i = at; i < at + rows; ++i) {
      if (s.rescale[i] == 1.0f) continue;
      const Float factor = V::set(s.rescale[i]);
      float* out = s.out + i * columns;
      for (int64_t c = 0; c < columns; c += V::width) V::store(out + c, V::multiply(V::load(out + c), factor));
    }
  }

  // Weights of vector n from scores of keys [low, high) of the tile at `from`, their sums, dropout (which the sums do not
  // know), and words for the product with the values.
  template <bool Dropout>
  static void weigh(
      const AttentionProblem& p, Scratch& s, int64_t batch, int64_t head, int64_t first, int n, int64_t lanes,
      int64_t from, int64_t low, int64_t high) {
    constexpr int kRows = 4;
    const int64_t at = n * V::width;
    const Float top = V::load(s.top + at);
    Float totals[2] = {V::load(s.total + at), V::zero()};
    for (int64_t row = low - from; row < high - from; row += kRows) {
      Float weight[kRows];
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        weight[r] = exp<Isa, kExpDegree>(V::subtract(V::load(s.scores + (row + r) * lanes + at), top));
        totals[r % 2] = V::add(totals[r % 2], weight[r]);
      }
      if constexpr (Dropout) {
        typename V::Mask dropped[4];
        keep_masks<Isa>(p, batch, head, first + at, from + row, dropped);
        for (int r = 0; r < 4; ++r) weight[r] = V::select(dropped[r], V::zero(), weight[r]);
      }
      for (int r = 0; r < kRows; r += kGroup) {
        Word* words = s.weights + (row + r) / kGroup * lanes + at;
        if constexpr (kGroup == 2)
          V::store_pairs(words, weight[r], weight[r + 1]);
        else
          V::store(words, weight[r]);
      }
    }
    V::store(s.total + at, V::add(totals[0], totals[1]));
  }
};

}  // namespace gptface
