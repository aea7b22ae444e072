// Checks of the torch-free VQ lookup for the instruction set CHECKED_ISA, against the definition in float64.
#include <cstdio>
#include <random>
#include <utility>

#include <gptface/vq_block.h>
#include <gptface/vq_lookup.h>

using namespace gptface;

namespace {

int failures = 0;
const float kNaN = std::numeric_limits<float>::quiet_NaN();

struct Case {
  VQMetric metric;
  int64_t groups, rows, codes, width;
  int topk;
};

struct Data {
  std::vector<float> x, codebook;
};

struct Found {
  std::vector<float> scores;
  std::vector<int64_t> indices, counts, nearest;
};

template <class Draw>
Data draw(const Case& c, Draw&& value) {
  Data data{std::vector<float>(c.groups * c.rows * c.width), std::vector<float>(c.groups * c.codes * c.width)};
  for (float& element : data.x) element = value();
  for (float& element : data.codebook) element = value();
  return data;
}

bool finite(const float* values, int64_t width) {
  for (int64_t k = 0; k < width; ++k)
    if (!std::isfinite(values[k])) return false;
  return true;
}

double score(const Case& c, const float* x, const float* code) {
  if (!finite(code, c.width)) return -std::numeric_limits<double>::infinity();
  double distance = 0.0, product = 0.0, square_x = 0.0, square_code = 0.0;
  for (int64_t k = 0; k < c.width; ++k) {
    const double a = x[k], b = code[k];
    distance += (a - b) * (a - b), product += a * b, square_x += a * a, square_code += b * b;
  }
  if (c.metric == VQMetric::euclidean) return -distance;
  if (c.metric == VQMetric::dot) return product;
  return square_x * square_code > 0.0 ? product / (std::sqrt(square_x) * std::sqrt(square_code)) : 0.0;
}

// With `first`, kernels of another word settle what they can; nearest rows are then left alone. With `packed`, the
// codebook is packed first, by another number of workers.
template <class Word>
Found look(const Case& c, const Data& data, int workers, const VQKernels* first = nullptr, bool packed = false) {
  const int64_t found = c.groups * c.rows * c.topk, by_code = c.groups * c.codes;
  Found result{std::vector<float>(found, kNaN), std::vector<int64_t>(found, -7), std::vector<int64_t>(by_code, -7),
               std::vector<int64_t>(by_code, -7)};
  VQProblem problem{};
  problem.type = ElementType::float32;
  problem.x = data.x.data();
  problem.group_stride = c.rows * c.width;
  problem.row_stride = c.width;
  problem.column_stride = 1;
  problem.codebook = data.codebook.data();
  problem.groups = c.groups, problem.rows = c.rows, problem.codes = c.codes, problem.width = c.width;
  problem.metric = c.metric;
  problem.topk = c.topk;
  problem.scores = result.scores.data();
  problem.indices = result.indices.data();
  problem.counts = result.counts.data();
  problem.nearest_rows = first ? nullptr : result.nearest.data();
  const VQKernels kernels = make_vq_kernels<CHECKED_ISA, Word>();
  if (!packed) {
    vq_lookup(kernels, problem, workers, run_on_threads, first);
    return result;
  }
  const int64_t bytes = vq_packed_bytes(kernels, problem, first);
  const auto memory = detail::aligned_bytes(bytes + 64);
  std::memset(memory.get(), 0xa5, bytes + 64);
  vq_pack(kernels, problem, memory.get(), 4 - workers, run_on_threads, first);
  for (int64_t i = bytes; i < bytes + 64; ++i)
    if (memory.get()[i] != std::byte{0xa5}) ++failures, std::printf("vq_pack writes past its bytes\n");
  vq_lookup(kernels, problem, workers, run_on_threads, first, memory.get());
  return result;
}

void fail(const char* name, const Case& c, const char* what, int64_t row) {
  ++failures;
  std::printf("%s: metric %d, %lld groups, %lld rows, %lld codes, width %lld, topk %d: %s of row or code %lld\n", name,
              static_cast<int>(c.metric), static_cast<long long>(c.groups), static_cast<long long>(c.rows),
              static_cast<long long>(c.codes), static_cast<long long>(c.width), c.topk, what,
              static_cast<long long>(row));
}

bool same_bits(const Found& a, const Found& b) {
  return a.indices == b.indices && a.counts == b.counts &&
         std::memcmp(a.scores.data(), b.scores.data(), 4 * b.scores.size()) == 0;
}

// A first pass with bfloat16 words changes no bit.
template <class Isa>
void check_first_pass(const char* name, const Case& c, const Data& data, const Found& found) {
  if constexpr (__is_same(Isa, Avx512Bf16)) {
    const VQKernels coarse = make_vq_kernels<Isa, BFloat16Pair>();
    for (int workers : {1, 3}) {
      if (!same_bits(look<float>(c, data, workers, &coarse), found)) fail(name, c, "first pass shows", -1);
      if (!same_bits(look<float>(c, data, workers, &coarse, true), found)) fail(name, c, "packing first shows", -1);
    }
  }
}

// Indices, scores and counts are those of float64; nearest rows are as near as float32 can tell, where it can hold the
// squares.
void check(const char* name, const Case& c, const Data& data, bool squares_fit = true) {
  const Found found = look<float>(c, data, 1), other = look<float>(c, data, 3);
  if (found.indices != other.indices || found.counts != other.counts || found.nearest != other.nearest)
    fail(name, c, "threads show", -1);
  const Found packed = look<float>(c, data, 2, nullptr, true);
  if (!same_bits(packed, found) || packed.nearest != found.nearest) fail(name, c, "packing shows", -1);
  check_first_pass<CHECKED_ISA>(name, c, data, found);
  std::vector<std::pair<double, int64_t>> ranked(c.codes);
  for (int64_t g = 0; g < c.groups; ++g) {
    std::vector<int64_t> counts(c.codes, 0);
    std::vector<double> nearest(c.codes, -std::numeric_limits<double>::infinity());
    const float* codes = data.codebook.data() + g * c.codes * c.width;
    bool any_row = false;
    for (int64_t row = 0; row < c.rows; ++row) {
      const float* x = data.x.data() + (g * c.rows + row) * c.width;
      const int64_t place = (g * c.rows + row) * c.topk;
      if (!finite(x, c.width)) {
        for (int i = 0; i < c.topk; ++i)
          if (found.indices[place + i] != 0 || !std::isnan(found.scores[place + i])) fail(name, c, "bad row", row);
        continue;
      }
      any_row = true;
      for (int64_t code = 0; code < c.codes; ++code) {
        ranked[code] = {-score(c, x, codes + code * c.width), code};
        nearest[code] = std::max(nearest[code], -ranked[code].first);
      }
      std::sort(ranked.begin(), ranked.end());
      ++counts[ranked[0].second];
      for (int i = 0; i < c.topk; ++i) {
        if (found.indices[place + i] != ranked[i].second) fail(name, c, "index", row);
        const double want = static_cast<float>(-ranked[i].first), got = found.scores[place + i];
        if (!(std::fabs(got - want) <= 1e-6 * std::fabs(want)) && got != want) fail(name, c, "score", row);
      }
    }
    for (int64_t code = 0; code < c.codes; ++code) {
      if (found.counts[g * c.codes + code] != counts[code]) fail(name, c, "count", code);
      if (!squares_fit) continue;
      const int64_t row = found.nearest[g * c.codes + code];
      if (!any_row || !finite(codes + code * c.width, c.width)) {
        if (row != -1) fail(name, c, "nearest row where there is none", code);
        continue;
      }
      if (row < 0 || row >= c.rows) {
        fail(name, c, "nearest row out of range", code);
        continue;
      }
      const double got = score(c, data.x.data() + (g * c.rows + row) * c.width, codes + code * c.width);
      if (!(nearest[code] - got <= 1e-4 * (1.0 + std::fabs(nearest[code])))) fail(name, c, "nearest row", code);
    }
  }
}

}  // namespace

int main() {
  std::mt19937 generator(1);
  std::normal_distribution<float> normal;
  const VQMetric metrics[] = {VQMetric::euclidean, VQMetric::cosine, VQMetric::dot};
  const Case shapes[] = {
      {VQMetric::euclidean, 1, 211, 97, 17, 1}, {VQMetric::euclidean, 1, 53, 131, 64, 5},
      {VQMetric::euclidean, 1, 1, 1, 4, 1},     {VQMetric::euclidean, 3, 130, 300, 8, 1},
      {VQMetric::euclidean, 2, 29, 50, 5, 16},  {VQMetric::euclidean, 1, 0, 7, 6, 2},
      {VQMetric::euclidean, 1, 60, 200, 256, 1}};
  for (const VQMetric metric : metrics)
    for (Case c : shapes) {
      c.metric = metric;
      check("normal", c, draw(c, [&] { return normal(generator); }));
      check("offset", c, draw(c, [&] { return normal(generator) + 1000.0f; }));
      if (metric != VQMetric::cosine) {
        // Many exact ties; every product and sum is exact.
        check("whole numbers", c, draw(c, [&] { return static_cast<float>(static_cast<int>(generator() % 5) - 2); }));
        check("large", c, draw(c, [&] { return normal(generator) * 1e30f; }), false);
        check("small", c, draw(c, [&] { return normal(generator) * 1e-30f; }));
      }
      Data equal = draw(c, [&] { return normal(generator); });
      for (std::size_t i = 0; i < equal.codebook.size(); ++i) equal.codebook[i] = equal.codebook[i % (2 * c.width)];
      check("equal codes", c, equal);
      Data bad = draw(c, [&] { return normal(generator); });
      for (std::size_t i = 0; i < bad.x.size(); i += 3 * c.width + 1) bad.x[i] = i % 2 ? kNaN : -1.0f / 0.0f;
      for (std::size_t i = 0; i < bad.codebook.size(); i += 4 * c.width + 1) bad.codebook[i] = i % 2 ? kNaN : 1.0f / 0.0f;
      check("not finite", c, bad);
      check("all codes bad", c, {bad.x, std::vector<float>(bad.codebook.size(), kNaN)});
    }
  std::printf(failures ? "%d failures\n" : "ok\n", failures);
  return failures ? 1 : 0;
}
