// Vectors as wide as a row of a tile, for the kernels that multiply by tiles: those of the machine, or plain C++.
#pragma once

#include <gptface/simd.h>

namespace gptface {

#if defined(__AVX512BF16__)
template <>
struct Simd<Amx> : Simd<Avx512Bf16> {};
template <>
struct Simd<EmulatedAmxAvx512Bf16> : Simd<Avx512Bf16> {};
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
  static GPTFACE_INLINE Float load_bfloat16(const BFloat16* p) {
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
