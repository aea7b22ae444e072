// Vectors of float32 in each instruction set, under one set of names: Simd<Avx512>::Float and so on.
//
// A header for kernels: everything here is inlined into the translation unit of its instruction set, and a
// specialisation exists only where the compiler's flags allow it.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include <gptface/cpu_features.h>

#if defined(__x86_64__)
// GCC 12 warns of its own header: the undefined operand of an unmasked instruction counts as used.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop
#endif

#define GPTFACE_INLINE inline __attribute__((always_inline))

namespace gptface {

struct BFloat16 {
  uint16_t bits;
};
struct Half {
  uint16_t bits;
};

// Two bfloat16 side by side: what vdpbf16ps multiplies in one lane. `low` comes first in memory.
struct BFloat16Pair {
  BFloat16 low, high;
};

template <class Isa>
struct Simd;

// What all instruction sets do in the same way.
template <class Isa>
GPTFACE_INLINE float to_float(BFloat16 x) {
  const uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

template <class Isa>
GPTFACE_INLINE float to_float(float x) {
  return x;
}

// Exact, subnormals included.
template <class Isa>
GPTFACE_INLINE float to_float(Half x) {
  const uint32_t sign = static_cast<uint32_t>(x.bits & 0x8000u) << 16, rest = x.bits & 0x7FFFu;
  uint32_t bits;
  float value;
  if (rest >= 0x7C00u) {  // infinity, NaN
    bits = rest << 13 | 0x7F800000u;
  } else {
    // As if the exponent had float's bias, then scaled by the difference of the two.
    bits = rest << 13;
    std::memcpy(&value, &bits, sizeof(value));
    value *= 0x1p112f;
    std::memcpy(&bits, &value, sizeof(bits));
  }
  bits |= sign;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

// Rounded to nearest, ties to even; a NaN stays a NaN.
template <class Isa>
GPTFACE_INLINE BFloat16 to_bfloat16(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof(bits));
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return {static_cast<uint16_t>(bits >> 16 | 0x40u)};
  return {static_cast<uint16_t>((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16)};
}

template <class Isa>
GPTFACE_INLINE Half to_half(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof(bits));
  const uint16_t sign = static_cast<uint16_t>(bits >> 16 & 0x8000u);
  bits &= 0x7FFFFFFFu;
  if (bits > 0x7F800000u) return {static_cast<uint16_t>(sign | 0x7E00u)};
  if (bits >= 0x477FF000u) return {static_cast<uint16_t>(sign | 0x7C00u)};  // 65520 and above round to infinity
  if (bits < 0x38800000u) {  // subnormal in half: one unit is 2^-24; adding 0.5 leaves the rounded count of units
    float value;
    std::memcpy(&value, &bits, sizeof(value));
    value += 0.5f;
    std::memcpy(&bits, &value, sizeof(bits));
    return {static_cast<uint16_t>(sign | (bits - 0x3F000000u))};
  }
  bits += 0xC8000FFFu + (bits >> 13 & 1u);  // new bias, then round the thirteen bits that go
  return {static_cast<uint16_t>(sign | bits >> 13)};
}

template <>
struct Simd<Portable> {
  static constexpr int width = 4;
  static constexpr int registers = 16;
  typedef float Float __attribute__((vector_size(16)));
  typedef int32_t Int __attribute__((vector_size(16)));
  typedef uint32_t Unsigned __attribute__((vector_size(16)));
  using Mask = Int;

  static GPTFACE_INLINE Float set(float x) { return Float{x, x, x, x}; }
  static GPTFACE_INLINE Int set(int32_t x) { return Int{x, x, x, x}; }
  static GPTFACE_INLINE Float zero() { return set(0.0f); }
  static GPTFACE_INLINE Float load(const float* p) { Float v; std::memcpy(&v, p, sizeof(v)); return v; }
  static GPTFACE_INLINE Int load(const int32_t* p) { Int v; std::memcpy(&v, p, sizeof(v)); return v; }
  static GPTFACE_INLINE void store(float* p, Float v) { std::memcpy(p, &v, sizeof(v)); }
  static GPTFACE_INLINE void store(int32_t* p, Int v) { std::memcpy(p, &v, sizeof(v)); }
  static GPTFACE_INLINE Float load_bfloat16(const BFloat16* p) {
    return Float{to_float<Portable>(p[0]), to_float<Portable>(p[1]), to_float<Portable>(p[2]), to_float<Portable>(p[3])};
  }
  static GPTFACE_INLINE Float load_half(const Half* p) {
    return Float{to_float<Portable>(p[0]), to_float<Portable>(p[1]), to_float<Portable>(p[2]), to_float<Portable>(p[3])};
  }
  static GPTFACE_INLINE void store_bfloat16(BFloat16* p, Float v) {
    for (int i = 0; i < width; ++i) p[i] = to_bfloat16<Portable>(v[i]);
  }
  static GPTFACE_INLINE void store_half(Half* p, Float v) {
    for (int i = 0; i < width; ++i) p[i] = to_half<Portable>(v[i]);
  }
  static GPTFACE_INLINE Float add(Float a, Float b) { return a + b; }
  static GPTFACE_INLINE Float subtract(Float a, Float b) { return a - b; }
  static GPTFACE_INLINE Float multiply(Float a, Float b) { return a * b; }
  static GPTFACE_INLINE Float multiply_add(Float a, Float b, Float c) { return a * b + c; }
  // The second operand where either is a NaN, as x86 does it.
  static GPTFACE_INLINE Float maximum(Float a, Float b) { return a > b ? a : b; }
  static GPTFACE_INLINE Float minimum(Float a, Float b) { return a < b ? a : b; }
  static GPTFACE_INLINE float largest(Float v) {  // of all lanes
    float value = v[0];
    for (int i = 1; i < width; ++i) value = v[i] > value ? v[i] : value;
    return value;
  }
  static GPTFACE_INLINE float sum(Float v) { return (v[0] + v[2]) + (v[1] + v[3]); }  // of all lanes
  // Lane i: the sum of all lanes of v[i].
  static GPTFACE_INLINE Float sums(const Float (&v)[width]) { return Float{sum(v[0]), sum(v[1]), sum(v[2]), sum(v[3])}; }
  static GPTFACE_INLINE Mask greater(Float a, Float b) { return a > b; }
  static GPTFACE_INLINE Mask not_less(Float a, Float b) { return ~(a < b); }  // true where either is a NaN
  static GPTFACE_INLINE uint32_t bits(Mask m) {  // one a lane
    return (m[0] & 1) | (m[1] & 2) | (m[2] & 4) | (m[3] & 8);
  }
  static GPTFACE_INLINE Mask below(Int a, Int b) { return (Unsigned)a < (Unsigned)b; }  // unsigned
  static GPTFACE_INLINE Mask either(Mask a, Mask b) { return a | b; }
  static GPTFACE_INLINE Int subtract(Int a, Int b) { return a - b; }
  static GPTFACE_INLINE Float select(Mask m, Float yes, Float no) { return m ? yes : no; }
  static GPTFACE_INLINE Int select(Mask m, Int yes, Int no) { return m ? yes : no; }
  // Parts of the exponential, see vector_math.h: n = round(x), p · 2^n, and where x is cut off.
  static GPTFACE_INLINE Float round(Float x) { const Float magic = set(12582912.0f); return (x + magic) - magic; }
  static GPTFACE_INLINE Float scale_by_power(Float p, Float n) {
    return p * (Float)((__builtin_convertvector(n, Int) + 127) << 23);
  }
  static constexpr float exponent_floor = -88.0f;  // n = -127 becomes an exponent field of 0, hence zero
  // High and low words of the products of unsigned lanes.
  static GPTFACE_INLINE void wide_multiply(Int a, uint32_t b, Int& high, Int& low) {
    for (int i = 0; i < width; ++i) {
      const uint64_t product = static_cast<uint64_t>(static_cast<uint32_t>(a[i])) * b;
      high[i] = static_cast<int32_t>(product >> 32);
      low[i] = static_cast<int32_t>(product);
    }
  }
  static GPTFACE_INLINE Int exclusive_or(Int a, Int b) { return a ^ b; }
};

#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
template <>
struct Simd<Avx2> {
  static constexpr int width = 8;
  static constexpr int registers = 16;
  using Float = __m256;
  using Int = __m256i;
  using Mask = __m256;

  static GPTFACE_INLINE Float set(float x) { return _mm256_set1_ps(x); }
  static GPTFACE_INLINE Int set(int32_t x) { return _mm256_set1_epi32(x); }
  static GPTFACE_INLINE Float zero() { return _mm256_setzero_ps(); }
  static GPTFACE_INLINE Float load(const float* p) { return _mm256_loadu_ps(p); }
  static GPTFACE_INLINE Int load(const int32_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
  static GPTFACE_INLINE void store(float* p, Float v) { _mm256_storeu_ps(p, v); }
  static GPTFACE_INLINE void store(int32_t* p, Int v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v); }
  static GPTFACE_INLINE Float load_bfloat16(const BFloat16* p) {
    const __m128i half = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
  }
  static GPTFACE_INLINE Float load_half(const Half* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static GPTFACE_INLINE void store_bfloat16(BFloat16* p, Float v) {
    const __m256i bits = _mm256_castps_si256(v);
    const __m256i even = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    __m256i rounded = _mm256_srli_epi32(_mm256_add_epi32(bits, _mm256_add_epi32(even, _mm256_set1_epi32(0x7FFF))), 16);
    const __m256i quiet = _mm256_or_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(0x40));
    rounded = _mm256_blendv_epi8(rounded, quiet, _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q)));
    const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(rounded, rounded), 0x08);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(packed));
  }
  static GPTFACE_INLINE void store_half(Half* p, Float v) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
  }
  static GPTFACE_INLINE Float add(Float a, Float b) { return _mm256_add_ps(a, b); }
  static GPTFACE_INLINE Float subtract(Float a, Float b) { return _mm256_sub_ps(a, b); }
  static GPTFACE_INLINE Float multiply(Float a, Float b) { return _mm256_mul_ps(a, b); }
  static GPTFACE_INLINE Float multiply_add(Float a, Float b, Float c) { return _mm256_fmadd_ps(a, b, c); }
  static GPTFACE_INLINE Float maximum(Float a, Float b) { return _mm256_max_ps(a, b); }
  static GPTFACE_INLINE Float minimum(Float a, Float b) { return _mm256_min_ps(a, b); }
  static GPTFACE_INLINE float largest(Float v) {
    __m128 half = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    half = _mm_max_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_max_ss(half, _mm_movehdup_ps(half)));
  }
  static GPTFACE_INLINE float sum(Float v) {
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
  }
  static GPTFACE_INLINE Float sums(const Float (&v)[width]) {
    const auto four = [&](int i) __attribute__((always_inline)) {  // of v[i] to v[i + 3], in each half of a vector
      return _mm256_hadd_ps(_mm256_hadd_ps(v[i], v[i + 1]), _mm256_hadd_ps(v[i + 2], v[i + 3]));
    };
    const __m256 low = four(0), high = four(4);
    return _mm256_add_ps(_mm256_permute2f128_ps(low, high, 0x20), _mm256_permute2f128_ps(low, high, 0x31));
  }
  static GPTFACE_INLINE Mask greater(Float a, Float b) { return _mm256_cmp_ps(a, b, _CMP_GT_OQ); }
  static GPTFACE_INLINE Mask not_less(Float a, Float b) { return _mm256_cmp_ps(a, b, _CMP_NLT_UQ); }
  static GPTFACE_INLINE uint32_t bits(Mask m) { return static_cast<uint32_t>(_mm256_movemask_ps(m)); }
  static GPTFACE_INLINE Mask below(Int a, Int b) {  // unsigned: both shifted to the signed range
    const __m256i flip = _mm256_set1_epi32(INT32_MIN);
    return _mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_xor_si256(b, flip), _mm256_xor_si256(a, flip)));
  }
  static GPTFACE_INLINE Mask either(Mask a, Mask b) { return _mm256_or_ps(a, b); }
  static GPTFACE_INLINE Int subtract(Int a, Int b) { return _mm256_sub_epi32(a, b); }
  static GPTFACE_INLINE Float select(Mask m, Float yes, Float no) { return _mm256_blendv_ps(no, yes, m); }
  static GPTFACE_INLINE Int select(Mask m, Int yes, Int no) {
    return _mm256_castps_si256(_mm256_blendv_ps(_mm256_castsi256_ps(no), _mm256_castsi256_ps(yes), m));
  }
  static GPTFACE_INLINE Float round(Float x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static GPTFACE_INLINE Float scale_by_power(Float p, Float n) {
    const __m256i biased = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    return _mm256_mul_ps(p, _mm256_castsi256_ps(_mm256_slli_epi32(biased, 23)));
  }
  static constexpr float exponent_floor = -88.0f;  // n = -127 becomes an exponent field of 0, hence zero
  static GPTFACE_INLINE void wide_multiply(Int a, uint32_t b, Int& high, Int& low) {
    const __m256i factor = _mm256_set1_epi32(static_cast<int32_t>(b));
    const __m256i even = _mm256_mul_epu32(a, factor), odd = _mm256_mul_epu32(_mm256_srli_epi64(a, 32), factor);
    high = _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xAA);
    low = _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xAA);
  }
  static GPTFACE_INLINE Int exclusive_or(Int a, Int b) { return _mm256_xor_si256(a, b); }
};
#endif

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
template <>
struct Simd<Avx512> {
  static constexpr int width = 16;
  static constexpr int registers = 32;
  using Float = __m512;
  using Int = __m512i;
  using Mask = __mmask16;

  static GPTFACE_INLINE Float set(float x) { return _mm512_set1_ps(x); }
  static GPTFACE_INLINE Int set(int32_t x) { return _mm512_set1_epi32(x); }
  static GPTFACE_INLINE Float zero() { return _mm512_setzero_ps(); }
  static GPTFACE_INLINE Float load(const float* p) { return _mm512_loadu_ps(p); }
  static GPTFACE_INLINE Int load(const int32_t* p) { return _mm512_loadu_si512(p); }
  static GPTFACE_INLINE void store(float* p, Float v) { _mm512_storeu_ps(p, v); }
  static GPTFACE_INLINE void store(int32_t* p, Int v) { _mm512_storeu_si512(p, v); }
  static GPTFACE_INLINE Float load_bfloat16(const BFloat16* p) {
    const __m256i half = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
  }
  static GPTFACE_INLINE Float load_half(const Half* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static GPTFACE_INLINE void store_bfloat16(BFloat16* p, Float v) {
    const __m512i bits = _mm512_castps_si512(v);
    const __m512i even = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(bits, _mm512_add_epi32(even, _mm512_set1_epi32(0x7FFF))), 16);
    const __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    rounded = _mm512_mask_or_epi32(rounded, nan, _mm512_srli_epi32(bits, 16), _mm512_set1_epi32(0x40));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(rounded));
  }
  static GPTFACE_INLINE void store_half(Half* p, Float v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
  }
  static GPTFACE_INLINE Float add(Float a, Float b) { return _mm512_add_ps(a, b); }
  static GPTFACE_INLINE Float subtract(Float a, Float b) { return _mm512_sub_ps(a, b); }
  static GPTFACE_INLINE Float multiply(Float a, Float b) { return _mm512_mul_ps(a, b); }
  static GPTFACE_INLINE Float multiply_add(Float a, Float b, Float c) { return _mm512_fmadd_ps(a, b, c); }
  static GPTFACE_INLINE Float maximum(Float a, Float b) { return _mm512_max_ps(a, b); }
  static GPTFACE_INLINE Float minimum(Float a, Float b) { return _mm512_min_ps(a, b); }
  static GPTFACE_INLINE float largest(Float v) { return _mm512_reduce_max_ps(v); }
  static GPTFACE_INLINE float sum(Float v) { return _mm512_reduce_add_ps(v); }
  static GPTFACE_INLINE Float sums(const Float (&v)[width]) {
    const auto four = [&](int i) __attribute__((always_inline)) {  // of v[i] to v[i + 3], in each quarter of a vector
      const __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps(v[i], v[i + 1]), _mm512_unpackhi_ps(v[i], v[i + 1]));
      const __m512 cd = _mm512_add_ps(_mm512_unpacklo_ps(v[i + 2], v[i + 3]), _mm512_unpackhi_ps(v[i + 2], v[i + 3]));
      return _mm512_add_ps(_mm512_shuffle_ps(ab, cd, 0x44), _mm512_shuffle_ps(ab, cd, 0xEE));
    };
    const auto halves = [](__m512 a, __m512 b) __attribute__((always_inline)) {
      return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xEE));
    };
    const __m512 low = halves(four(0), four(4)), high = halves(four(8), four(12));
    return _mm512_add_ps(_mm512_shuffle_f32x4(low, high, 0x88), _mm512_shuffle_f32x4(low, high, 0xDD));
  }
  // The first `count` of a vector's lanes, zeros after them; what lies beyond is not touched.
  static GPTFACE_INLINE Float load_first(const float* p, int count) {
    return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << count) - 1), p);
  }
  static GPTFACE_INLINE Float load_first(const BFloat16* p, int count) {
    const __m256i half = _mm256_maskz_loadu_epi16(static_cast<__mmask16>((1u << count) - 1), p);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
  }
  static GPTFACE_INLINE Float load_first(const Half* p, int count) {
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(static_cast<__mmask16>((1u << count) - 1), p));
  }
  static GPTFACE_INLINE Mask greater(Float a, Float b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
  static GPTFACE_INLINE Mask not_less(Float a, Float b) { return _mm512_cmp_ps_mask(a, b, _CMP_NLT_UQ); }
  static GPTFACE_INLINE uint32_t bits(Mask m) { return m; }
  static GPTFACE_INLINE Mask below(Int a, Int b) { return _mm512_cmplt_epu32_mask(a, b); }
  static GPTFACE_INLINE Mask either(Mask a, Mask b) { return a | b; }
  static GPTFACE_INLINE Int subtract(Int a, Int b) { return _mm512_sub_epi32(a, b); }
  static GPTFACE_INLINE Float select(Mask m, Float yes, Float no) { return _mm512_mask_blend_ps(m, no, yes); }
  static GPTFACE_INLINE Int select(Mask m, Int yes, Int no) { return _mm512_mask_blend_epi32(m, no, yes); }
  static GPTFACE_INLINE Float round(Float x) {
    return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  static GPTFACE_INLINE Float scale_by_power(Float p, Float n) { return _mm512_scalef_ps(p, n); }
  static constexpr float exponent_floor = -140.0f;  // far under every subnormal: vscalefps gives zero
  static GPTFACE_INLINE void wide_multiply(Int a, uint32_t b, Int& high, Int& low) {
    const __m512i factor = _mm512_set1_epi32(static_cast<int32_t>(b));
    const __m512i even = _mm512_mul_epu32(a, factor), odd = _mm512_mul_epu32(_mm512_srli_epi64(a, 32), factor);
    high = _mm512_mask_mov_epi32(_mm512_srli_epi64(even, 32), 0xAAAA, odd);
    low = _mm512_mask_mov_epi32(even, 0xAAAA, _mm512_slli_epi64(odd, 32));
  }
  static GPTFACE_INLINE Int exclusive_or(Int a, Int b) { return _mm512_xor_si512(a, b); }
};
#endif

#if defined(__AVX512BF16__)
template <>
struct Simd<Avx512Bf16> : Simd<Avx512> {
  static GPTFACE_INLINE void store_bfloat16(BFloat16* p, Float v) {
    const __m256bh rounded = _mm512_cvtneps_pbh(v);
    std::memcpy(p, &rounded, sizeof(rounded));
  }
  // Lane i: low half from `low`, high half from `high`, both rounded.
  static GPTFACE_INLINE void store_pairs(BFloat16Pair* p, Float low, Float high) {
    alignas(64) static constexpr uint16_t order[32] = {0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23,
                                                       8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    const __m512bh both = _mm512_cvtne2ps_pbh(high, low);
    __m512i bits;
    std::memcpy(&bits, &both, sizeof(bits));
    _mm512_storeu_si512(p, _mm512_permutexvar_epi16(_mm512_load_si512(order), bits));
  }
};
#endif

}  // namespace gptface
