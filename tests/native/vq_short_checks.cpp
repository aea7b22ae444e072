// Checks of the CUDA lookup of short vectors, its kernels on the threads of a CPU (cuda_on_threads), against float64.
#include <algorithm>
#include <cstdio>
#include <limits>
#include <random>
#include <utility>
#include <vector>

#include <gptface/vq_short_kernels.cuh>

using namespace gptface;

namespace {

int failures = 0;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Case {
  VQMetric metric;
  int64_t groups, rows, codes;
  int width, shares;
};

bool finite(const float* values, int width) {
  return std::all_of(values, values + width, [](float value) { return std::isfinite(value); });
}

double definition(const Case& c, const float* x, const float* code) {
  if (!finite(code, c.width)) return -kInfinity;
  double distance = 0.0, product = 0.0, row_square = 0.0, code_square = 0.0;
  for (int k = 0; k < c.width; ++k) {
    const double a = x[k], b = code[k];
    distance += (a - b) * (a - b), product += a * b, row_square += a * a, code_square += b * b;
  }
  if (c.metric == VQMetric::euclidean) return -distance;
  if (c.metric == VQMetric::dot) return product;
  return row_square * code_square > 0.0 ? product / (std::sqrt(row_square) * std::sqrt(code_square)) : 0.0;
}

// Words and bias as gptface/ops/vq/centring.py has them, with a centre of one in every place.
struct Ranked {
  std::vector<float> words, bias, centre, scale;

  Ranked(const Case& c, const std::vector<float>& codebook)
      : words(codebook.size()), bias(c.groups * c.codes), centre(c.groups * c.width, 1.0f), scale(c.groups, 1.0f) {
    for (int64_t code = 0; code < c.groups * c.codes; ++code) {
      const float* given = codebook.data() + code * c.width;
      float* moved = words.data() + code * c.width;
      double square = 0.0, length = 0.0;
      for (int k = 0; k < c.width; ++k) length += static_cast<double>(given[k]) * given[k];
      length = c.metric == VQMetric::cosine && length > 0.0 ? std::sqrt(length) : 1.0;
      for (int k = 0; k < c.width; ++k) {
        moved[k] = static_cast<float>(given[k] / length - 1.0);
        square += static_cast<double>(moved[k]) * moved[k];
      }
      bias[code] = c.metric == VQMetric::euclidean ? static_cast<float>(-0.5 * square) : 0.0f;
      if (finite(given, c.width)) continue;
      std::fill_n(moved, c.width, 0.0f);
      bias[code] = kVQUnusable;
    }
  }
};

template <int Width>
void run(const VQShortProblem& problem) {
  const int64_t rows = kThreads * rows_of_a_thread(Width), blocks = (problem.rows + rows - 1) / rows * problem.groups;
  run_kernel(
      nominate_kernel<Width, float>, {static_cast<unsigned>(blocks), static_cast<unsigned>(problem.shares)}, kThreads,
      problem);
  const int64_t decided = (problem.groups * problem.rows + kThreads - 1) / kThreads;
  run_kernel(decide_kernel<float>, {static_cast<unsigned>(decided)}, kThreads, problem);
}

void check(const char* name, const Case& c, const std::vector<float>& x, const std::vector<float>& codebook) {
  const Ranked ranked(c, codebook);
  std::vector<int32_t> nominated(c.groups * c.rows * c.shares * kVQShortNominated, -7);
  std::vector<float> scores(c.groups * c.rows, kInfinity);
  std::vector<int64_t> indices(c.groups * c.rows, -7), counts(c.groups * c.codes, 0), expected(c.groups * c.codes, 0);
  VQShortProblem problem{ElementType::float32, x.data(), c.rows * c.width, c.width, 1, codebook.data(),
                         ranked.words.data(), ranked.bias.data(), ranked.centre.data(), ranked.scale.data(), c.groups,
                         c.rows, c.codes, c.width, c.metric, c.shares, nominated.data(), scores.data(), indices.data(),
                         counts.data()};
  if (c.width <= 4)
    run<4>(problem);
  else if (c.width <= 8)
    run<8>(problem);
  else if (c.width <= 16)
    run<16>(problem);
  else
    run<32>(problem);
  for (int64_t place = 0; place < c.groups * c.rows; ++place) {
    const int64_t group = place / c.rows;
    const float* row = x.data() + place * c.width;
    std::pair<double, int64_t> best{-std::numeric_limits<double>::infinity(), 0};
    for (int64_t code = 0; code < c.codes; ++code) {
      const double score = definition(c, row, codebook.data() + (group * c.codes + code) * c.width);
      if (score > best.first) best = {score, code};
    }
    const bool bad = !finite(row, c.width);
    if (!bad) ++expected[group * c.codes + best.second];
    const bool same_score = bad ? std::isnan(scores[place])
                                : scores[place] == static_cast<float>(best.first) ||
                                      std::fabs(scores[place] - best.first) <= 1e-6 * std::fabs(best.first);
    if (indices[place] != (bad ? 0 : best.second) || !same_score) {
      ++failures;
      std::printf("%s: metric %d, width %d, %d shares: row %lld: index %lld, expected %lld\n", name,
                  static_cast<int>(c.metric), c.width, c.shares, static_cast<long long>(place),
                  static_cast<long long>(indices[place]), static_cast<long long>(best.second));
    }
  }
  if (counts != expected) ++failures, std::printf("%s: counts differ\n", name);
}

}  // namespace

int main() {
  std::mt19937 generator(1);
  std::normal_distribution<float> normal;
  const auto draw = [&](int64_t number, auto&& value) {
    std::vector<float> values(number);
    for (float& element : values) element = value();
    return values;
  };
  const Case shapes[] = {
      {VQMetric::euclidean, 1, 600, 300, 8, 1}, {VQMetric::euclidean, 2, 130, 257, 4, 2},
      {VQMetric::euclidean, 1, 70, 513, 13, 3}, {VQMetric::euclidean, 1, 257, 140, 32, 1},
      {VQMetric::euclidean, 3, 1, 1, 5, 1},
  };
  for (const VQMetric metric : {VQMetric::euclidean, VQMetric::cosine, VQMetric::dot})
    for (Case c : shapes) {
      c.metric = metric;
      const int64_t elements = c.groups * c.rows * c.width, words = c.groups * c.codes * c.width;
      auto x = draw(elements, [&] { return normal(generator) + 1.0f; });
      auto codebook = draw(words, [&] { return normal(generator) + 1.0f; });
      check("normal", c, x, codebook);
      auto equal = codebook;
      for (int64_t i = 0; i < words; ++i) equal[i] = codebook[i % (2 * c.width)];
      if (metric != VQMetric::cosine) check("equal codes", c, x, equal);
      if (metric == VQMetric::euclidean) {
        // Twins closer than float32 sums can tell; the better one comes later, so both must be nominated.
        auto twins = codebook;
        for (int64_t code = c.codes / 2; code < c.codes; ++code)
          for (int k = 0; k < c.width; ++k) {
            const float one = codebook[(code - c.codes / 2) * c.width + k];
            const float row = x[(code - c.codes / 2) % c.rows * c.width + k];
            twins[code * c.width + k] = k == 0 ? std::nextafter(one, row) : one;
          }
        check("twins", c, x, twins);
      }
      for (int64_t i = 0; i < elements; i += 3 * c.width + 1) x[i] = i % 2 ? std::nanf("") : -kInfinity;
      for (int64_t i = 0; i < words; i += 4 * c.width + 1) codebook[i] = i % 2 ? std::nanf("") : kInfinity;
      check("not finite", c, x, codebook);
    }
  std::printf(failures ? "%d failures\n" : "ok\n", failures);
  return failures ? 1 : 0;
}
