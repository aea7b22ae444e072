// Masked attention of few queries, forward: one task is one chunk of the keys of one key head, with all rows (queries of
// all heads of the group) that read it.
//
// Keys and values are multiplied as they lie in memory. A score is a product of two rows along the width: as many of
// them as a vector has lanes accumulate side by side (rows times keys), and one transposing sum makes a vector of scores of
// them. That sum costs as much as sixteen more elements of the width, and saves both the packing of keys and the empty
// lanes of the other kernels, whose lanes are queries. Values are read once more, each with the weights of all rows.
//
// Keys come in tiles that stay in the first-level cache while blocks of up to eight rows pass over them; a tile that no row
// sees is not read. The weights of a chunk wait in the cache for its maximum, so nothing is rescaled within one.
//
// A hidden weight is 0, but 0 · NaN is not: where sums come out not finite they are made again without the values that are
// not, which are then added to the rows that see them. So a row keeps its bits whatever stands where it does not look.
//
// Bound by the rate at which the cache or the memory delivers keys and values, from four rows on by the arithmetic.
#pragma once

#include <gptface/attention_few.h>
#include <gptface/attention_tiles.h>
#include <gptface/row_vectors.h>

namespace gptface {

template <class Isa, class Word>
struct AttentionFewQueries {
  using Pack = TensorRows<Isa, Word>;
  using V = Simd<Isa>;
  using Float = typename V::Float;
  using Product = Arithmetic<Isa, Word>;
  static constexpr int kGroup = Product::group;
  static constexpr int kStep = V::width * kGroup;  // elements of a vector of words
  static constexpr int kExpDegree = kGroup == 2 ? 4 : 5;
  static constexpr int kRows = 16;                 // that share a pass over the chunk
  static constexpr int kBlockRows = V::width < 8 ? V::width : 8;
  static constexpr int64_t kKeyTile = 64;
  // Rows that are asked for ahead of their use: the processor's prefetchers end at a page and miss strided rows. With 32
  // the cache of third level delivers twice as much as without (AMD EPYC, Zen 4).
  static constexpr int64_t kRowsAhead = 32;
  static constexpr int64_t kMostTiles = kFewChunkKeys / kKeyTile + 1;
  static constexpr int64_t kScores = kFewChunkKeys + kKeyTile;  // of a row, as long as tiles and vectors may be
  static constexpr float kNothingYet = -3e38f;
  using Stored = std::conditional_t<kGroup == 2, BFloat16, float>;  // of queries and weights

  // Keys of a chunk that a row sees: two intervals in order and apart, the second perhaps empty.
  struct Seen {
    int64_t begin[2], end[2];
    GPTFACE_INLINE bool any(int64_t from, int64_t to) const {
      return (begin[0] < to && from < end[0]) || (begin[1] < to && from < end[1]);
    }
    GPTFACE_INLINE bool all(int64_t from, int64_t to) const {
      return (begin[0] <= from && to <= end[0]) || (begin[1] <= from && to <= end[1]);
    }
    GPTFACE_INLINE bool one(int64_t key) const { return any(key, key + 1); }
  };

  struct Scratch {
    Seen* seen;        // (rows)
    int64_t* tiles;    // first keys of those that are read
    Stored* queries;   // (rows, padded width)
    float* scores;     // (rows, kScores), then weights
    Stored* weights;   // the same, rounded to what multiplies
    float* out;        // (rows, padded width)
    float *top, *total;
    int64_t base, count;  // the key of the first score; tiles
    int64_t padded;

    Scratch(const AttentionProblem& p, ScratchCursor& cursor) : base(0), count(0), padded(round_up<kStep>(p.width)) {
      seen = cursor.take<Seen>(kRows);
      tiles = cursor.take<int64_t>(kMostTiles);
      queries = cursor.take<Stored>(kRows * padded);
      scores = cursor.take<float>(kRows * kScores);
      if constexpr (kGroup == 2) weights = cursor.take<Stored>(kRows * kScores);
      else weights = scores;
      out = cursor.take<float>(kRows * padded);
      top = cursor.take<float>(kRows);
      total = cursor.take<float>(kRows);
    }
  };

  static int64_t scratch_bytes(const AttentionProblem& p, const FewQueriesPlan&) {
    ScratchCursor cursor{nullptr};
    Scratch(p, cursor);
    return cursor.used;
  }

  // What a task works on: rows of a key head and keys of a chunk. Row r is query r % queries of head r / queries.
  struct Place {
    int64_t batch, key_head, chunk, from, to, first, rows;

    GPTFACE_INLINE int64_t query(const AttentionProblem& p, int64_t r) const { return (first + r) % p.queries; }
    GPTFACE_INLINE int64_t head(const AttentionProblem& p, int64_t r) const {
      return key_head * p.group() + (first + r) / p.queries;
    }
  };

  static void task(const AttentionProblem& p, const FewQueriesPlan& plan, int64_t task, std::byte* memory) {
    ScratchCursor cursor{memory};
    Scratch scratch(p, cursor);
    Place here{};
    here.chunk = task % plan.chunks;
    here.key_head = task / plan.chunks % p.key_heads;
    here.batch = task / plan.chunks / p.key_heads;
    here.from = here.chunk * plan.chunk_keys;
    here.to = here.from + plan.chunk_keys < p.keys ? here.from + plan.chunk_keys : p.keys;
    const int64_t rows = p.queries * p.group();
    for (here.first = 0; here.first < rows; here.first += kRows) {
      here.rows = rows - here.first < kRows ? rows - here.first : kRows;
      Pack::with_elements(p.type, nullptr, [&](const auto* element) {
        run<std::remove_const_t<std::remove_pointer_t<decltype(element)>>>(p, plan, scratch, here);
      });
    }
  }

  template <class Element>
  static void run(const AttentionProblem& p, const FewQueriesPlan& plan, Scratch& s, const Place& here) {
    if (look(p, s, here)) {
      load_queries<Element>(p, s, here);
      for (int64_t t = 0; t < s.count; ++t) score_tile<Element>(p, s, here, t);
      for (int64_t r = 0; r < here.rows; ++r) weigh(s, here, r);
      std::memset(s.out, 0, here.rows * s.padded * sizeof(float));
      for (int64_t t = 0; t < s.count; ++t) add_values(p, s, here, t, values_of<Element>(p, s, here, t), p.value.row_stride);
      if (!all_finite<Isa>(s.out, s.padded, here.rows, p.width)) add_what_is_seen<Element>(p, s, here);
    } else {
      std::memset(s.out, 0, here.rows * s.padded * sizeof(float));
      for (int64_t r = 0; r < here.rows; ++r) s.top[r] = kNothingYet, s.total[r] = 0.0f;
    }
    for (int64_t r = 0; r < here.rows; ++r) {
      const float* out = s.out + r * s.padded;
      const int64_t head = here.head(p, r), query = here.query(p, r);
      if (plan.chunks == 1) {
        finish(p, here.batch, head, query, out, s.top[r], s.total[r]);
        continue;
      }
      float* share = share_of(p, plan, here.batch, head, query) + here.chunk * (p.width + 2);
      std::memcpy(share, out, p.width * sizeof(float));
      share[p.width] = s.top[r];
      share[p.width + 1] = s.total[r];
    }
  }

  static GPTFACE_INLINE float* share_of(
      const AttentionProblem& p, const FewQueriesPlan& plan, int64_t batch, int64_t head, int64_t query) {
    return plan.shares + ((batch * p.heads + head) * p.queries + query) * plan.chunks * (p.width + 2);
  }

  // A row from its sums over all that it sees.
  static void finish(
      const AttentionProblem& p, int64_t batch, int64_t head, int64_t query, const float* sums, float top, float total) {
    const bool nothing = total == 0.0f;  // a row with a NaN has a NaN here
    Pack::write(p.type, sums, nothing ? 0.0f : 1.0f / total, p.width, row_of(p, p.out, batch, query, head));
    if (p.lse)
      p.lse[(batch * p.heads + head) * p.queries + query] = nothing ? -__builtin_inff() : top + std::log(total);
  }

  // The rows of a head from the shares of all chunks.
  static void add_shares(const AttentionProblem& p, const FewQueriesPlan& plan, int64_t task) {
    const int64_t batch = task / p.heads, head = task % p.heads, size = p.width + 2;
    for (int64_t query = 0; query < p.queries; ++query) {
      float* first = share_of(p, plan, batch, head, query);
      float top = kNothingYet, total = 0.0f;
      for (int64_t c = 0; c < plan.chunks; ++c) top = first[c * size + p.width] > top ? first[c * size + p.width] : top;
      for (int64_t c = 0; c < plan.chunks; ++c) {
        const float* share = first + c * size;
        if (share[p.width + 1] == 0.0f && c > 0) continue;  // saw nothing
        const float factor = std::exp(share[p.width] - top);
        total += factor * share[p.width + 1];
        // Eight columns at a time, of which every width is a multiple.
        for (int64_t column = 0; column < p.width; column += 8)
#pragma GCC unroll 8
          for (int64_t i = column; i < column + 8; ++i) first[i] = c == 0 ? factor * share[i] : first[i] + factor * share[i];
      }
      finish(p, batch, head, query, first, top, total);
    }
  }

  // What the rows see of the chunk, and which tiles are to be read; false where it is nothing.
  static bool look(const AttentionProblem& p, Scratch& s, const Place& here) {
    int64_t any_begin = here.to, any_end = here.from;
    for (int64_t r = 0; r < here.rows; ++r) {
      Seen& seen = s.seen[r];
      seen = {{here.from, here.to}, {here.to, here.to}};
      if (p.intervals) {
        const int32_t* interval =
            p.intervals + here.batch * p.interval_batch_stride + here.query(p, r) * p.interval_count * 2;
        for (int k = 0; k < p.interval_count; ++k, interval += 2) {
          const int64_t begin = interval[0] > here.from ? interval[0] : here.from,
                        end = interval[1] < here.to ? interval[1] : here.to;
          seen.begin[k] = begin < end ? begin : here.to;
          seen.end[k] = begin < end ? end : here.to;
        }
        if (seen.begin[1] < seen.begin[0]) {
          const int64_t begin = seen.begin[0], end = seen.end[0];
          seen.begin[0] = seen.begin[1], seen.end[0] = seen.end[1];
          seen.begin[1] = begin, seen.end[1] = end;
        }
        if (seen.begin[1] <= seen.end[0]) {
          seen.end[0] = seen.end[1] > seen.end[0] ? seen.end[1] : seen.end[0];
          seen.begin[1] = seen.end[1] = here.to;
        }
      }
      if (seen.begin[0] >= seen.end[0]) continue;
      any_begin = seen.begin[0] < any_begin ? seen.begin[0] : any_begin;
      const int64_t end = seen.begin[1] < seen.end[1] ? seen.end[1] : seen.end[0];
      any_end = end > any_end ? end : any_end;
    }
    s.base = any_begin;
    s.count = 0;
    for (int64_t key = any_begin; key < any_end; key += kKeyTile) {
      const int64_t to = key + kKeyTile < any_end ? key + kKeyTile : any_end;
      bool any = false;
      for (int64_t r = 0; r < here.rows && !any; ++r) any = s.seen[r].any(key, to);
      if (any) s.tiles[s.count++] = key;
    }
    s.tiles[s.count] = any_end;
    return s.count > 0;
  }

  // The key after the last of tile t.
  static GPTFACE_INLINE int64_t tile_end(const Scratch& s, int64_t t) {
    const int64_t end = s.tiles[s.count], full = s.tiles[t] + kKeyTile;
    return full < end ? full : end;
  }

  template <class Element>
  static void load_queries(const AttentionProblem& p, Scratch& s, const Place& here) {
    constexpr int kPadded = kBlockRows;  // blocks may run over the last row
    for (int64_t r = 0; r < here.rows; ++r) {
      const auto* row = reinterpret_cast<const Element*>(row_of(p, p.query, here.batch, here.query(p, r), here.head(p, r)));
      Stored* to = s.queries + r * s.padded;
      if constexpr (kGroup == 2)
        pack_row<Isa>(row, p.width, s.padded / 2, reinterpret_cast<BFloat16Pair*>(to));
      else
        pack_row<Isa>(row, p.width, s.padded, to);
    }
    const int64_t rows = here.rows == 1 || here.rows == 2 ? here.rows : round_up<kPadded>(here.rows);
    std::memset(s.queries + here.rows * s.padded, 0, (rows - here.rows) * s.padded * sizeof(Stored));
  }

  // body.template operator()<rows>(first) over blocks of rows: eight, or as few as hold the rest.
  template <class Body>
  static GPTFACE_INLINE void for_each_block(int64_t rows, Body&& body) {
    for (int64_t r = 0; r < rows;) {
      const int64_t left = rows - r;
      if constexpr (kBlockRows >= 8)
        if (left > 4) {
          body.template operator()<8>(r);
          r += 8;
          continue;
        }
      if (left > 2)
        body.template operator()<4>(r), r += 4;
      else if (left == 2)
        body.template operator()<2>(r), r += 2;
      else
        body.template operator()<1>(r), r += 1;
    }
  }

  // Scaled scores of a tile, −infinity where hidden and after its end.
  template <class Element>
  static void score_tile(const AttentionProblem& p, Scratch& s, const Place& here, int64_t t) {
    const int64_t from = s.tiles[t], to = tile_end(s, t);
    const auto* keys = reinterpret_cast<const Element*>(row_of(p, p.key, here.batch, from, here.key_head));
    float* scores = s.scores + (from - s.base);
    for_each_block(here.rows, [&]<int RB>(int64_t r) __attribute__((always_inline)) {
      score_block<RB, Element>(
          p, s.queries + r * s.padded, s.padded, keys, to - from, r == 0 ? kRowsAhead * p.key.row_stride : 0,
          scores + r * kScores);
    });
    const int64_t padded = round_up<V::width>(to - from);
    for (int64_t r = 0; r < here.rows; ++r) {
      const Seen& seen = s.seen[r];
      if (padded == to - from && seen.all(from, to)) continue;
      float* row = scores + r * kScores;
      const auto hide = [&](int64_t begin, int64_t end) __attribute__((always_inline)) {
        for (int64_t j = begin > from ? begin : from; j < end; ++j) row[j - from] = -__builtin_inff();
      };
      hide(from, seen.begin[0] < to ? seen.begin[0] : to);
      hide(seen.end[0], seen.begin[1] < to ? seen.begin[1] : to);
      hide(seen.begin[1] < seen.end[1] ? seen.end[1] : to, from + padded);
    }
  }

  template <int RB, class Element>
  static __attribute__((noinline)) void score_block(
      const AttentionProblem& p, const Stored* queries, int64_t padded, const Element* keys, int64_t count, int64_t ahead,
      float* scores) {
    using Keys = RowVectors<Isa, Word, Element>;
    using Queries = RowVectors<Isa, Word, Stored>;
    constexpr int KB = V::width / RB;
    const int64_t whole = p.width / kStep * kStep;
    const int rest = static_cast<int>(p.width - whole);
    const Float scale = V::set(p.scale);
    for (int64_t j = 0; j < count; j += KB) {
      const Element* key[KB];
#pragma GCC unroll 16
      for (int n = 0; n < KB; ++n) key[n] = keys + (j + n < count ? j + n : count - 1) * p.key.row_stride;
      Float sums[V::width];
#pragma GCC unroll 16
      for (int i = 0; i < V::width; ++i) sums[i] = V::zero();
      const auto add = [&](int64_t c, const auto& load) __attribute__((always_inline)) {
        typename Queries::Vector query[RB];
#pragma GCC unroll 8
        for (int m = 0; m < RB; ++m) query[m] = Queries::load(queries + m * padded + c);
#pragma GCC unroll 16
        for (int n = 0; n < KB; ++n) {
          if (ahead) __builtin_prefetch(key[n] + ahead + c);
          const auto words = load(key[n] + c);
#pragma GCC unroll 8
          for (int m = 0; m < RB; ++m) sums[m * KB + n] = Product::multiply_add(sums[m * KB + n], query[m], words);
        }
      };
      for (int64_t c = 0; c < whole; c += kStep)
        add(c, [](const Element* at) __attribute__((always_inline)) { return Keys::load(at); });
      if (rest)
        add(whole, [&](const Element* at) __attribute__((always_inline)) { return Keys::load_first(at, rest); });
      const Float found = V::multiply(V::sums(sums), scale);
      if constexpr (RB == 1) {
        V::store(scores + j, found);
      } else {
        alignas(64) float lanes[V::width];
        V::store(lanes, found);
#pragma GCC unroll 8
        for (int m = 0; m < RB; ++m) std::memcpy(scores + m * kScores + j, lanes + m * KB, KB * sizeof(float));
      }
    }
  }

  // Weights of a row from its scores, their maximum and sum.
  static void weigh(Scratch& s, const Place&, int64_t r) {
    float* scores = s.scores + r * kScores;
    Stored* weights = s.weights + r * kScores;
    const auto each = [&](const auto& body) __attribute__((always_inline)) {
      for (int64_t t = 0; t < s.count; ++t)
        for (int64_t at = s.tiles[t] - s.base, end = tile_end(s, t) - s.base; at < end; at += V::width) body(at);
    };
    Float tops = V::set(kNothingYet);
    each([&](int64_t at) __attribute__((always_inline)) { tops = V::maximum(tops, V::load(scores + at)); });
    // A NaN among the scores may have become the maximum; its weights become NaN by themselves.
    const float top = V::largest(tops);
    Float total = V::zero();
    each([&](int64_t at) __attribute__((always_inline)) {
      const Float weight = exp<Isa, kExpDegree>(V::subtract(V::load(scores + at), V::set(top)));
      total = V::add(total, weight);
      if constexpr (kGroup == 2) V::store_bfloat16(weights + at, weight);
      else V::store(weights + at, weight);
    });
    s.top[r] = top;
    s.total[r] = V::sum(total);
  }

  template <class Element>
  static GPTFACE_INLINE const Element* values_of(const AttentionProblem& p, const Scratch& s, const Place& here, int64_t t) {
    return reinterpret_cast<const Element*>(row_of(p, p.value, here.batch, s.tiles[t], here.key_head));
  }

  // out += weights · values of a tile, panels of columns by blocks of rows.
  template <class Element>
  static void add_values(
      const AttentionProblem& p, Scratch& s, const Place& here, int64_t t, const Element* values, int64_t stride) {
    const int64_t from = s.tiles[t], count = tile_end(s, t) - from;
    const Stored* weights = s.weights + (from - s.base);
    const int64_t steps = p.width / kStep;
    const int rest = static_cast<int>(p.width - steps * kStep);
    for_each_block(here.rows, [&]<int RB>(int64_t r) __attribute__((always_inline)) {
      constexpr int kMost = (V::registers >= 32 ? 16 : 8) / RB / kGroup;  // vectors of columns that fit the registers
      constexpr int kWidest = kMost < 1 ? 1 : kMost > 4 ? 4 : kMost;
      const auto panel = [&]<int NC>(int64_t step) __attribute__((always_inline)) {
        value_block<RB, NC, false, Element>(
            weights + r * kScores, values + step * kStep, stride, count, 0, r == 0 ? kRowsAhead * stride : 0,
            s.out + r * s.padded + step * kStep, s.padded);
      };
      for (int64_t step = 0; step < steps;) {
        const int64_t left = steps - step;
        if constexpr (kWidest >= 4)
          if (left >= 4) {
            panel.template operator()<4>(step);
            step += 4;
            continue;
          }
        if constexpr (kWidest >= 2)
          if (left >= 2) {
            panel.template operator()<2>(step);
            step += 2;
            continue;
          }
        panel.template operator()<1>(step);
        ++step;
      }
      if constexpr (V::width > 8)
        if (rest)
          value_block<RB, 1, true, Element>(
              weights + r * kScores, values + steps * kStep, stride, count, rest, 0,
              s.out + r * s.padded + steps * kStep, s.padded);
    });
  }

  template <int RB, int NC, bool Short, class Element>
  static __attribute__((noinline)) void value_block(
      const Stored* weights, const Element* values, int64_t stride, int64_t count, int rest, int64_t ahead, float* out,
      int64_t padded) {
    using Values = RowVectors<Isa, Word, Element>;
    const auto load = [&](const Element* at) __attribute__((always_inline)) {
      if constexpr (Short) return Values::load_first(at, rest);
      else return Values::load(at);
    };
    constexpr int kVectors = NC * kGroup;  // of sums in a row
    constexpr int kSets = RB * kVectors <= 4 ? 2 : 1;  // of sums, for the latency of one
    Float sums[kSets][RB][kVectors];
#pragma GCC unroll 2
    for (int set = 0; set < kSets; ++set)
#pragma GCC unroll 8
      for (int m = 0; m < RB; ++m)
#pragma GCC unroll 8
        for (int n = 0; n < kVectors; ++n) sums[set][m][n] = V::zero();

    const auto add = [&](int64_t j, Float(&to)[RB][kVectors]) __attribute__((always_inline)) {
      const Element* row = values + j * stride;
      if (ahead)
#pragma GCC unroll 8
        for (int n = 0; n < NC; ++n)
          for (int g = 0; g < kGroup; ++g) __builtin_prefetch(row + ahead + g * stride + n * kStep);
      decltype(load(row)) words[kVectors];
      if constexpr (kGroup == 1) {
#pragma GCC unroll 8
        for (int n = 0; n < NC; ++n) words[n] = load(row + n * kStep);
      } else {
        // Weights after the last key are 0.
        const Element* next = j + 1 < count ? row + stride : row;
#pragma GCC unroll 8
        for (int n = 0; n < NC; ++n) interleaved(load(row + n * kStep), load(next + n * kStep), words + 2 * n);
      }
#pragma GCC unroll 8
      for (int m = 0; m < RB; ++m) {
        const auto weight = Product::broadcast(reinterpret_cast<const Word*>(weights + m * kScores + j));
#pragma GCC unroll 8
        for (int n = 0; n < kVectors; ++n) to[m][n] = Product::multiply_add(to[m][n], weight, words[n]);
      }
    };
    int64_t j = 0;
    if constexpr (kSets == 2)
      for (; j + 2 * kGroup <= count; j += 2 * kGroup) {
        add(j, sums[0]);
        add(j + kGroup, sums[1]);
      }
    for (; j < count; j += kGroup) add(j, sums[0]);

#pragma GCC unroll 8
    for (int m = 0; m < RB; ++m) {
      if constexpr (kSets == 2)
#pragma GCC unroll 8
        for (int n = 0; n < kVectors; ++n) sums[0][m][n] = V::add(sums[0][m][n], sums[1][m][n]);
      if constexpr (kGroup == 2)
#pragma GCC unroll 8
        for (int n = 0; n < kVectors; n += 2) in_order(sums[0][m][n], sums[0][m][n + 1]);
#pragma GCC unroll 8
      for (int n = 0; n < kVectors; ++n) {
        float* at = out + m * padded + n * V::width;
        V::store(at, V::add(V::load(at), sums[0][m][n]));
      }
    }
  }

#if defined(__AVX512BF16__)
  // Thirty-two columns of two rows as pairs, in the order that two instructions give; and what undoes it to sums.
  static GPTFACE_INLINE void interleaved(__m512bh first, __m512bh second, __m512bh* words) {
    const __m512i a = reinterpret_cast<__m512i>(first), b = reinterpret_cast<__m512i>(second);
    words[0] = reinterpret_cast<__m512bh>(_mm512_unpacklo_epi16(a, b));
    words[1] = reinterpret_cast<__m512bh>(_mm512_unpackhi_epi16(a, b));
  }
  static GPTFACE_INLINE void in_order(__m512& low, __m512& high) {
    const __m512 first = _mm512_shuffle_f32x4(low, high, 0x44), second = _mm512_shuffle_f32x4(low, high, 0xEE);
    low = _mm512_shuffle_f32x4(first, first, 0xD8);
    high = _mm512_shuffle_f32x4(second, second, 0xD8);
  }
#endif

  // The sums again, first of the values that are finite, in the order of before.
  template <class Element>
  static __attribute__((noinline, cold)) void add_what_is_seen(const AttentionProblem& p, Scratch& s, const Place& here) {
    alignas(64) Element finite[kKeyTile * kFewWidth];
    std::memset(s.out, 0, here.rows * s.padded * sizeof(float));
    for (int64_t t = 0; t < s.count; ++t) {
      const Element* values = values_of<Element>(p, s, here, t);
      const int64_t from = s.tiles[t], count = tile_end(s, t) - from;
      bool left_out[kKeyTile];
      for (int64_t j = 0; j < count; ++j) {
        const Element* row = values + j * p.value.row_stride;
        left_out[j] = !all_finite<Isa>(row, 0, 1, p.width);
        if (left_out[j]) std::memset(finite + j * p.width, 0, p.width * sizeof(Element));
        else std::memcpy(finite + j * p.width, row, p.width * sizeof(Element));
      }
      add_values<Element>(p, s, here, t, finite, p.width);
      for (int64_t j = 0; j < count; ++j)
        for (int64_t r = 0; left_out[j] && r < here.rows; ++r)
          if (s.seen[r].one(from + j))
            Pack::add_row(p.type, reinterpret_cast<const char*>(values + j * p.value.row_stride), p.width,
                          to_float<Isa>(s.weights[r * kScores + from + j - s.base]), s.out + r * s.padded);
    }
  }
};

template <class Isa, class Word>
constexpr FewQueriesKernels make_few_queries_kernels() {
  using Few = AttentionFewQueries<Isa, Word>;
  return {Few::scratch_bytes, Few::task, Few::add_shares};
}

}  // namespace gptface
