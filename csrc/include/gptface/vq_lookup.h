// VQ lookup on the CPU without torch: fill a VQProblem, take the kernels of an instruction set (make_vq_kernels in
// vq_block.h), and bring threads or take std::thread.
#pragma once

#include <cmath>
#include <limits>
#include <vector>

#include <gptface/parallel.h>
#include <gptface/thread_scratch.h>
#include <gptface/vq_problem.h>

namespace gptface {

namespace detail {

// Sums over the usable codes of a stretch of the codebook.
struct CodeSums {
  std::vector<double> sum;
  double squares = 0.0;
  int64_t number = 0;
};

inline CodeSums sum_codes(const VQProblem& problem, int64_t group, int64_t begin, int64_t end) {
  CodeSums sums;
  sums.sum.assign(problem.width, 0.0);
  for (int64_t code = begin; code < end; ++code) {
    const float* values = problem.codebook + (group * problem.codes + code) * problem.width;
    double square = 0.0;
    bool finite = true;
    for (int64_t k = 0; k < problem.width; ++k) {
      finite = finite && std::isfinite(values[k]);
      square += static_cast<double>(values[k]) * values[k];
    }
    if (!finite) continue;
    const bool scaled = problem.metric == VQMetric::cosine && square > 0.0;
    const double factor = scaled ? 1.0 / std::sqrt(square) : 1.0;
    for (int64_t k = 0; k < problem.width; ++k) sums.sum[k] += values[k] * factor;
    sums.squares += square * factor * factor;
    ++sums.number;
  }
  return sums;
}

// The mean of the usable codes, rounded to a multiple of a power of two no smaller than their spread: data without an
// offset is left alone, and differences of whole numbers stay whole. Moving codes by the same vector does not change
// their order for a row; that of a distance moves along.
inline void centre_of(const VQProblem& problem, const std::vector<CodeSums>& stretches, float* centre) {
  CodeSums all;
  all.sum.assign(problem.width, 0.0);
  for (const CodeSums& part : stretches) {
    for (int64_t k = 0; k < problem.width; ++k) all.sum[k] += part.sum[k];
    all.squares += part.squares;
    all.number += part.number;
  }
  const double number = static_cast<double>(std::max<int64_t>(all.number, 1));
  double variance = all.squares / number;
  for (double& sum : all.sum) {
    sum /= number;
    variance -= sum * sum;
  }
  const double spread = std::sqrt(std::max(variance, 0.0) / static_cast<double>(problem.width));
  const double step = std::exp2(std::ceil(std::log2(std::max(spread, 1e-300))));
  for (int64_t k = 0; k < problem.width; ++k) {
    const double multiples = all.sum[k] / step;
    const double rounded = std::fabs(multiples) < 0x1p52 ? std::nearbyint(multiples) * step : all.sum[k];
    centre[k] = static_cast<float>(rounded);
  }
}

inline std::unique_ptr<std::byte[], void (*)(std::byte*)> aligned_bytes(int64_t bytes) {
  return {new (std::align_val_t{64}) std::byte[std::max<int64_t>(bytes, 1)],
          [](std::byte* memory) { ::operator delete[](memory, std::align_val_t{64}); }};
}

}  // namespace detail

// Fills scores, indices, counts and nearest_rows, the same whatever the number of workers. Besides them it takes one
// copy of the codebook with a bias a code, O(width) a worker, and 8 bytes a code and worker where nearest rows are asked
// for. Throws std::bad_alloc.
inline void vq_lookup(
    const VQKernels& kernels, const VQProblem& problem, int workers, ParallelFor parallel_for = run_on_threads) {
  workers = std::max(workers, 1);
  const int64_t groups = problem.groups, codes = problem.codes, rows = problem.rows;
  const int64_t panels = (codes + kernels.panel - 1) / kernels.panel, padded = panels * kernels.panel;
  const int64_t words = panels * kernels.panel_words(problem);
  std::fill_n(problem.counts, groups * codes, int64_t{0});
  if (problem.nearest_rows) std::fill_n(problem.nearest_rows, groups * codes, int64_t{-1});
  if (groups == 0 || rows == 0) return;

  // Stretches depend on the shape alone, so that the centre does not depend on the workers.
  constexpr int64_t kStretch = 512;
  const int64_t stretches = (codes + kStretch - 1) / kStretch;
  std::vector<std::vector<detail::CodeSums>> sums(groups, std::vector<detail::CodeSums>(stretches));
  for_each_task(groups * stretches, 1, workers, parallel_for, [&](int64_t task, int) {
    const int64_t group = task / stretches, begin = task % stretches * kStretch;
    sums[group][task % stretches] = detail::sum_codes(problem, group, begin, std::min(begin + kStretch, codes));
  });
  const auto packed_words = detail::aligned_bytes(groups * words * 4);
  std::vector<float> centres(groups * problem.width), biases(groups * padded);
  std::vector<VQPackedGroup> packed(groups);
  for (int64_t group = 0; group < groups; ++group) {
    float* centre = centres.data() + group * problem.width;
    detail::centre_of(problem, sums[group], centre);
    packed[group] = {packed_words.get() + group * words * 4, biases.data() + group * padded, centre, 0.0};
  }
  sums.clear();

  std::vector<detail::ThreadScratch> scratch(workers), pack_scratch(workers);
  std::vector<double> norms(groups * panels);
  const int64_t pack_bytes = kernels.pack_scratch(problem), block_bytes = kernels.block_scratch(problem);
  for_each_task(groups * panels, 4, workers, parallel_for, [&](int64_t task, int worker) {
    const int64_t group = task / panels;
    norms[task] =
        kernels.pack_panel(problem, packed[group], group, task % panels, pack_scratch[worker].get(pack_bytes));
  });
  for (int64_t task = 0; task < groups * panels; ++task) {
    VQPackedGroup& of = packed[task / panels];
    of.largest_norm = std::max(of.largest_norm, norms[task]);
  }

  const int64_t seen = problem.nearest_rows ? workers * groups * padded : 0;
  std::vector<float> nearest_value(seen, -std::numeric_limits<float>::infinity());
  std::vector<int32_t> nearest_row(seen, -1);
  const int64_t block = kernels.block_rows(problem), blocks = (rows + block - 1) / block;
  for_each_task(groups * blocks, 1, workers, parallel_for, [&](int64_t task, int worker) {
    const int64_t group = task / blocks, first = task % blocks * block;
    const int64_t place = (worker * groups + group) * padded;
    VQNearest nearest{nearest_value.data() + place, nearest_row.data() + place};
    kernels.block(
        problem, packed[group], group, first, std::min(block, rows - first), problem.nearest_rows ? &nearest : nullptr,
        scratch[worker].get(block_bytes));
  });

  for_each_task(groups, 1, workers, parallel_for, [&](int64_t group, int) {
    for (int64_t row = group * rows; row < (group + 1) * rows; ++row)
      if (!std::isnan(problem.scores[row * problem.topk]))
        ++problem.counts[group * codes + problem.indices[row * problem.topk]];
    for (int64_t code = 0; problem.nearest_rows && code < codes; ++code) {
      if (packed[group].bias[code] == kVQUnusable) continue;
      float value = -std::numeric_limits<float>::infinity();
      int32_t row = -1;
      for (int worker = 0; worker < workers; ++worker) {
        const int64_t place = (worker * groups + group) * padded + code;
        const bool better = nearest_value[place] > value ||
            (nearest_value[place] == value && nearest_row[place] >= 0 && nearest_row[place] < row);
        if (better) value = nearest_value[place], row = nearest_row[place];
      }
      problem.nearest_rows[group * codes + code] = row;
    }
  });
}

}  // namespace gptface
