// Checks of csrc/include/gptface's micro-kernels without torch, for the instruction set named by -DCHECKED_ISA.
// Compiled and run by tests/ops/test_microkernels.py; prints what is wrong and returns the number of failures.
#include <cmath>
#include <cstdio>
#include <limits>
#include <random>
#include <vector>

#include <gptface/packing.h>
#include <gptface/parallel.h>
#include <gptface/philox.h>
#include <gptface/vector_math.h>

using namespace gptface;
using Isa = CHECKED_ISA;
using V = Simd<Isa>;

int failures = 0;

void expect(bool good, const char* what, double value = 0.0) {
  if (good) return;
  ++failures;
  std::printf("%s: %g\n", what, value);
}

template <int Degree>
void check_exp(double bound) {
  float in[V::width], out[V::width];
  const double slope = __is_same(Isa, Portable) ? 1e-7 : 2e-8;
  double worst = 0.0;
  for (double start = -87.0; start < 87.9; start += 1.0 / 256) {
    for (int i = 0; i < V::width; ++i) in[i] = static_cast<float>(start + i / (256.0 * V::width));
    V::store(out, gptface::exp<Isa, Degree>(V::load(in)));
    for (int i = 0; i < V::width; ++i)
      worst = std::fmax(worst, std::fabs(out[i] / std::exp(static_cast<double>(in[i])) - 1.0) - slope * std::fabs(in[i]));
  }
  expect(worst < bound, "exp: relative error", worst);
  const float infinity = std::numeric_limits<float>::infinity();
  const float special[] = {0.0f, -infinity, std::numeric_limits<float>::quiet_NaN(), -1e30f};
  float answer[4];
  for (int i = 0; i < 4; ++i) {
    V::store(out, gptface::exp<Isa, Degree>(V::set(special[i])));
    answer[i] = out[V::width - 1];
  }
  expect(answer[0] == 1.0f, "exp(0)", answer[0]);
  expect(answer[1] == 0.0f, "exp(-inf)", answer[1]);
  expect(std::isnan(answer[2]), "exp(NaN)", answer[2]);
  expect(answer[3] == 0.0f, "exp(-1e30)", answer[3]);
}

void check_philox() {
  for (uint32_t first : {0u, 77u, 0xFFFFFFF0u}) {
    int32_t lanes[V::width], got[V::width];
    for (int i = 0; i < V::width; ++i) lanes[i] = static_cast<int32_t>(first + i);
    V::Int words[4];
    philox4x32_lanes<Isa>(0x243F6A88u, V::load(lanes), 0x13198A2Eu, 0x03707344u, 0xA4093822u, 0x299F31D0u, words);
    for (int w = 0; w < 4; ++w) {
      V::store(got, words[w]);
      for (int i = 0; i < V::width; ++i) {
        uint32_t expected[4];
        philox4x32(0x243F6A88u, first + i, 0x13198A2Eu, 0x03707344u, 0xA4093822u, 0x299F31D0u, expected);
        expect(static_cast<uint32_t>(got[i]) == expected[w], "philox word", w);
      }
    }
  }
}

void check_conversions() {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const Half half{static_cast<uint16_t>(bits)};
    const BFloat16 brain{static_cast<uint16_t>(bits)};
    const float a = to_float<Isa>(half), b = to_float<Isa>(brain);
    if (!std::isnan(a)) expect(to_half<Isa>(a).bits == bits, "half and back", bits);
    if (!std::isnan(b)) expect(to_bfloat16<Isa>(b).bits == bits, "bfloat16 and back", bits);
    const int exponent = bits >> 10 & 31;
    const double mantissa = bits & 1023, sign = bits & 0x8000 ? -1.0 : 1.0;
    if (exponent < 31)
      expect(a == sign * (exponent ? std::ldexp(1024 + mantissa, exponent - 25) : std::ldexp(mantissa, -24)), "half", bits);
    expect(exponent < 31 || std::isnan(a) == (mantissa != 0), "half infinity or NaN", bits);
  }
  std::mt19937 random(1);
  for (int i = 0; i < 20000; ++i) {  // the vector conversions agree with the scalar ones, NaN among the lanes
    float in[V::width];
    for (float& x : in) {
      const uint32_t bits = random() % 0x88000000u;  // a subnormal result may become zero: kept out below
      std::memcpy(&x, &bits, sizeof(x));
      if (std::fabs(x) < 0x1p-120f) x = 1.0f;
    }
    BFloat16 brain[V::width];
    Half half[V::width];
    V::store_bfloat16(brain, V::load(in));
    V::store_half(half, V::load(in));
    for (int l = 0; l < V::width; ++l) {
      expect(brain[l].bits == to_bfloat16<Isa>(in[l]).bits || std::isnan(in[l]), "store_bfloat16", in[l]);
      expect(half[l].bits == to_half<Isa>(in[l]).bits || std::isnan(in[l]), "store_half", in[l]);
      expect(std::isnan(to_float<Isa>(brain[l])) == std::isnan(in[l]), "bfloat16 NaN", in[l]);
      expect(std::isnan(to_float<Isa>(half[l])) == std::isnan(in[l]), "half NaN", in[l]);
    }
  }
}

template <class Word, int NV, Rows Layout>
void check_product(int rows, int depth) {
  using Element = std::conditional_t<__is_same(Word, float), float, BFloat16>;
  constexpr int group = Arithmetic<Isa, Word>::group, columns = NV * V::width;
  std::mt19937 random(rows * 1000 + depth);
  std::normal_distribution<float> normal;
  const auto draw = [&] {
    if constexpr (__is_same(Word, float)) return normal(random);
    else return to_bfloat16<Isa>(normal(random));
  };
  const int padded = (depth + 7) / 8 * 8;
  std::vector<Element> a(rows * padded), b(depth * columns), a_by_depth(depth * rows);
  for (int m = 0; m < rows; ++m)
    for (int k = 0; k < padded; ++k) {
      a[m * padded + k] = k < depth ? draw() : Element{};
      if (k < depth) a_by_depth[k * rows + m] = a[m * padded + k];
    }
  for (Element& x : b) x = draw();
  const int words = padded / group;
  std::vector<Word> left(rows * words), right(words * columns);
  if (Layout == Rows::by_rows)
    pack_rows<Isa>(a.data(), padded, rows, depth, rows, words, left.data());
  else
    pack_depth<Isa>(a_by_depth.data(), rows, depth, rows, padded, rows, left.data());
  if (depth % 2) {  // the two ways to pack b
    pack_depth<Isa>(b.data(), columns, depth, columns, padded, columns, right.data());
  } else {
    std::vector<Element> transposed(columns * depth);
    for (int k = 0; k < depth; ++k)
      for (int n = 0; n < columns; ++n) transposed[n * depth + k] = b[k * columns + n];
    std::vector<Word> by_rows(columns * words);
    pack_rows<Isa>(transposed.data(), depth, columns, depth, columns, words, by_rows.data());
    transpose_words(by_rows.data(), words, columns, words, columns, right.data());
  }
  std::vector<float> got(rows * columns, std::numeric_limits<float>::quiet_NaN());
  multiply_rows<Isa, Word, NV, Layout>(
      rows, words, left.data(), Layout == Rows::by_rows ? words : rows, right.data(), columns,
      [&]<int MR>(int64_t first, V::Float(&sums)[MR][NV]) {
        for (int m = 0; m < MR; ++m)
          for (int n = 0; n < NV; ++n) V::store(&got[(first + m) * columns + n * V::width], sums[m][n]);
      });
  for (int m = 0; m < rows; ++m)
    for (int n = 0; n < columns; ++n) {
      double sum = 0.0, size = 0.0;
      for (int k = 0; k < depth; ++k) {
        const double product = static_cast<double>(to_float<Isa>(a[m * padded + k])) * to_float<Isa>(b[k * columns + n]);
        sum += product;
        size += std::fabs(product);
      }
      expect(std::fabs(got[m * columns + n] - sum) <= 1e-6 * size + 1e-30, "product", got[m * columns + n] - sum);
    }
}

template <class Word>
void check_products() {
  for (int rows : {1, 3, 8, 17, 29})
    for (int depth : {1, 7, 16, 40}) {
      if (depth < Arithmetic<Isa, Word>::group) continue;
      check_product<Word, 1, Rows::by_rows>(rows, depth);
      check_product<Word, 2, Rows::by_depth>(rows, depth);
      check_product<Word, 3, Rows::by_rows>(rows, depth);
      check_product<Word, 4, Rows::by_depth>(rows, depth);
    }
}

void check_tasks() {
  for (int workers : {1, 3})
    for (int64_t tasks : {0, 1, 100}) {
      std::vector<int> done(tasks);
      for_each_task(tasks, 7, workers, run_on_threads, [&](int64_t t, int) { ++done[t]; });
      for (int count : done) expect(count == 1, "a task ran this often", count);
      bool thrown = tasks == 0;
      try {
        for_each_task(tasks, 1, workers, run_on_threads, [](int64_t, int) { throw 5; });
      } catch (int) {
        thrown = true;
      }
      expect(thrown, "the exception of a task is lost");
    }
}

// Small integers, whose sums are exact in any order.
void check_sums() {
  float in[V::width][V::width], out[V::width];
  V::Float vectors[V::width];
  for (int i = 0; i < V::width; ++i) {
    for (int lane = 0; lane < V::width; ++lane) in[i][lane] = static_cast<float>((i * 37 + lane * lane * 5) % 101 - 40);
    vectors[i] = V::load(in[i]);
  }
  V::store(out, V::sums(vectors));
  for (int i = 0; i < V::width; ++i) {
    float expected = 0.0f;
    for (float x : in[i]) expected += x;
    expect(out[i] == expected, "sums: lane", i);
    expect(V::sum(vectors[i]) == expected, "sum of vector", i);
  }
}

// Only vectors longer than eight lanes have it. A template, so that others do not look for it.
template <class Vectors>
void check_short_loads() {
  if constexpr (Vectors::width > 8) {
    float in[Vectors::width], out[Vectors::width];
    for (int lane = 0; lane < Vectors::width; ++lane) in[lane] = static_cast<float>(lane * lane % 101 - 40);
    for (int count = 0; count <= Vectors::width; ++count) {
      std::vector<float> floats(in, in + count);  // a sanitizer would see a load beyond its end
      std::vector<BFloat16> brains;
      std::vector<Half> halves;
      for (float x : floats) brains.push_back(to_bfloat16<Isa>(x)), halves.push_back(to_half<Isa>(x));
      const typename Vectors::Float loaded[] = {
          Vectors::load_first(floats.data(), count), Vectors::load_first(brains.data(), count),
          Vectors::load_first(halves.data(), count)};
      for (const auto& vector : loaded) {
        Vectors::store(out, vector);
        for (int lane = 0; lane < Vectors::width; ++lane)
          expect(out[lane] == (lane < count ? in[lane] : 0.0f), "load_first: lane", lane);
      }
    }
  }
}

int main() {
  check_sums();
  check_short_loads<V>();
  check_exp<4>(4e-6);
  check_exp<5>(2.5e-7);
  check_philox();
  check_conversions();
  check_products<float>();
#if defined(__AVX512BF16__)
  check_products<BFloat16Pair>();
#endif
  check_tasks();
  return failures > 0;
}
