// Codes and rows as the micro-kernels want them, moved by the centre and, for the cosine metric, scaled to unit length.
#pragma once

#include <limits>

#include <gptface/packing.h>
#include <gptface/vq_score.h>

namespace gptface {

// Words of depth in whole numbers of which panels come: what a transpose takes at once, or a tile.
template <class Isa>
inline constexpr int kVQWordsDeep = 4;
template <>
inline constexpr int kVQWordsDeep<Amx> = 16;
template <>
inline constexpr int kVQWordsDeep<EmulatedAmx> = 16;
template <>
inline constexpr int kVQWordsDeep<EmulatedAmxAvx512Bf16> = 16;

template <class Isa, class Word>
struct VQPack {
  using V = Simd<Isa>;
  using Sums = ExactSums<Isa>;
  static constexpr int kVectors = 3;  // a tile's columns; with them every instruction set has tiles of at least four rows
  static constexpr int kPanel = kVectors * V::width;
  static constexpr int kGroup = Arithmetic<Isa, Word>::group;

  static GPTFACE_INLINE int64_t multiple(int64_t n, int64_t of) { return (n + of - 1) / of * of; }
  static GPTFACE_INLINE int64_t depth(const VQProblem& problem) { return (problem.width + kGroup - 1) / kGroup; }
  static GPTFACE_INLINE int64_t padded_depth(const VQProblem& problem) { return multiple(depth(problem), kVQWordsDeep<Isa>); }
  // Rows of a block lie a stride apart that is no power of two: eight rows at once must not share a few cache sets.
  static GPTFACE_INLINE int64_t stride(const VQProblem& problem) {
    const int64_t lines = multiple(depth(problem), 16) / 16;
    return 16 * (lines > 2 && lines % 2 == 0 ? lines + 1 : lines);
  }

  static int64_t panel_words(const VQProblem& problem) { return padded_depth(problem) * kPanel; }

  static GPTFACE_INLINE int64_t moved_bytes(const VQProblem& problem) {
    return multiple(problem.width, 16) * static_cast<int64_t>(sizeof(float));
  }
  static int64_t pack_scratch(const VQProblem& problem) {
    return moved_bytes(problem) + kPanel * padded_depth(problem) * static_cast<int64_t>(sizeof(Word));
  }

  static GPTFACE_INLINE bool finite(const float* values, int64_t width) {
    auto sum = V::zero();  // of zeros, unless one is not finite
    int64_t k = 0;
    for (; k + V::width <= width; k += V::width) sum = V::multiply_add(V::load(values + k), V::zero(), sum);
    float lanes[V::width], total = 0.0f;
    V::store(lanes, sum);
    for (int i = 0; i < V::width; ++i) total += lanes[i];
    for (; k < width; ++k) total += values[k] * 0.0f;
    return total == 0.0f;
  }

  // moved = factor · values − centre: without a factor one rounding, with it two of float64 and one.
  static GPTFACE_INLINE void move(
      const float* values, const float* centre, double factor, int64_t width, float* moved) {
    if (factor == 1.0) {
      for (int64_t k = 0; k < width; ++k) moved[k] = values[k] - centre[k];
    } else {
      for (int64_t k = 0; k < width; ++k) moved[k] = static_cast<float>(values[k] * factor - centre[k]);
    }
  }

  static GPTFACE_INLINE double unit_factor(const float* values, int64_t width) {
    const double square = Sums::product(values, values, width);
    return square > 0.0 ? 1.0 / std::sqrt(square) : 1.0;
  }

  static void sum_codes(const VQProblem& problem, int64_t group, int64_t begin, int64_t end, VQCodeSums& sums) {
    const int64_t width = problem.width;
    for (int64_t code = begin; code < end; ++code) {
      const float* values = problem.codebook + (group * problem.codes + code) * width;
      if (!finite(values, width)) continue;
      const double square = Sums::product(values, values, width);
      const double factor = problem.metric == VQMetric::cosine && square > 0.0 ? 1.0 / std::sqrt(square) : 1.0;
      Sums::add_scaled(values, factor, width, sums.sum);
      sums.squares += square * factor * factor;
      ++sums.number;
    }
  }

  // The norm of what rounding to words took from `moved`. Summed in float64: its squares may leave float32.
  static GPTFACE_INLINE double residual(const float* moved, const Word* words, int64_t width) {
    if constexpr (kGroup == 1) return 0.0;
    constexpr int64_t kStretch = 64;
    float rounded[kStretch];
    const auto* source = reinterpret_cast<const BFloat16*>(words);
    double square = 0.0;
    for (int64_t k = 0; k < width; k += kStretch) {
      const int64_t number = width - k < kStretch ? width - k : kStretch;
      pack_row<Isa>(source + k, number, number, rounded);
      square += Sums::squared_distance(moved + k, rounded, number);
    }
    return std::sqrt(square);
  }

  // Fills one panel of codes.
  static VQNorms pack_panel(
      const VQProblem& problem, VQPackedGroup& packed, int64_t group, int64_t panel, std::byte* scratch) {
    const int64_t width = problem.width, padded = padded_depth(problem), first = panel * kPanel;
    float* moved = reinterpret_cast<float*>(scratch);
    Word* rows = reinterpret_cast<Word*>(scratch + moved_bytes(problem));
    float* bias = packed.bias + first;
    VQNorms largest{0.0, 0.0};
    for (int64_t n = 0; n < kPanel; ++n) {
      const float* code = problem.codebook + (group * problem.codes + first + n) * width;
      const bool there = first + n < problem.codes, usable = there && finite(code, width);
      if (!usable) {
        std::memset(rows + n * padded, 0, padded * sizeof(Word));
        bias[n] = there ? kVQUnusable : -std::numeric_limits<float>::infinity();
        continue;
      }
      move(code, packed.centre, problem.metric == VQMetric::cosine ? unit_factor(code, width) : 1.0, width, moved);
      const double square = Sums::product(moved, moved, width), norm = std::sqrt(square);
      bias[n] = problem.metric == VQMetric::euclidean ? static_cast<float>(-0.5 * square) : 0.0f;
      pack_row<Isa>(moved, width, padded, rows + n * padded);
      const double lost = residual(moved, rows + n * padded, width);
      largest.norm = norm > largest.norm ? norm : largest.norm;
      largest.residual = lost <= largest.residual ? largest.residual : lost;
    }
    Word* words = reinterpret_cast<Word*>(packed.words) + panel * panel_words(problem);
    transpose_words(rows, padded, kPanel, padded, kPanel, words);
    return largest;
  }

  // One row of x as float32, as it was given; no copy where it is such a row already.
  template <class Element>
  static GPTFACE_INLINE const float* given_row(const Element* row, int64_t column_stride, int64_t width, float* buffer) {
    if (column_stride != 1) {
      for (int64_t k = 0; k < width; ++k) buffer[k] = to_float<Isa>(row[k * column_stride]);
      return buffer;
    }
    if constexpr (__is_same(Element, float)) return row;
    pack_row<Isa>(row, width, width, buffer);
    return buffer;
  }
  static GPTFACE_INLINE const float* given_row(
      const VQProblem& problem, int64_t group, int64_t row, float* buffer) {
    const int64_t offset = group * problem.group_stride + row * problem.row_stride;
    switch (problem.type) {
      case ElementType::bfloat16:
        return given_row(static_cast<const BFloat16*>(problem.x) + offset, problem.column_stride, problem.width, buffer);
      case ElementType::float16:
        return given_row(static_cast<const Half*>(problem.x) + offset, problem.column_stride, problem.width, buffer);
      default:
        return given_row(static_cast<const float*>(problem.x) + offset, problem.column_stride, problem.width, buffer);
    }
  }

  // What is known of a row beside its words.
  struct Row {
    double norm;      // as it was moved, before it became words
    double residual;  // the norm of what rounding to words took from it
    float outside;    // what the tile's score lacks of the code's own: −infinity for a row with a NaN or an infinity
    bool usable;
  };

  static GPTFACE_INLINE Row pack_x(
      const VQProblem& problem, const VQPackedGroup& packed, const float* given, float* moved, int64_t stride,
      Word* words) {
    const int64_t width = problem.width;
    if (!finite(given, width)) {
      std::memset(words, 0, stride * sizeof(Word));
      return {0.0, 0.0, -std::numeric_limits<float>::infinity(), false};
    }
    const float* source = given;
    double outside;
    if (problem.metric == VQMetric::euclidean) {
      move(given, packed.centre, 1.0, width, moved);
      source = moved;
    } else if (problem.metric == VQMetric::cosine) {
      const double factor = unit_factor(given, width);
      for (int64_t k = 0; k < width; ++k) moved[k] = static_cast<float>(given[k] * factor);
      source = moved;
    }
    pack_row<Isa>(source, width, stride, words);
    const double square = Sums::product(source, source, width);
    if (problem.metric == VQMetric::euclidean)
      outside = -0.5 * square;
    else
      outside = Sums::product(source, packed.centre, width);
    return {std::sqrt(square), residual(source, words, width), static_cast<float>(outside), true};
  }
};

}  // namespace gptface
