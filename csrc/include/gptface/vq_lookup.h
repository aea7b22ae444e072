// VQ lookup on the CPU without torch: fill a VQProblem, take the kernels of an instruction set (make_vq_kernels in
// vq_block.h), and bring threads or take std::thread.
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include <gptface/parallel.h>
#include <gptface/thread_scratch.h>
#include <gptface/vq_problem.h>

namespace gptface {

namespace detail {

// The mean of the usable codes, rounded to a multiple of a power of two no smaller than their spread: data without an
// offset is left alone, and differences of whole numbers stay whole. Moving codes by the same vector does not change
// their order for a row; that of a distance moves along.
inline void centre_of(const VQProblem& problem, const std::vector<VQCodeSums>& stretches, float* centre) {
  std::vector<double> mean(problem.width, 0.0);
  double squares = 0.0;
  int64_t usable = 0;
  for (const VQCodeSums& part : stretches) {
    for (int64_t k = 0; k < problem.width; ++k) mean[k] += part.sum[k];
    squares += part.squares;
    usable += part.number;
  }
  const double number = static_cast<double>(std::max<int64_t>(usable, 1));
  double variance = squares / number;
  for (double& sum : mean) {
    sum /= number;
    variance -= sum * sum;
  }
  const double spread = std::sqrt(std::max(variance, 0.0) / static_cast<double>(problem.width));
  const double step = std::exp2(std::ceil(std::log2(std::max(spread, 1e-300))));
  for (int64_t k = 0; k < problem.width; ++k) {
    const double multiples = mean[k] / step;
    const double rounded = std::fabs(multiples) < 0x1p52 ? std::nearbyint(multiples) * step : mean[k];
    centre[k] = static_cast<float>(rounded);
  }
}

// Of every group. Stretches depend on the shape alone, so that a centre does not depend on the workers.
inline std::vector<float> centres_of(
    const VQKernels& kernels, const VQProblem& problem, int workers, ParallelFor parallel_for) {
  constexpr int64_t kStretch = 512;
  const int64_t stretches = (problem.codes + kStretch - 1) / kStretch, width = problem.width;
  std::vector<double> memory(problem.groups * stretches * width, 0.0);
  std::vector<std::vector<VQCodeSums>> sums(problem.groups, std::vector<VQCodeSums>(stretches));
  for_each_task(problem.groups * stretches, 1, workers, parallel_for, [&](int64_t task, int) {
    const int64_t group = task / stretches, begin = task % stretches * kStretch;
    VQCodeSums& into = sums[group][task % stretches];
    into = {memory.data() + task * width, 0.0, 0};
    kernels.sum_codes(problem, group, begin, std::min(begin + kStretch, problem.codes), into);
  });
  std::vector<float> centres(problem.groups * width);
  for (int64_t group = 0; group < problem.groups; ++group)
    centre_of(problem, sums[group], centres.data() + group * width);
  return centres;
}

inline std::unique_ptr<std::byte[], void (*)(std::byte*)> aligned_bytes(int64_t bytes) {
  return {new (std::align_val_t{64}) std::byte[std::max<int64_t>(bytes, 1)],
          [](std::byte* memory) { ::operator delete[](memory, std::align_val_t{64}); }};
}

}  // namespace detail

namespace detail {

// Codes as one set of kernels wants them.
struct PackedCodebook {
  std::unique_ptr<std::byte[], void (*)(std::byte*)> words;
  std::vector<float> biases;
  std::vector<VQPackedGroup> groups;
};

inline PackedCodebook pack_codebook(
    const VQKernels& kernels, const VQProblem& problem, const std::vector<float>& centres, int workers,
    ParallelFor parallel_for) {
  const int64_t groups = problem.groups, panels = (problem.codes + kernels.panel - 1) / kernels.panel;
  const int64_t padded = panels * kernels.panel, bytes = panels * kernels.panel_words(problem) * 4;
  PackedCodebook packed{aligned_bytes(groups * bytes), std::vector<float>(groups * padded), {}};
  for (int64_t group = 0; group < groups; ++group)
    packed.groups.push_back({packed.words.get() + group * bytes, packed.biases.data() + group * padded,
                             centres.data() + group * problem.width, 0.0, 0.0});
  std::vector<ThreadScratch> scratch(workers);
  std::vector<VQNorms> norms(groups * panels);
  const int64_t scratch_bytes = kernels.pack_scratch(problem);
  for_each_task(groups * panels, 4, workers, parallel_for, [&](int64_t task, int worker) {
    const int64_t group = task / panels;
    norms[task] =
        kernels.pack_panel(problem, packed.groups[group], group, task % panels, scratch[worker].get(scratch_bytes));
  });
  for (int64_t task = 0; task < groups * panels; ++task) {
    VQPackedGroup& of = packed.groups[task / panels];
    of.largest_norm = std::max(of.largest_norm, norms[task].norm);
    // A residual that is no number (a code beyond bfloat16's range) must not be lost in a comparison.
    if (!(norms[task].residual <= of.largest_residual)) of.largest_residual = norms[task].residual;
  }
  return packed;
}

// The best row of every code over all workers; of equal ones the first.
inline void merge_nearest(
    const VQProblem& problem, const VQPackedGroup& packed, int64_t group, int workers, int64_t padded,
    const std::vector<float>& values, const std::vector<int32_t>& rows) {
  for (int64_t code = 0; code < problem.codes; ++code) {
    if (packed.bias[code] == kVQUnusable) continue;
    float value = -std::numeric_limits<float>::infinity();
    int32_t row = -1;
    for (int worker = 0; worker < workers; ++worker) {
      const int64_t place = (worker * problem.groups + group) * padded + code;
      const bool better =
          values[place] > value || (values[place] == value && rows[place] >= 0 && rows[place] < row);
      if (better) value = values[place], row = rows[place];
    }
    problem.nearest_rows[group * problem.codes + code] = row;
  }
}

// Rows of one group that a first pass left open.
struct OpenRows {
  std::vector<int32_t> row;
  std::atomic<int64_t> number{0}, tried{0};

  void append(const int32_t* rows, int64_t count) {
    std::copy_n(rows, count, row.data() + number.fetch_add(count, std::memory_order_relaxed));
  }
};

// Where the words of `first` leave most rows open, a first pass is work for nothing, and the rest goes without.
inline void settle_what_is_clear(
    const VQKernels& first, const VQProblem& problem, const PackedCodebook& packed, std::vector<OpenRows>& open,
    int workers, ParallelFor parallel_for) {
  constexpr int64_t kTrial = 512;  // rows
  const int64_t block = first.block_rows(problem), blocks = (problem.rows + block - 1) / block;
  const int64_t bytes = first.block_scratch(problem);
  std::vector<ThreadScratch> scratch(workers);
  for (OpenRows& of : open) of.row.resize(problem.rows);
  for_each_task(problem.groups * blocks, 1, workers, parallel_for, [&](int64_t task, int worker) {
    const int64_t group = task / blocks, begin = task % blocks * block, number = std::min(block, problem.rows - begin);
    OpenRows& of = open[group];
    int32_t rows[kVQMostBlockRows];
    const int64_t tried = of.tried.load(std::memory_order_relaxed);
    if (tried >= kTrial && 2 * of.number.load(std::memory_order_relaxed) > tried) {
      for (int64_t i = 0; i < number; ++i) rows[i] = static_cast<int32_t>(begin + i);
      of.append(rows, number);
      return;
    }
    const int64_t left = first.block(
        problem, packed.groups[group], group, {begin, number, nullptr}, nullptr, rows, scratch[worker].get(bytes));
    of.append(rows, left);
    of.tried.fetch_add(number, std::memory_order_relaxed);
  });
}

}  // namespace detail

// Fills scores, indices, counts and nearest_rows, the same whatever the number of workers. `first`, where there is one,
// are kernels of coarser and faster words that settle the rows they can; results are the same without them. They are
// passed over where nearest rows are asked for, which the words of `kernels` decide.
//
// Besides the results it takes one copy of the codebook with a bias a code (half a copy more while `first` works, and 4
// bytes a row), O(width) a worker, and 8 bytes a code and worker where nearest rows are asked for. Throws
// std::bad_alloc.
inline void vq_lookup(
    const VQKernels& kernels, const VQProblem& problem, int workers, ParallelFor parallel_for = run_on_threads,
    const VQKernels* first = nullptr) {
  workers = std::max(workers, 1);
  const int64_t groups = problem.groups, codes = problem.codes, rows = problem.rows;
  std::fill_n(problem.counts, groups * codes, int64_t{0});
  if (problem.nearest_rows) std::fill_n(problem.nearest_rows, groups * codes, int64_t{-1});
  if (groups == 0 || rows == 0) return;

  const std::vector<float> centres = detail::centres_of(kernels, problem, workers, parallel_for);
  std::vector<detail::OpenRows> open(first && !problem.nearest_rows ? groups : 0);
  if (!open.empty()) {
    const auto coarse = detail::pack_codebook(*first, problem, centres, workers, parallel_for);
    detail::settle_what_is_clear(*first, problem, coarse, open, workers, parallel_for);
  }

  const int64_t block = kernels.block_rows(problem), bytes = kernels.block_scratch(problem);
  std::vector<int64_t> first_task(groups + 1, 0);  // of a group
  for (int64_t group = 0; group < groups; ++group) {
    const int64_t number = open.empty() ? rows : open[group].number.load();
    first_task[group + 1] = first_task[group] + (number + block - 1) / block;
  }
  if (first_task[groups] > 0) {
    const auto packed = detail::pack_codebook(kernels, problem, centres, workers, parallel_for);
    const int64_t padded = (codes + kernels.panel - 1) / kernels.panel * kernels.panel;
    const int64_t seen = problem.nearest_rows ? workers * groups * padded : 0;
    std::vector<float> nearest_value(seen, -std::numeric_limits<float>::infinity());
    std::vector<int32_t> nearest_row(seen, -1);
    std::vector<detail::ThreadScratch> scratch(workers);
    for_each_task(first_task[groups], 1, workers, parallel_for, [&](int64_t task, int worker) {
      const int64_t group = std::upper_bound(first_task.begin(), first_task.end(), task) - first_task.begin() - 1;
      const int64_t begin = (task - first_task[group]) * block, place = (worker * groups + group) * padded;
      VQNearest nearest{nearest_value.data() + place, nearest_row.data() + place};
      const int64_t number = std::min(block, (open.empty() ? rows : open[group].number.load()) - begin);
      kernels.block(
          problem, packed.groups[group], group, {begin, number, open.empty() ? nullptr : open[group].row.data() + begin},
          problem.nearest_rows ? &nearest : nullptr, nullptr, scratch[worker].get(bytes));
    });
    for (int64_t group = 0; problem.nearest_rows && group < groups; ++group)
      detail::merge_nearest(problem, packed.groups[group], group, workers, padded, nearest_value, nearest_row);
  }

  for_each_task(groups, 1, workers, parallel_for, [&](int64_t group, int) {
    for (int64_t row = group * rows; row < (group + 1) * rows; ++row)
      if (!std::isnan(problem.scores[row * problem.topk]))
        ++problem.counts[group * codes + problem.indices[row * problem.topk]];
  });
}

}  // namespace gptface
