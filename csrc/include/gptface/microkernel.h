// Register-blocked matrix products: a tile of MR rows by NV vectors accumulates in registers over the whole depth.
//
// Operands are made of 32-bit words. A word holds one float32, or two bfloat16 that are neighbours along the depth
// (the dimension that is summed over), so one loop serves both: per word of depth, load NV vectors of b, and for every
// row broadcast one word of a and multiply-add. packing.h makes such operands.
//
//   a   by rows:   word k of row m at a[m * stride + k]     (a matrix as it lies in memory, depth contiguous)
//       by depth:  word k of row m at a[k * stride + m]
//   b   word k of column n at b[k * stride + n], NV * width columns
//
// Lookup, attention and whatever comes share these; what happens to a finished tile is the caller's epilogue.
#pragma once

#include <gptface/simd.h>

namespace gptface {

// How words of an instruction set multiply. Specialised for each pair that has an instruction.
template <class Isa, class Word>
struct Arithmetic;

template <class Isa>
struct Arithmetic<Isa, float> {
  static constexpr int group = 1;  // elements in a word
  using V = Simd<Isa>;
  static GPTFACE_INLINE typename V::Float load(const float* p) { return V::load(p); }
  static GPTFACE_INLINE typename V::Float broadcast(const float* p) { return V::set(*p); }
  static GPTFACE_INLINE typename V::Float multiply_add(
      typename V::Float sum, typename V::Float a, typename V::Float b) {
    return V::multiply_add(a, b, sum);
  }
};

#if defined(__AVX512BF16__)
template <>
struct Arithmetic<Avx512Bf16, BFloat16Pair> {
  static constexpr int group = 2;
  using V = Simd<Avx512Bf16>;
  static GPTFACE_INLINE __m512bh load(const BFloat16Pair* p) {
    return reinterpret_cast<__m512bh>(_mm512_loadu_si512(p));
  }
  static GPTFACE_INLINE __m512bh broadcast(const BFloat16Pair* p) {
    int32_t bits;
    std::memcpy(&bits, p, sizeof(bits));
    return reinterpret_cast<__m512bh>(_mm512_set1_epi32(bits));
  }
  // Products are exact; the two are added in the order the instruction has, and results below 2^-126 become zero.
  static GPTFACE_INLINE V::Float multiply_add(V::Float sum, __m512bh a, __m512bh b) {
    return _mm512_dpbf16_ps(sum, a, b);
  }
};
#endif

enum class Rows { by_rows, by_depth };

// Rows of a tile of NV vectors: accumulators, NV vectors of b and one word of a have to fit the registers.
template <class Isa>
constexpr int tile_rows(int vectors) {
  const int room = (Simd<Isa>::registers - vectors - 1) / vectors;
  return room >= 8 ? 8 : room >= 4 ? 4 : room >= 2 ? 2 : 1;
}

// Vectors that a tile has at most, with four rows or more.
template <class Isa>
inline constexpr int kTileVectors = Simd<Isa>::registers >= 32 ? 4 : 3;

template <class Isa, class Word, int MR, int NV, Rows Layout>
GPTFACE_INLINE void multiply_tile(
    int64_t depth, const Word* a, int64_t a_stride, const Word* b, int64_t b_stride,
    typename Simd<Isa>::Float (&sums)[MR][NV]) {
  using V = Simd<Isa>;
  using Product = Arithmetic<Isa, Word>;
#pragma GCC unroll 16
  for (int m = 0; m < MR; ++m)
#pragma GCC unroll 4
    for (int n = 0; n < NV; ++n) sums[m][n] = V::zero();
  for (int64_t k = 0; k < depth; ++k) {
    decltype(Product::load(b)) columns[NV];
#pragma GCC unroll 4
    for (int n = 0; n < NV; ++n) columns[n] = Product::load(b + n * V::width);
#pragma GCC unroll 16
    for (int m = 0; m < MR; ++m) {
      const auto row = Product::broadcast(Layout == Rows::by_rows ? a + m * a_stride : a + m);
#pragma GCC unroll 4
      for (int n = 0; n < NV; ++n) sums[m][n] = Product::multiply_add(sums[m][n], row, columns[n]);
    }
    a += Layout == Rows::by_rows ? 1 : a_stride;
    b += b_stride;
  }
}

// a · b for `rows` rows, tile by tile: `epilogue(first_row, sums)` receives every finished tile in registers, as
// Float[MR][NV]. The last rows come in smaller tiles of no fewer than Least, of which `rows` is a multiple.
template <class Isa, class Word, int NV, Rows Layout, int Least = 1, int MR = tile_rows<Isa>(NV), class Epilogue>
GPTFACE_INLINE void multiply_rows(
    int64_t rows, int64_t depth, const Word* a, int64_t a_stride, const Word* b, int64_t b_stride,
    Epilogue&& epilogue, int64_t first = 0) {
  for (; first + MR <= rows; first += MR) {
    typename Simd<Isa>::Float sums[MR][NV];
    multiply_tile<Isa, Word, MR, NV, Layout>(
        depth, a + first * (Layout == Rows::by_rows ? a_stride : 1), a_stride, b, b_stride, sums);
    epilogue(first, sums);
  }
  if constexpr (MR > Least)
    if (first < rows)
      multiply_rows<Isa, Word, NV, Layout, Least, MR / 2>(rows, depth, a, a_stride, b, b_stride, epilogue, first);
}

// `vectors` columns of vectors in panels as wide as tiles may be and as even as can be (five are three and two, not
// four and one): body.template operator()<NV>(first_vector).
template <class Isa, class Body>
GPTFACE_INLINE void for_each_panel(int64_t vectors, Body&& body) {
  constexpr int64_t widest = kTileVectors<Isa>;
  for (int64_t first = 0, panels = (vectors + widest - 1) / widest; panels > 0; --panels) {
    const int64_t width = (vectors - first + panels - 1) / panels;
    if (width == 1) body.template operator()<1>(first);
    if (width == 2) body.template operator()<2>(first);
    if (width == 3) body.template operator()<3>(first);
    if constexpr (widest >= 4)
      if (width == 4) body.template operator()<4>(first);
    first += width;
  }
}

}  // namespace gptface
