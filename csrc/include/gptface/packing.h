// Operands for the micro-kernels: words of float32 or bfloat16 pairs from matrices of any stride and dtype; and results
// back into the dtype.
//
// The last dimension of the source is contiguous. Padding is zeros, so what is added to a sum by it is nothing.
#pragma once

#include <gptface/microkernel.h>

namespace gptface {

// A row as words: `columns` elements, then zeros up to `padded` words.
template <class Isa, class Element>
GPTFACE_INLINE void pack_row(const Element* source, int64_t columns, int64_t padded, float* words) {
  using V = Simd<Isa>;
  int64_t c = 0;
  for (; c + V::width <= columns; c += V::width) {
    if constexpr (sizeof(Element) == 4)
      V::store(words + c, V::load(source + c));
    else if constexpr (__is_same(Element, BFloat16))
      V::store(words + c, V::load_bfloat16(source + c));
    else
      V::store(words + c, V::load_half(source + c));
  }
  for (; c < columns; ++c) words[c] = to_float<Isa>(source[c]);
  for (; c < padded; ++c) words[c] = 0.0f;
}

template <class Isa, class Element>
GPTFACE_INLINE void pack_row(const Element* source, int64_t columns, int64_t padded, BFloat16Pair* words) {
  if constexpr (__is_same(Element, BFloat16)) {
    std::memcpy(words, source, columns * sizeof(BFloat16));
  } else {
    int64_t c = 0;
    if constexpr (sizeof(Element) == 4)
      for (; c + Simd<Isa>::width <= columns; c += Simd<Isa>::width)
        Simd<Isa>::store_bfloat16(reinterpret_cast<BFloat16*>(words) + c, Simd<Isa>::load(source + c));
    for (; c < columns; ++c) {
      const BFloat16 rounded = to_bfloat16<Isa>(to_float<Isa>(source[c]));
      std::memcpy(reinterpret_cast<char*>(words) + c * sizeof(rounded), &rounded, sizeof(rounded));
    }
  }
  std::memset(reinterpret_cast<char*>(words) + columns * sizeof(BFloat16), 0,
              padded * sizeof(BFloat16Pair) - columns * sizeof(BFloat16));
}

// Depth along the columns, rows as they lie: words[r * stride + k], k < stride.
template <class Isa, class Word, class Element>
GPTFACE_INLINE void pack_rows(
    const Element* source, int64_t source_stride, int64_t rows, int64_t columns, int64_t padded_rows, int64_t stride,
    Word* words) {
  for (int64_t r = 0; r < rows; ++r) pack_row<Isa>(source + r * source_stride, columns, stride, words + r * stride);
  std::memset(words + rows * stride, 0, (padded_rows - rows) * stride * sizeof(Word));
}

// Depth along the rows: words[(r / group) * stride + c], a word holding `group` rows of one column.
template <class Isa, class Element>
GPTFACE_INLINE void pack_depth(
    const Element* source, int64_t source_stride, int64_t rows, int64_t columns, int64_t padded_rows, int64_t stride,
    float* words) {
  pack_rows<Isa>(source, source_stride, rows, columns, padded_rows, stride, words);
}

// The columns of two rows as pairs. `high` may be null: zeros then.
template <class Isa>
GPTFACE_INLINE void interleave(const BFloat16* low, const BFloat16* high, int64_t columns, BFloat16Pair* words) {
  int64_t c = 0;
#if defined(__AVX512BF16__)
  if (high) {
    for (; c + 16 <= columns; c += 16) {
      const __m512i first = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(low + c)));
      const __m512i second = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(high + c)));
      _mm512_storeu_si512(words + c, _mm512_or_si512(first, _mm512_slli_epi32(second, 16)));
    }
  }
#endif
  for (; c < columns; ++c) words[c] = {low[c], high ? high[c] : BFloat16{0}};
}

template <class Isa>
GPTFACE_INLINE void pack_depth(
    const BFloat16* source, int64_t source_stride, int64_t rows, int64_t columns, int64_t padded_rows, int64_t stride,
    BFloat16Pair* words) {
  for (int64_t r = 0; r < padded_rows; r += 2, words += stride) {
    if (r >= rows) {
      std::memset(words, 0, stride * sizeof(BFloat16Pair));
      continue;
    }
    const BFloat16* low = source + r * source_stride;
    interleave<Isa>(low, r + 1 < rows ? low + source_stride : nullptr, columns, words);
    std::memset(words + columns, 0, (stride - columns) * sizeof(BFloat16Pair));
  }
}

// And back: factor · source, rounded to the dtype of the result.
template <class Isa, class Element>
GPTFACE_INLINE void write_row(const float* source, float factor, int64_t columns, Element* result) {
  using V = Simd<Isa>;
  int64_t c = 0;
  for (; c + V::width <= columns; c += V::width) {
    const auto value = V::multiply(V::load(source + c), V::set(factor));
    if constexpr (__is_same(Element, float))
      V::store(result + c, value);
    else if constexpr (__is_same(Element, BFloat16))
      V::store_bfloat16(result + c, value);
    else
      V::store_half(result + c, value);
  }
  for (; c < columns; ++c) {
    const float value = source[c] * factor;
    if constexpr (__is_same(Element, float))
      result[c] = value;
    else if constexpr (__is_same(Element, BFloat16))
      result[c] = to_bfloat16<Isa>(value);
    else
      result[c] = to_half<Isa>(value);
  }
}

// Whether rows hold no NaN and no infinity: x · 0 is 0 for all other x. Four sums, for the latency of one.
template <class Isa, class Element>
GPTFACE_INLINE bool all_finite(const Element* rows, int64_t stride, int64_t count, int64_t columns) {
  using V = Simd<Isa>;
  typename V::Float sums[4] = {V::zero(), V::zero(), V::zero(), V::zero()};
  float rest = 0.0f;
  for (int64_t r = 0; r < count; ++r, rows += stride) {
    int64_t c = 0;
    for (int sum = 0; c + V::width <= columns; c += V::width, sum = (sum + 1) % 4) {
      typename V::Float x;
      if constexpr (sizeof(Element) == 4)
        x = V::load(rows + c);
      else if constexpr (__is_same(Element, BFloat16))
        x = V::load_bfloat16(rows + c);
      else
        x = V::load_half(rows + c);
      sums[sum] = V::multiply_add(x, V::zero(), sums[sum]);
    }
    for (; c < columns; ++c) rest += to_float<Isa>(rows[c]) * 0.0f;
  }
  const auto sum = V::add(V::add(sums[0], sums[1]), V::add(sums[2], sums[3]));
  return V::bits(V::not_less(sum, V::set(1.0f))) == 0 && rest == 0.0f;
}

// Zeros in place of one row of an operand that pack_depth made.
GPTFACE_INLINE void clear_row(int64_t row, int64_t stride, float* words) {
  std::memset(words + row * stride, 0, stride * sizeof(float));
}

GPTFACE_INLINE void clear_row(int64_t row, int64_t stride, BFloat16Pair* words) {
  for (int64_t c = 0; c < stride; ++c) {
    BFloat16Pair& pair = words[row / 2 * stride + c];
    (row % 2 == 0 ? pair.low : pair.high) = BFloat16{0};
  }
}

// words[k * stride + r] = rows[r * row_stride + k]: the transpose of a matrix of words; both counts multiples of four.
template <class Word>
GPTFACE_INLINE void transpose_words(
    const Word* source, int64_t row_stride, int64_t rows, int64_t depth, int64_t stride, Word* words) {
  static_assert(sizeof(Word) == 4);
  typedef int32_t Four __attribute__((vector_size(16)));
  for (int64_t r = 0; r < rows; r += 4)
    for (int64_t k = 0; k < depth; k += 4) {
      Four a, b, c, d;
      const Word* from = source + r * row_stride + k;
      std::memcpy(&a, from, 16);
      std::memcpy(&b, from + row_stride, 16);
      std::memcpy(&c, from + 2 * row_stride, 16);
      std::memcpy(&d, from + 3 * row_stride, 16);
      const Four ab_low = __builtin_shufflevector(a, b, 0, 4, 1, 5), ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
      const Four cd_low = __builtin_shufflevector(c, d, 0, 4, 1, 5), cd_high = __builtin_shufflevector(c, d, 2, 6, 3, 7);
      const Four row0 = __builtin_shufflevector(ab_low, cd_low, 0, 1, 4, 5);
      const Four row1 = __builtin_shufflevector(ab_low, cd_low, 2, 3, 6, 7);
      const Four row2 = __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5);
      const Four row3 = __builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7);
      Word* to = words + k * stride + r;
      std::memcpy(to, &row0, 16);
      std::memcpy(to + stride, &row1, 16);
      std::memcpy(to + 2 * stride, &row2, 16);
      std::memcpy(to + 3 * stride, &row3, 16);
    }
}

}  // namespace gptface
