// The exponential and Philox4x32-10 of a vector.
#pragma once

#include <gptface/simd.h>

namespace gptface {

// e^x for x <= 88. Degree 5 has a relative error below 2.5e-7 + 2e-8 |x|, and e^0 is exactly 1; degree 4, for results
// that will be rounded to bfloat16, below 4e-6 + 2e-8 |x|; without a fused multiply-add (Portable) it is 1e-7 |x|.
// tests/native/microkernel_checks.cpp holds these bounds. NaN stays NaN, −infinity gives 0, and a result below 2^-126 may
// be 0.
//
// x log2 e = n + f with |f| <= 1/2; the polynomials for 2^f are minimax in relative error on that interval, with the
// constant term held at 1 (own fit).
template <class Isa, int Degree>
GPTFACE_INLINE typename Simd<Isa>::Float exp(typename Simd<Isa>::Float x) {
  using V = Simd<Isa>;
  static_assert(Degree == 4 || Degree == 5);
  const auto log2_e = V::set(1.44269504088896341f);
  x = V::maximum(V::set(V::exponent_floor), x);
  const auto n = V::round(V::multiply(x, log2_e));
  const auto f = V::multiply_add(x, log2_e, V::subtract(V::zero(), n));
  auto p = V::zero();
  if constexpr (Degree == 5) {
    p = V::multiply_add(V::set(0.001326472731307149f), f, V::set(0.009671512991189957f));
    p = V::multiply_add(p, f, V::set(0.05550733581185341f));
    p = V::multiply_add(p, f, V::set(0.24022242426872253f));
    p = V::multiply_add(p, f, V::set(0.6931470036506653f));
  } else {
    p = V::multiply_add(V::set(0.009582852944731712f), f, V::set(0.055906426161527634f));
    p = V::multiply_add(p, f, V::set(0.24024099111557007f));
    p = V::multiply_add(p, f, V::set(0.6931241750717163f));
  }
  p = V::multiply_add(p, f, V::set(1.0f));
  return V::scale_by_power(p, n);
}

// Philox4x32-10 of counters (c0, c1 of each lane, c2, c3), as philox.h has it: four words a lane.
template <class Isa>
GPTFACE_INLINE void philox4x32_lanes(
    uint32_t c0, typename Simd<Isa>::Int c1, uint32_t c2, uint32_t c3, uint32_t k0, uint32_t k1,
    typename Simd<Isa>::Int (&words)[4]) {
  using V = Simd<Isa>;
  using Int = typename V::Int;
  Int w0 = V::set(static_cast<int32_t>(c0)), w1 = c1, w2 = V::set(static_cast<int32_t>(c2)),
      w3 = V::set(static_cast<int32_t>(c3));
  for (int round = 0; round < 10; ++round) {
    Int high0, low0, high1, low1;
    V::wide_multiply(w0, 0xD2511F53u, high0, low0);
    V::wide_multiply(w2, 0xCD9E8D57u, high1, low1);
    w0 = V::exclusive_or(V::exclusive_or(high1, w1), V::set(static_cast<int32_t>(k0)));
    w1 = low1;
    w2 = V::exclusive_or(V::exclusive_or(high0, w3), V::set(static_cast<int32_t>(k1)));
    w3 = low0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  words[0] = w0;
  words[1] = w1;
  words[2] = w2;
  words[3] = w3;
}

}  // namespace gptface
