// The lookup's first pass by tiles of bfloat16: everything of vq_block.h but the products, whose operands are tiles as they
// lie: sixteen rows of x on the left, sixteen words of depth and as many codes of a panel on the right.
//
// Two by three tiles are 32 rows and a panel of 48 codes: seven loads for six products. Their sums go through memory, 6 kB,
// to the vectors that select among them, and the tiles of the next 32 rows come before the selection from the last, so that
// the two run side by side. With D = 256 that is 768 cycles of the tile unit beside 32 selections of about 22 instructions.
// The bound of vq_block.h holds as it is: it allows any order of a sum, and what tiles flush. Compiled, and proven on a tile
// unit in plain C++ (tile_unit.h); nothing here was ever timed on a processor that has the unit.
#pragma once

#include <gptface/tile_unit.h>
#include <gptface/vq_block.h>
#include <gptface/simd_emulated.h>

namespace gptface {

#if defined(__AVX512BF16__) && defined(__AVX512VBMI__)
template <>
struct Arithmetic<Amx, BFloat16Pair> : Arithmetic<Avx512Bf16, BFloat16Pair> {};
template <>
struct Arithmetic<EmulatedAmxAvx512Bf16, BFloat16Pair> : Arithmetic<Avx512Bf16, BFloat16Pair> {};
#endif
template <>
struct Arithmetic<EmulatedAmx, BFloat16Pair> {
  static constexpr int group = 2;
  using V = Simd<EmulatedAmx>;
  using Pairs = V::Pairs;
  static GPTFACE_INLINE Pairs load(const BFloat16Pair* p) {
    Pairs pairs;
    std::memcpy(&pairs, p, sizeof(pairs));
    return pairs;
  }
  static GPTFACE_INLINE Pairs broadcast(const BFloat16Pair* p) {
    Pairs pairs;
    for (BFloat16Pair& pair : pairs.lane) pair = *p;
    return pairs;
  }
  static GPTFACE_INLINE V::Float multiply_add(V::Float sum, Pairs a, Pairs b) {
    const auto value = [](BFloat16 x) { return to_float<EmulatedAmx>(x); };
    for (int i = 0; i < V::width; ++i)
      sum.lane[i] += value(a.lane[i].low) * value(b.lane[i].low) + value(a.lane[i].high) * value(b.lane[i].high);
    return sum;
  }
};

template <class Isa>
struct VQTileProducts {
  using Pack = VQPack<Isa, BFloat16Pair>;
  using V = Simd<Isa>;
  static constexpr int kVectors = Pack::kVectors, kPanel = Pack::kPanel;
  static constexpr int kRows = 4, kTogether = 2 * kTileHeight;  // twelve vectors of sums, beside what selects among them
  static_assert(kVectors == 3 && kPanel == 3 * kTileWords);

  struct State {
    TileUnit<Isa> unit;
    alignas(64) float sums[2][kTogether][kPanel];
  };

  template <class Compare>
  static GPTFACE_INLINE void multiply(
      State& state, int64_t rows, int64_t depth, const BFloat16Pair* words, int64_t stride, const BFloat16Pair* panel,
      const Compare& compare) {
    const int64_t steps = (depth + kTileWords - 1) / kTileWords;
    multiply_tiles(state.unit, steps, words, stride, panel, state.sums[0][0]);
    for (int64_t first = 0, turn = 0; first < rows; first += kTogether, turn = 1 - turn) {
      if (first + kTogether < rows)
        multiply_tiles(state.unit, steps, words + (first + kTogether) * stride, stride, panel, state.sums[1 - turn][0]);
      for (int64_t m0 = 0; m0 < kTogether && first + m0 < rows; m0 += kRows) {
        typename V::Float sums[kRows][kVectors];
#pragma GCC unroll 8
        for (int m = 0; m < kRows; ++m)
#pragma GCC unroll 3
          for (int n = 0; n < kVectors; ++n) sums[m][n] = V::load(state.sums[turn][m0 + m] + n * V::width);
        compare(first + m0, sums);
      }
    }
  }

  // sums (32, 48) = 32 rows of words · a panel, over `steps` times sixteen words.
  static __attribute__((noinline)) void multiply_tiles(
      TileUnit<Isa>& unit, int64_t steps, const BFloat16Pair* words, int64_t stride, const BFloat16Pair* panel, float* sums) {
    constexpr int64_t kWord = sizeof(BFloat16Pair);
    unit.template zero<0>(), unit.template zero<1>(), unit.template zero<2>();
    unit.template zero<3>(), unit.template zero<4>(), unit.template zero<5>();
    const BFloat16Pair* below = words + kTileHeight * stride;
    for (; steps > 0; --steps, words += kTileWords, below += kTileWords, panel += kTileWords * kPanel) {
      unit.template load_rows<6>(words, stride * kWord);
      unit.template load_rows<7>(panel, kPanel * kWord);
      unit.template multiply_add<0, 6, 7>();
      unit.template load_rows<7>(panel + kTileWords, kPanel * kWord);
      unit.template multiply_add<1, 6, 7>();
      unit.template load_rows<7>(panel + 2 * kTileWords, kPanel * kWord);
      unit.template multiply_add<2, 6, 7>();
      unit.template load_rows<6>(below, stride * kWord);
      unit.template multiply_add<5, 6, 7>();
      unit.template load_rows<7>(panel, kPanel * kWord);
      unit.template multiply_add<3, 6, 7>();
      unit.template load_rows<7>(panel + kTileWords, kPanel * kWord);
      unit.template multiply_add<4, 6, 7>();
    }
    float* lower = sums + kTileHeight * kPanel;
    unit.template store_rows<0>(sums, kPanel * kWord);
    unit.template store_rows<1>(sums + kTileWords, kPanel * kWord);
    unit.template store_rows<2>(sums + 2 * kTileWords, kPanel * kWord);
    unit.template store_rows<3>(lower, kPanel * kWord);
    unit.template store_rows<4>(lower + kTileWords, kPanel * kWord);
    unit.template store_rows<5>(lower + 2 * kTileWords, kPanel * kWord);
  }
};

template <>
struct VQProducts<EmulatedAmx, BFloat16Pair> : VQTileProducts<EmulatedAmx> {};
#if defined(__AVX512BF16__) && defined(__AVX512VBMI__)
template <>
struct VQProducts<EmulatedAmxAvx512Bf16, BFloat16Pair> : VQTileProducts<EmulatedAmxAvx512Bf16> {};
#if defined(GPTFACE_AMX)
template <>
struct VQProducts<Amx, BFloat16Pair> : VQTileProducts<Amx> {};
#endif
#endif

}  // namespace gptface
