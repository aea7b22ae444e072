// What forward and backward of masked attention share: rows of queries in lanes, their mask, their randomness, scratch.
#pragma once

#include <type_traits>

#include <gptface/attention_problem.h>
#include <gptface/packing.h>
#include <gptface/scratch_cursor.h>
#include <gptface/vector_math.h>

namespace gptface {

enum class TileClass { skip, partial, full };

// The part that a task belongs to; before(part) tasks belong to the parts before it.
template <class Before>
GPTFACE_INLINE const AttentionPart& part_of_task(const AttentionProblem& p, int64_t task, Before&& before) {
  int64_t low = 0, high = p.part_count;
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    (before(p.parts[middle]) <= task ? low : high) = middle;
  }
  return p.parts[low];
}

// What each lane (query) of a panel sees: size[k] keys from low[k]. Lanes past the last query see nothing.
template <class Isa>
struct PanelMask {
  using V = Simd<Isa>;
  static constexpr int vectors = kTileVectors<Isa>;
  static constexpr int lanes = vectors * V::width;

  int32_t low[2][lanes], size[2][lanes];
  // Of each interval over the queries: where any begins and ends, and what is common to all.
  int64_t any_begin[2], any_end[2], all_begin[2], all_end[2];
  // Of each vector of queries: the whole blocks of keys that hold what any of its lanes sees, in order and apart.
  int64_t begin[2][vectors], end[2][vectors];
  int count;

  GPTFACE_INLINE void load(const AttentionProblem& problem, int64_t batch, int64_t first, int64_t queries) {
    count = problem.intervals ? problem.interval_count : 1;
    const int64_t keys = problem.keys;
    for (int k = 0; k < count; ++k) {
      all_begin[k] = 0, all_end[k] = keys;
      for (int n = 0; n < vectors; ++n) {
        int64_t least = keys, most = 0;
        for (int64_t i = n * V::width; i < (n + 1) * V::width; ++i) {
          int64_t from = 0, to = i < queries ? keys : 0;
          if (problem.intervals && i < queries) {
            const int32_t* interval = problem.intervals + batch * problem.interval_batch_stride +
                ((first + i) * problem.interval_count + k) * 2;
            from = interval[0] > 0 ? interval[0] : 0;
            to = interval[1] < keys ? interval[1] : keys;
            if (to < from) to = from = 0;
          }
          low[k][i] = static_cast<int32_t>(from);
          size[k][i] = static_cast<int32_t>(to - from);
          if (i >= queries) continue;
          if (from < to) {
            least = from < least ? from : least;
            most = to > most ? to : most;
          }
          all_begin[k] = from > all_begin[k] ? from : all_begin[k];
          all_end[k] = to < all_end[k] ? to : all_end[k];
        }
        begin[k][n] = least;
        end[k][n] = most;
      }
      any_begin[k] = keys, any_end[k] = 0;
      for (int n = 0; n < vectors; ++n) {
        any_begin[k] = begin[k][n] < any_begin[k] ? begin[k][n] : any_begin[k];
        any_end[k] = end[k][n] > any_end[k] ? end[k][n] : any_end[k];
      }
    }
    for (int n = 0; n < vectors; ++n) round_to_blocks(n);
  }

  // The first key that any query sees, and the last, plus one.
  GPTFACE_INLINE int64_t first() const { return count == 2 && any_begin[1] < any_begin[0] ? any_begin[1] : any_begin[0]; }
  GPTFACE_INLINE int64_t last() const { return count == 2 && any_end[1] > any_end[0] ? any_end[1] : any_end[0]; }

  // Whether vector n has to do with the block of keys from j.
  GPTFACE_INLINE bool reaches(int n, int64_t j) const {
    return (begin[0][n] <= j && j < end[0][n]) || (begin[1][n] <= j && j < end[1][n]);
  }

  // body(from, to) for the blocks of keys in [from, to) that vector n has to do with.
  template <class Body>
  GPTFACE_INLINE void for_each_range(int n, int64_t from, int64_t to, Body&& body) const {
    for (int k = 0; k < 2; ++k) {
      const int64_t first = begin[k][n] > from ? begin[k][n] : from, after = end[k][n] < to ? end[k][n] : to;
      if (first < after) body(first, after);
    }
  }

  GPTFACE_INLINE TileClass classify(int64_t from, int64_t to) const {
    bool seen = false;
    for (int k = 0; k < count; ++k) {
      if (all_begin[k] <= from && to <= all_end[k]) return TileClass::full;
      seen |= any_begin[k] < to && from < any_end[k];
    }
    return seen ? TileClass::partial : TileClass::skip;
  }

  // First and last vector, plus one, that have to do with the block of keys from j; none if the first is not before it.
  GPTFACE_INLINE void reaching(int64_t j, int used, int& first, int& after) const {
    first = used, after = 0;
    for (int n = 0; n < used; ++n)
      if (reaches(n, j)) {
        first = n < first ? n : first;
        after = n + 1;
      }
  }

  // Whether one lane sees key j.
  GPTFACE_INLINE bool lane_sees(int64_t lane, int64_t j) const {
    bool seen = false;
    for (int k = 0; k < count; ++k) seen |= static_cast<uint64_t>(j - low[k][lane]) < static_cast<uint64_t>(size[k][lane]);
    return seen;
  }

  // Which lanes of vector n see key j.
  GPTFACE_INLINE typename V::Mask sees(int n, int64_t j) const {
    const auto key = V::set(static_cast<int32_t>(j));
    const int at = n * V::width;
    auto mask = V::below(V::subtract(key, V::load(low[0] + at)), V::load(size[0] + at));
    if (count == 2)
      mask = V::either(mask, V::below(V::subtract(key, V::load(low[1] + at)), V::load(size[1] + at)));
    return mask;
  }

 private:
  GPTFACE_INLINE void round_to_blocks(int n) {
    if (count == 1) begin[1][n] = end[1][n] = 0;
    for (int k = 0; k < count; ++k) {
      if (begin[k][n] >= end[k][n]) {
        begin[k][n] = end[k][n] = 0;
        continue;
      }
      begin[k][n] = begin[k][n] / kKeyBlock * kKeyBlock;
      end[k][n] = (end[k][n] + kKeyBlock - 1) / kKeyBlock * kKeyBlock;
    }
    if (count == 1 || begin[1][n] >= end[1][n]) return;
    const bool first_empty = begin[0][n] >= end[0][n];
    if (first_empty || begin[1][n] < begin[0][n]) {
      const int64_t from = begin[0][n], to = end[0][n];
      begin[0][n] = begin[1][n], end[0][n] = end[1][n];
      begin[1][n] = from, end[1][n] = to;
    }
    if (!first_empty && begin[1][n] <= end[0][n]) {
      end[0][n] = end[1][n] > end[0][n] ? end[1][n] : end[0][n];
      begin[1][n] = end[1][n] = 0;
    }
  }
};

// Which lanes keep their weight for keys j … j + 3 (j a multiple of four); lane i is query first_query + i.
template <class Isa>
GPTFACE_INLINE void keep_masks(
    const AttentionProblem& problem, int64_t batch, int64_t head, int64_t first_query, int64_t j,
    typename Simd<Isa>::Mask (&dropped)[4]) {
  using V = Simd<Isa>;
  int32_t queries[V::width];
  for (int i = 0; i < V::width; ++i) queries[i] = static_cast<int32_t>(first_query + i);
  typename V::Int words[4];
  philox4x32_lanes<Isa>(
      static_cast<uint32_t>(j / 4), V::load(queries), static_cast<uint32_t>(head), static_cast<uint32_t>(batch),
      problem.seed_low, problem.seed_high, words);
  for (int w = 0; w < 4; ++w) dropped[w] = V::below(words[w], V::set(static_cast<int32_t>(problem.drop_below)));
}

GPTFACE_INLINE int64_t bytes_of(ElementType type) { return type == ElementType::float32 ? 4 : 2; }

// Where a row of a tensor begins; `batch`, `row` and `head` may be anything that numel allows, past 2^31 too.
GPTFACE_INLINE char* row_of(const AttentionProblem& p, const AttentionTensor& tensor, int64_t batch, int64_t row, int64_t head) {
  const int64_t offset = batch * tensor.batch_stride + row * tensor.row_stride + head * tensor.head_stride;
  return static_cast<char*>(tensor.data) + offset * bytes_of(p.type);
}

// Rows of a tensor of whatever dtype in the forms of packing.h. The kernels themselves know words only, so that they
// are compiled once for all dtypes that become the same words.
template <class Isa, class Word>
struct TensorRows {
  static constexpr bool kPairs = __is_same(Word, BFloat16Pair);

  template <class Body>
  static GPTFACE_INLINE void with_elements(ElementType type, const char* rows, Body&& body) {
    if constexpr (kPairs) {
      body(reinterpret_cast<const BFloat16*>(rows));
    } else {
      if (type == ElementType::float32)
        body(reinterpret_cast<const float*>(rows));
      else if (type == ElementType::bfloat16)
        body(reinterpret_cast<const BFloat16*>(rows));
      else
        body(reinterpret_cast<const Half*>(rows));
    }
  }

  static __attribute__((noinline)) void by_rows(
      ElementType type, const char* from, int64_t from_stride, int64_t rows, int64_t columns, int64_t padded_rows,
      int64_t stride, Word* words) {
    with_elements(type, from, [&](const auto* source) {
      pack_rows<Isa>(source, from_stride, rows, columns, padded_rows, stride, words);
    });
  }

  static __attribute__((noinline)) void by_depth(
      ElementType type, const char* from, int64_t from_stride, int64_t rows, int64_t columns, int64_t padded_rows,
      int64_t stride, Word* words) {
    with_elements(type, from, [&](const auto* source) {
      pack_depth<Isa>(source, from_stride, rows, columns, padded_rows, stride, words);
    });
  }

  // Queries across `lanes` columns, depth along the width; `scratch` holds them by rows on the way.
  static GPTFACE_INLINE void across(
      ElementType type, const char* from, int64_t from_stride, int64_t rows, int64_t width, int64_t lanes, Word* scratch,
      Word* words) {
    const int64_t depth = width / Arithmetic<Isa, Word>::group;
    by_rows(type, from, from_stride, rows, width, lanes, depth, scratch);
    transpose_words(scratch, depth, lanes, depth, lanes, words);
  }

  // Rows that are not finite, out of an operand that by_depth made, and into `left_out`, a byte a row; whether any is.
  //
  // A hidden weight is 0, but 0 · NaN is not: such rows must not stand in a product whose weights hide them from some.
  // What they add is added afterwards, to the rows that see them (add_row). Finite rows pay one look at the operand.
  static __attribute__((noinline)) bool leave_out(
      ElementType type, const char* from, int64_t from_stride, int64_t rows, int64_t columns, int64_t stride, Word* words,
      unsigned char* left_out) {
    bool finite = false;
    with_elements(type, from, [&](const auto* source) { finite = all_finite<Isa>(source, from_stride, rows, columns); });
    if (finite) return false;
    for (int64_t r = 0; r < rows; ++r)
      left_out[r] = leave_out_row(type, from + r * from_stride * bytes_of(type), r, columns, stride, words);
    return true;
  }

  // The same for row r of an operand, whose elements are at `row`.
  static __attribute__((noinline, cold)) bool leave_out_row(
      ElementType type, const char* row, int64_t r, int64_t columns, int64_t stride, Word* words) {
    bool finite = false;
    with_elements(type, row, [&](const auto* source) { finite = all_finite<Isa>(source, 0, 1, columns); });
    if (!finite) clear_row(r, stride, words);
    return !finite;
  }

  // sum += weight · row
  static __attribute__((noinline, cold)) void add_row(ElementType type, const char* row, int64_t columns, float weight, float* sum) {
    with_elements(type, row, [&](const auto* source) {
      for (int64_t c = 0; c < columns; ++c) sum[c] += weight * to_float<Isa>(source[c]);
    });
  }

  // The element `member` of a word.
  static GPTFACE_INLINE float element(const float* word, int64_t) { return *word; }
  static GPTFACE_INLINE float element(const BFloat16Pair* word, int64_t member) {
    return to_float<Isa>(member == 0 ? word->low : word->high);
  }

  // factor · row, rounded to the dtype.
  static __attribute__((noinline)) void write(
      ElementType type, const float* row, float factor, int64_t columns, char* to) {
    with_elements(type, to, [&](const auto* result) {
      write_row<Isa>(row, factor, columns, const_cast<std::remove_const_t<std::remove_pointer_t<decltype(result)>>*>(result));
    });
  }
};

// sum = first ? product : sum + product, for a tile of a product in registers.
template <class Isa, int MR, int NV>
GPTFACE_INLINE void accumulate(float* sum, int64_t stride, bool first, typename Simd<Isa>::Float (&tile)[MR][NV]) {
  using V = Simd<Isa>;
#pragma GCC unroll 16
  for (int m = 0; m < MR; ++m)
#pragma GCC unroll 4
    for (int n = 0; n < NV; ++n) {
      float* at = sum + m * stride + n * V::width;
      V::store(at, first ? tile[m][n] : V::add(V::load(at), tile[m][n]));
    }
}

// Rows that every tile of a product has at least, where both operands are the kernels' own and padded to it.
template <class Isa, int NV>
inline constexpr int kLeastRows = tile_rows<Isa>(NV) < kKeyBlock ? tile_rows<Isa>(NV) : kKeyBlock;

// result (rows, vectors * width) = or += a · b; b and the result have the same stride. `rows` is a multiple of four.
template <class Isa, class Word, Rows Layout>
__attribute__((noinline)) void multiply_into(
    int64_t rows, int64_t depth, const Word* a, int64_t a_stride, const Word* b, int64_t stride, float* result,
    bool first) {
  using V = Simd<Isa>;
  for_each_panel<Isa>(stride / V::width, [&]<int NV>(int64_t vector) {
    const int64_t column = vector * V::width;
    multiply_rows<Isa, Word, NV, Layout, 4>(
        rows, depth, a, a_stride, b + column, stride,
        [&]<int MR>(int64_t row, typename V::Float(&tile)[MR][NV]) __attribute__((always_inline)) {
          accumulate<Isa>(result + row * stride + column, stride, first, tile);
        });
  });
}

}  // namespace gptface
