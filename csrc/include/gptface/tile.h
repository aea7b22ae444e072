// A tile: sixteen rows of 64 bytes, side by side in memory, and what the product of two tiles of bfloat16 is.
//
// A row holds 16 float32, or 32 bfloat16: sixteen words, each a pair of neighbours along the depth.
#pragma once

#include <cstdint>
#include <cstring>

namespace gptface {

inline constexpr int kTileHeight = 16, kTileWords = 16, kTileDepth = 32;

// Whatever type its bytes were written as: packers write bfloat16 pairs, vectors float32.
struct [[gnu::may_alias]] alignas(64) Tile {
  uint32_t words[kTileHeight][kTileWords];
};

// sum (16 rows, 16 columns) += a · b, as the instruction tdpbf16ps defines it (Intel's Software Developer's Manual):
// word k of row m of a, and word n of row k of b, are pairs along the depth. The first and the second members of pairs
// are added up apart, each in the order of k, then to one another, then to the sum; every sum is rounded to nearest, and
// subnormal numbers count as zero, in operands and results.
//
// Products of bfloat16 are exact in float32, so that a fused multiply-add rounds no differently from a product and a sum,
// but where a product leaves float32's range.
inline __attribute__((always_inline)) void multiply_tiles_by_definition(Tile& sum, const Tile& a, const Tile& b) {
  const auto flushed = [](float x) { return __builtin_fabsf(x) < 0x1p-126f ? __builtin_copysignf(0.0f, x) : x; };
  const auto member = [&](uint32_t word, int which) {
    const uint32_t bits = which == 0 ? word << 16 : word & 0xFFFF0000u;
    float value;
    std::memcpy(&value, &bits, sizeof(value));
    return flushed(value);
  };
  float first[kTileHeight][kTileWords], second[kTileHeight][kTileWords];
  for (int k = 0; k < kTileHeight; ++k)
    for (int n = 0; n < kTileWords; ++n) {
      first[k][n] = member(b.words[k][n], 0);
      second[k][n] = member(b.words[k][n], 1);
    }
  for (int m = 0; m < kTileHeight; ++m) {
    float firsts[kTileWords] = {}, seconds[kTileWords] = {}, row[kTileWords];
    for (int k = 0; k < kTileHeight; ++k) {
      const float low = member(a.words[m][k], 0), high = member(a.words[m][k], 1);
      for (int n = 0; n < kTileWords; ++n) {
        firsts[n] = flushed(firsts[n] + low * first[k][n]);
        seconds[n] = flushed(seconds[n] + high * second[k][n]);
      }
    }
    std::memcpy(row, sum.words[m], sizeof(row));
    for (int n = 0; n < kTileWords; ++n) row[n] = flushed(flushed(row[n]) + flushed(firsts[n] + seconds[n]));
    std::memcpy(sum.words[m], row, sizeof(row));
  }
}

}  // namespace gptface
