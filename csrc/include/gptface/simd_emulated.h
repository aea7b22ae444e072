// Vectors as wide as a row of a tile, for the kernels that multiply by tiles: those of the machine, or plain C++.
//
// Beside what simd.h has, weights straight to bfloat16: power_pairs gives 2^(x / 128 - 127) of two vectors, as pairs. Its
// rounded x is the exponent and, by its low seven bits, a place in a table of mantissas, so that a weight costs no
// polynomial and no float32 result. Its relative error is that of rounding x, at most 0.27 %, and of rounding a mantissa to
// seven bits, at most 0.39 %; x = 127 · 128 is exactly 1. Below 2^-126 it is as good as zero: the tile unit, add_pairs and
// this agree on that.
#pragma once

#include <gptface/simd.h>

namespace gptface {

// Mantissas of 2^(i / 128).
struct PowerTable {
  alignas(64) uint8_t mantissa[128];

  constexpr PowerTable() : mantissa{} {
    for (int i = 0; i < 128; ++i) {
      // 1.0054299… is 2^(1/128): by repeated products, to far more digits than seven bits need.
      double power = 1.0;
      for (int n = 0; n < i; ++n) power *= 1.005429901112802821;
      mantissa[i] = static_cast<uint8_t>((power - 1.0) * 128.0 + 0.5);
    }
  }
};
inline constexpr PowerTable kPowerTable;

#if defined(__AVX512BF16__) && defined(__AVX512VBMI__)
struct SimdOfAmx : Simd<Avx512Bf16> {
  using Pairs = __m512i;
  static GPTFACE_INLINE Pairs power_pairs(Float low, Float high) {
    // Words as vpackusdw leaves them, four of each vector by turns, into pairs.
    alignas(64) static constexpr uint8_t order[64] = {
        0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15, 0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15,
        0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15, 0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15};
    const __m512i packed = _mm512_packus_epi32(_mm512_cvtps_epi32(low), _mm512_cvtps_epi32(high));
    const __m512i rounded = _mm512_shuffle_epi8(packed, _mm512_load_si512(order));
    const __m512i mantissa = _mm512_permutex2var_epi8(
        _mm512_load_si512(kPowerTable.mantissa), rounded, _mm512_load_si512(kPowerTable.mantissa + 64));
    // Of each word the exponent from the one, the mantissa from the other: the first where the third has a bit.
    return _mm512_ternarylogic_epi32(rounded, mantissa, _mm512_set1_epi16(static_cast<int16_t>(0xFF80)), 0xE4);
  }
  // sum + low + high
  static GPTFACE_INLINE Float add_pairs(Float sum, Pairs pairs) {
    return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(pairs), reinterpret_cast<__m512bh>(_mm512_set1_epi16(0x3F80)));
  }
  static GPTFACE_INLINE Pairs without(Pairs pairs, Mask low, Mask high) {
    pairs = _mm512_mask_and_epi32(pairs, low, pairs, _mm512_set1_epi32(static_cast<int32_t>(0xFFFF0000u)));
    return _mm512_mask_and_epi32(pairs, high, pairs, _mm512_set1_epi32(0x0000FFFF));
  }
  static GPTFACE_INLINE void store(BFloat16Pair* p, Pairs pairs) { _mm512_storeu_si512(p, pairs); }
  using Simd<Avx512Bf16>::store;
};
template <>
struct Simd<Amx> : SimdOfAmx {};
template <>
struct Simd<EmulatedAmxAvx512Bf16> : SimdOfAmx {};
#endif

// Sixteen lanes as arrays: what Simd<Avx512Bf16> computes, one lane after the other.
template <>
struct Simd<EmulatedAmx> {
  static constexpr int width = 16;
  static constexpr int registers = 32;
  struct Float {
    float lane[width];
  };
  struct Int {
    int32_t lane[width];
  };
  struct Mask {
    bool lane[width];
  };

  static GPTFACE_INLINE Float set(float x) { return each([&](int) { return x; }); }
  static GPTFACE_INLINE Int set(int32_t x) { return each_int([&](int) { return x; }); }
  static GPTFACE_INLINE Float zero() { return set(0.0f); }
  static GPTFACE_INLINE Float load(const float* p) { Float v; std::memcpy(&v, p, sizeof(v)); return v; }
  static GPTFACE_INLINE Int load(const int32_t* p) { Int v; std::memcpy(&v, p, sizeof(v)); return v; }
  static GPTFACE_INLINE void store(float* p, Float v) { std::memcpy(p, &v, sizeof(v)); }
  static GPTFACE_INLINE void store(int32_t* p, Int v) { std::memcpy(p, &v, sizeof(v)); }
  static GPTFACE_INLINE Float load_bfloat16(const BFloat16* p) {
    return each([&](int i) { return to_float<EmulatedAmx>(p[i]); });
  }
  static GPTFACE_INLINE Float load_half(const Half* p) {
    return each([&](int i) { return to_float<EmulatedAmx>(p[i]); });
  }
  static GPTFACE_INLINE void store_bfloat16(BFloat16* p, Float v) {
    for (int i = 0; i < width; ++i) {
      const BFloat16 rounded = to_bfloat16<EmulatedAmx>(v.lane[i]);
      std::memcpy(p + i, &rounded, sizeof(rounded));
    }
  }
  static GPTFACE_INLINE void store_pairs(BFloat16Pair* p, Float low, Float high) {
    for (int i = 0; i < width; ++i) {
      const BFloat16Pair pair{to_bfloat16<EmulatedAmx>(low.lane[i]), to_bfloat16<EmulatedAmx>(high.lane[i])};
      std::memcpy(p + i, &pair, sizeof(pair));
    }
  }
  static GPTFACE_INLINE Float add(Float a, Float b) { return each([&](int i) { return a.lane[i] + b.lane[i]; }); }
  static GPTFACE_INLINE Float subtract(Float a, Float b) { return each([&](int i) { return a.lane[i] - b.lane[i]; }); }
  static GPTFACE_INLINE Float multiply(Float a, Float b) { return each([&](int i) { return a.lane[i] * b.lane[i]; }); }
  static GPTFACE_INLINE Float multiply_add(Float a, Float b, Float c) {
    return each([&](int i) { return a.lane[i] * b.lane[i] + c.lane[i]; });
  }
  // The second operand where either is a NaN, as x86 does it.
  static GPTFACE_INLINE Float maximum(Float a, Float b) {
    return each([&](int i) { return a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]; });
  }
  static GPTFACE_INLINE Float minimum(Float a, Float b) {
    return each([&](int i) { return a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i]; });
  }
  static GPTFACE_INLINE float largest(Float v) {  // of all lanes
    float value = v.lane[0];
    for (int i = 1; i < width; ++i) value = v.lane[i] > value ? v.lane[i] : value;
    return value;
  }
  static GPTFACE_INLINE Mask greater(Float a, Float b) { return mask([&](int i) { return a.lane[i] > b.lane[i]; }); }
  static GPTFACE_INLINE Mask not_less(Float a, Float b) { return mask([&](int i) { return !(a.lane[i] < b.lane[i]); }); }
  static GPTFACE_INLINE uint32_t bits(Mask m) {
    uint32_t all = 0;
    for (int i = 0; i < width; ++i) all |= static_cast<uint32_t>(m.lane[i]) << i;
    return all;
  }
  static GPTFACE_INLINE Mask below(Int a, Int b) {  // unsigned
    return mask([&](int i) { return static_cast<uint32_t>(a.lane[i]) < static_cast<uint32_t>(b.lane[i]); });
  }
  static GPTFACE_INLINE Mask either(Mask a, Mask b) { return mask([&](int i) { return a.lane[i] || b.lane[i]; }); }
  static GPTFACE_INLINE Int subtract(Int a, Int b) {
    return each_int([&](int i) { return static_cast<int32_t>(static_cast<uint32_t>(a.lane[i]) - static_cast<uint32_t>(b.lane[i])); });
  }
  static GPTFACE_INLINE Float select(Mask m, Float yes, Float no) {
    return each([&](int i) { return m.lane[i] ? yes.lane[i] : no.lane[i]; });
  }
  static GPTFACE_INLINE Int select(Mask m, Int yes, Int no) {
    return each_int([&](int i) { return m.lane[i] ? yes.lane[i] : no.lane[i]; });
  }
  static GPTFACE_INLINE Float round(Float x) {
    return each([&](int i) { return (x.lane[i] + 12582912.0f) - 12582912.0f; });
  }
  static GPTFACE_INLINE Float scale_by_power(Float p, Float n) {
    return each([&](int i) {
      const uint32_t bits = static_cast<uint32_t>(static_cast<int32_t>(n.lane[i]) + 127) << 23;
      float power;
      std::memcpy(&power, &bits, sizeof(power));
      return p.lane[i] * power;
    });
  }
  static constexpr float exponent_floor = -88.0f;  // n = -127 becomes an exponent field of 0, hence zero
  static GPTFACE_INLINE void wide_multiply(Int a, uint32_t b, Int& high, Int& low) {
    for (int i = 0; i < width; ++i) {
      const uint64_t product = static_cast<uint64_t>(static_cast<uint32_t>(a.lane[i])) * b;
      high.lane[i] = static_cast<int32_t>(product >> 32);
      low.lane[i] = static_cast<int32_t>(product);
    }
  }
  static GPTFACE_INLINE Int exclusive_or(Int a, Int b) { return each_int([&](int i) { return a.lane[i] ^ b.lane[i]; }); }

  struct Pairs {
    BFloat16Pair lane[width];
  };
  static GPTFACE_INLINE Pairs power_pairs(Float low, Float high) {
    const auto power = [](float x) {
      // To nearest, ties to even, as vcvtps2dq does it; what is out of range, and a NaN, is zero there too.
      const uint32_t rounded = x > 0.0f && x < 32768.0f ? static_cast<uint32_t>((x + 12582912.0f) - 12582912.0f) : 0u;
      return BFloat16{static_cast<uint16_t>((rounded & 0xFF80u) | kPowerTable.mantissa[rounded & 0x7Fu])};
    };
    Pairs pairs;
    for (int i = 0; i < width; ++i) pairs.lane[i] = {power(low.lane[i]), power(high.lane[i])};
    return pairs;
  }
  static GPTFACE_INLINE Float add_pairs(Float sum, Pairs pairs) {
    const auto value = [](BFloat16 x) { return (x.bits & 0x7F80u) == 0 ? 0.0f : to_float<EmulatedAmx>(x); };
    return each([&](int i) { return sum.lane[i] + value(pairs.lane[i].low) + value(pairs.lane[i].high); });
  }
  static GPTFACE_INLINE Pairs without(Pairs pairs, Mask low, Mask high) {
    for (int i = 0; i < width; ++i) {
      if (low.lane[i]) pairs.lane[i].low = BFloat16{0};
      if (high.lane[i]) pairs.lane[i].high = BFloat16{0};
    }
    return pairs;
  }
  static GPTFACE_INLINE void store(BFloat16Pair* p, Pairs pairs) { std::memcpy(p, &pairs, sizeof(pairs)); }

 private:
  template <class Body>
  static GPTFACE_INLINE Float each(Body&& body) {
    Float v;
    for (int i = 0; i < width; ++i) v.lane[i] = body(i);
    return v;
  }
  template <class Body>
  static GPTFACE_INLINE Int each_int(Body&& body) {
    Int v;
    for (int i = 0; i < width; ++i) v.lane[i] = body(i);
    return v;
  }
  template <class Body>
  static GPTFACE_INLINE Mask mask(Body&& body) {
    Mask v;
    for (int i = 0; i < width; ++i) v.lane[i] = body(i);
    return v;
  }
};

}  // namespace gptface
