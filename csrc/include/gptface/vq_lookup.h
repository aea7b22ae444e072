// VQ lookup on the CPU without torch: fill a VQProblem, take the kernels of an instruction set (make_vq_kernels in
// vq_block.h), and bring threads or take std::thread. A codebook that stays may be packed once (vq_codebook.h).
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <vector>

#include <gptface/vq_codebook.h>

namespace gptface {

namespace detail {

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
    const VQKernels& first, const VQProblem& problem, const std::vector<VQPackedGroup>& packed,
    std::vector<OpenRows>& open, int workers, ParallelFor parallel_for) {
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
        problem, packed[group], group, {begin, number, nullptr}, nullptr, rows, scratch[worker].get(bytes));
    of.append(rows, left);
    of.tried.fetch_add(number, std::memory_order_relaxed);
  });
}

}  // namespace detail

// Fills scores, indices, counts and nearest_rows, the same whatever the number of workers. `first`, where there is one,
// are kernels of coarser and faster words that settle the rows they can; results are the same without them. They are
// passed over where nearest rows are asked for, which the words of `kernels` decide. `packed`, where it is given, is
// what vq_pack made of the same codebook, metric, `kernels` and `first`; results are the same bits without it.
//
// Besides the results it takes O(width) a worker, 4 bytes a row with `first`, and 8 bytes a code and worker where nearest
// rows are asked for; without `packed` also one copy of the codebook with a bias a code (half a copy more while `first`
// works). Throws std::bad_alloc.
inline void vq_lookup(
    const VQKernels& kernels, const VQProblem& problem, int workers, ParallelFor parallel_for = run_on_threads,
    const VQKernels* first = nullptr, const std::byte* packed = nullptr) {
  workers = std::max(workers, 1);
  const int64_t groups = problem.groups, codes = problem.codes, rows = problem.rows;
  std::fill_n(problem.counts, groups * codes, int64_t{0});
  if (problem.nearest_rows) std::fill_n(problem.nearest_rows, groups * codes, int64_t{-1});
  if (groups == 0 || rows == 0) return;

  const detail::CodebookSource source(kernels, problem, first, packed, workers, parallel_for);
  std::vector<detail::OpenRows> open(first && !problem.nearest_rows ? groups : 0);
  if (!open.empty()) {
    const detail::PackedCodebook coarse = source.coarse();
    detail::settle_what_is_clear(*first, problem, coarse.groups, open, workers, parallel_for);
  }

  const int64_t block = kernels.block_rows(problem), bytes = kernels.block_scratch(problem);
  std::vector<int64_t> first_task(groups + 1, 0);  // of a group
  for (int64_t group = 0; group < groups; ++group) {
    const int64_t number = open.empty() ? rows : open[group].number.load();
    first_task[group + 1] = first_task[group] + (number + block - 1) / block;
  }
  if (first_task[groups] > 0) {
    const detail::PackedCodebook fine = source.fine();
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
          problem, fine.groups[group], group, {begin, number, open.empty() ? nullptr : open[group].row.data() + begin},
          problem.nearest_rows ? &nearest : nullptr, nullptr, scratch[worker].get(bytes));
    });
    for (int64_t group = 0; problem.nearest_rows && group < groups; ++group)
      detail::merge_nearest(problem, fine.groups[group], group, workers, padded, nearest_value, nearest_row);
  }

  for_each_task(groups, 1, workers, parallel_for, [&](int64_t group, int) {
    for (int64_t row = group * rows; row < (group + 1) * rows; ++row)
      if (!std::isnan(problem.scores[row * problem.topk]))
        ++problem.counts[group * codes + problem.indices[row * problem.topk]];
  });
}

}  // namespace gptface
