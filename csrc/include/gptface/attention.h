// Masked attention on the CPU without torch: fill an AttentionProblem, take the kernels of an instruction set
// (make_attention_kernels in attention_kernels.h), and bring threads or take std::thread.
#pragma once

#include <vector>

#include <gptface/attention_plan.h>
#include <gptface/attention_problem.h>
#include <gptface/parallel.h>
#include <gptface/thread_scratch.h>

namespace gptface {

namespace detail {

template <class Task>
void run_attention_tasks(
    int64_t tasks, int64_t grain, int64_t scratch_bytes, int workers, ParallelFor parallel_for, const Task& task) {
  std::vector<ThreadScratch> scratch(std::max(workers, 1));
  for_each_task(tasks, grain, workers, parallel_for, [&](int64_t t, int worker) {
    task(t, scratch[worker].get(scratch_bytes));
  });
}

}  // namespace detail

// Fills out and lse. Throws std::bad_alloc where there is no memory for the threads' scratch: O(keys · width) each.
inline void attention_forward(
    const AttentionKernels& kernels, AttentionProblem problem, int workers,
    ParallelFor parallel_for = run_on_threads) {
  const std::vector<AttentionPart> plan = detail::attention_plan(kernels, problem);
  if (plan.empty() || problem.heads == 0) return;
  problem = detail::planned(problem, plan);
  const int64_t tasks = (plan.back().panels_before + plan.back().panels) * problem.heads;
  // Tasks of one key head of a part share its packed keys and values: hand them out together where enough remains for
  // all.
  const int64_t together = tasks / (problem.part_count * problem.key_heads);
  const int64_t grain = std::clamp<int64_t>(tasks / (4 * workers), 1, std::max<int64_t>(together, 1));
  detail::run_attention_tasks(
      tasks, grain, kernels.forward_scratch(problem), workers, parallel_for,
      [&](int64_t task, std::byte* scratch) { kernels.forward_task(problem, task, scratch); });
}

// Into how many chunks the backward cuts the keys of a part at most, each with a share of grad_query.
inline int64_t attention_backward_chunks(const AttentionKernels& kernels, const AttentionProblem& problem) {
  int64_t most = 1;
  for (const AttentionPart& part : detail::attention_plan(kernels, problem)) most = std::max(most, part.chunks);
  return most;
}

// Fills grad_query, grad_key and grad_value; out and lse are the forward's. `chunks` is attention_backward_chunks, and
// where it is more than one grad_shares is there.
inline void attention_backward(
    const AttentionKernels& kernels, AttentionProblem problem, int workers,
    ParallelFor parallel_for = run_on_threads) {
  const std::vector<AttentionPart> plan = detail::attention_plan(kernels, problem);
  if (plan.empty() || problem.key_heads == 0) return;
  problem = detail::planned(problem, plan);
  detail::run_attention_tasks(
      (plan.back().chunks_before + plan.back().chunks) * problem.key_heads, 1, kernels.backward_scratch(problem), workers,
      parallel_for,
      [&](int64_t task, std::byte* scratch) { kernels.backward_task(problem, task, scratch); });
  if (problem.chunks > 1)
    for_each_task(problem.part_count * problem.heads, 1, workers, parallel_for, [&](int64_t task, int) {
      kernels.add_shares(problem, task);
    });
}

}  // namespace gptface
