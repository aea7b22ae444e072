// Rows of a tensor as operands without packing: vectors of words straight from where they lie.
#pragma once

#include <gptface/microkernel.h>

namespace gptface {

// Vectors of words from a row of a tensor as it lies; the last one of a row may be short.
template <class Isa, class Word, class Element>
struct RowVectors {
  using V = Simd<Isa>;
  static_assert(__is_same(Word, float));
  using Vector = typename V::Float;
  static constexpr int elements = V::width;

  static GPTFACE_INLINE Vector load(const Element* p) {
    if constexpr (__is_same(Element, float)) return V::load(p);
    else if constexpr (__is_same(Element, BFloat16)) return V::load_bfloat16(p);
    else return V::load_half(p);
  }
  static GPTFACE_INLINE Vector load_first(const Element* p, int count) {
    if constexpr (V::width > 8) return V::load_first(p, count);
    else return load(p);  // widths are multiples of eight: no row is short
  }
};

#if defined(__AVX512BF16__)
template <>
struct RowVectors<Avx512Bf16, BFloat16Pair, BFloat16> {
  using Vector = __m512bh;
  static constexpr int elements = 32;

  static GPTFACE_INLINE Vector load(const BFloat16* p) { return reinterpret_cast<__m512bh>(_mm512_loadu_si512(p)); }
  static GPTFACE_INLINE Vector load_first(const BFloat16* p, int count) {
    return reinterpret_cast<__m512bh>(_mm512_maskz_loadu_epi16(static_cast<__mmask32>((uint64_t{1} << count) - 1), p));
  }
};
#endif

}  // namespace gptface
