// What the float32 kernels of masked attention spend their time on, as one line of JSON: see attention_breakdown.py.
//
//   attention_breakdown INTERVALS BATCH LENGTH HEADS WIDTH ROUNDS
//
// INTERVALS is a file of int32 (batch, length, 2), or "full". One thread, CPU time, the fastest of ROUNDS: what disturbs
// a measurement only ever adds.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include <gptface/attention.h>
#include <gptface/attention_kernels.h>

namespace {

using namespace gptface;
using Isa = BREAKDOWN_ISA;
using V = Simd<Isa>;
using Forward = AttentionForward<Isa, float>;
using Backward = AttentionBackward<Isa, float>;

double cpu_seconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

double fastest(int rounds, const std::function<void()>& work) {
  double best = 1e30;
  for (int round = 0; round < rounds; ++round) {
    const double begin = cpu_seconds();
    work();
    best = std::min(best, cpu_seconds() - begin);
  }
  return best;
}

constexpr int64_t kLine = 64;

// Where the next cache line begins, as torch's tensors do.
template <class T>
T* on_a_line(T* p) {
  return reinterpret_cast<T*>((reinterpret_cast<uintptr_t>(p) + kLine - 1) / kLine * kLine);
}

volatile float sink;

// Multiply-adds a second, in single numbers, of independent sums that stay in registers.
double multiply_add_rate(int rounds) {
  constexpr int kSums = 12;
  constexpr int64_t kSteps = 1 << 22;
  const double seconds = fastest(rounds, [] {
    const auto a = V::set(sink), b = V::set(sink + 0.5f);
    typename V::Float sums[kSums];
#pragma GCC unroll 12
    for (int i = 0; i < kSums; ++i) sums[i] = V::set(static_cast<float>(i));
    for (int64_t step = 0; step < kSteps; ++step) {
#pragma GCC unroll 12
      for (int i = 0; i < kSums; ++i) sums[i] = V::multiply_add(sums[i], a, b);
    }
    auto total = sums[0];
#pragma GCC unroll 12
    for (int i = 1; i < kSums; ++i) total = V::add(total, sums[i]);
    sink = V::largest(total);
  });
  sink = 0.0f;
  return static_cast<double>(kSums * kSteps * V::width) / seconds;
}

struct Steps {
  double weights, gradients;  // seconds for a vector of queries and a key
};

// The steps between the products, on scores that are in the first-level cache.
Steps step_seconds(AttentionProblem problem, int rounds) {
  constexpr int64_t kKeys = 32, kRepeats = 2000;
  problem.part_keys = problem.chunk_keys = kKeys;
  std::vector<AttentionPart> plan{{0, 0, V::width, 0, kKeys}};
  problem.parts = plan.data();
  std::vector<std::byte> memory(std::max(Forward::scratch_bytes(problem), Backward::Layout::scratch_bytes(problem)) + kLine);
  std::byte* base = on_a_line(memory.data());
  ScratchCursor forward_cursor{base};
  typename Forward::Scratch forward(problem, forward_cursor);
  for (int64_t i = 0; i < kKeys * V::width; ++i) forward.scores[i] = -0.01f * static_cast<float>(i % 100);
  for (int64_t i = 0; i < V::width; ++i) forward.top[i] = forward.total[i] = 0.0f;
  Steps steps;
  steps.weights = fastest(rounds, [&] {
    for (int64_t n = 0; n < kRepeats; ++n)
      Forward::template weigh<false>(problem, forward, 0, 0, 0, 0, V::width, 0, 0, kKeys);
  });
  ScratchCursor backward_cursor{base};
  typename Backward::Context context{
      problem, plan[0], typename Backward::Scratch(problem, backward_cursor), 0, 0, 0, 0, kKeys, problem.width,
      round_up<V::width>(problem.width), 0, 0, V::width, V::width, false, false, false};
  std::vector<float> scores(kKeys * V::width, -0.5f), grads(kKeys * V::width, 0.25f);
  for (int64_t i = 0; i < V::width; ++i) context.s.lse[i] = context.s.delta[i] = 0.0f;
  steps.gradients = fastest(rounds, [&] {
    for (int64_t n = 0; n < kRepeats; ++n)
      for (int64_t j = 0; j < kKeys; j += 4)
        Backward::four_rows(context, context.s.masks[0], false, 0, 0, j, j, V::width, scores.data() + j * V::width,
                            grads.data() + j * V::width);
  });
  const double count = static_cast<double>(kRepeats * kKeys);
  return {steps.weights / count, steps.gradients / count};
}

// Pairs of a head that are computed: whole vectors of queries against whole blocks of keys.
int64_t computed_pairs(const AttentionProblem& problem, const AttentionKernels& kernels) {
  int64_t pairs = 0;
  PanelMask<Isa> mask;
  for (const AttentionPart& part : detail::attention_plan(kernels, problem))
    for (int64_t first = part.query_begin; first < part.query_end; first += V::width) {
      mask.load(problem, part.batch, first, std::min<int64_t>(V::width, part.query_end - first));
      mask.for_each_range(0, 0, problem.keys + kKeyBlock, [&](int64_t from, int64_t to) { pairs += (to - from) * V::width; });
    }
  return pairs;
}

int64_t visible_pairs(const AttentionProblem& problem) {
  int64_t pairs = 0;
  for (int64_t row = 0; row < problem.batch * problem.queries; ++row)
    pairs += problem.intervals ? std::max(0, problem.intervals[2 * row + 1] - problem.intervals[2 * row]) : problem.keys;
  return pairs;
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 7) return 2;
  AttentionProblem problem{};
  problem.type = ElementType::float32;
  problem.batch = std::atoll(arguments[2]);
  problem.queries = problem.keys = std::atoll(arguments[3]);
  problem.heads = problem.key_heads = std::atoll(arguments[4]);
  problem.width = std::atoll(arguments[5]);
  const int rounds = std::atoi(arguments[6]);
  problem.scale = 1.0f / std::sqrt(static_cast<float>(problem.width));
  std::vector<int32_t> intervals(2 * problem.batch * problem.queries);
  if (std::strcmp(arguments[1], "full") != 0) {
    std::FILE* file = std::fopen(arguments[1], "rb");
    if (!file || std::fread(intervals.data(), sizeof(int32_t), intervals.size(), file) != intervals.size()) return 3;
    std::fclose(file);
    problem.intervals = intervals.data();
    problem.interval_batch_stride = 2 * problem.queries;
    problem.interval_count = 1;
  }
  const int64_t row = problem.heads * problem.width;
  std::vector<std::vector<float>> tensors(8, std::vector<float>(problem.batch * problem.queries * row + kLine));
  std::mt19937 generator(1);
  std::normal_distribution<float> normal;
  AttentionTensor* const places[] = {&problem.query, &problem.key,        &problem.value,    &problem.grad_out,
                                     &problem.out,   &problem.grad_query, &problem.grad_key, &problem.grad_value};
  for (int i = 0; i < 8; ++i) {
    if (i < 4) std::generate(tensors[i].begin(), tensors[i].end(), [&] { return normal(generator); });
    *places[i] = {on_a_line(tensors[i].data()), problem.queries * row, row, problem.width};
  }
  std::vector<float> lse(problem.batch * problem.heads * problem.queries), shares;
  problem.lse = lse.data();
  const AttentionKernels kernels = make_attention_kernels<Isa, float>();
  problem.chunks = attention_backward_chunks(kernels, problem);
  if (problem.chunks > 1) shares.resize(problem.chunks * tensors[0].size());
  problem.grad_shares = shares.data();

  const double forward = fastest(rounds, [&] { attention_forward(kernels, problem, 1); });
  const double backward = fastest(rounds, [&] { attention_backward(kernels, problem, 1); });
  const Steps steps = step_seconds(problem, rounds);
  std::printf(
      "{\"rate\": %.6g, \"lanes\": %d, \"visible\": %lld, \"computed\": %lld, \"forward\": %.6g, \"backward\": %.6g, "
      "\"weights\": %.6g, \"gradients\": %.6g}\n",
      multiply_add_rate(rounds), V::width, static_cast<long long>(visible_pairs(problem) * problem.heads),
      static_cast<long long>(computed_pairs(problem, kernels) * problem.heads), forward, backward, steps.weights,
      steps.gradients);
  return 0;
}
