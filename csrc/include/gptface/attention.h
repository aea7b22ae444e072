// Masked attention on the CPU without torch: fill an AttentionProblem, take the kernels of an instruction set
// (make_attention_kernels in attention_kernels.h), and bring threads or take std::thread.
#pragma once

#include <vector>

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
    const AttentionKernels& kernels, const AttentionProblem& problem, int workers,
    ParallelFor parallel_for = run_on_threads) {
  const int64_t tasks = kernels.forward_tasks(problem);
  if (tasks == 0) return;
  // Tasks of one key head share its packed keys and values: hand them out together where enough remains for all.
  const int64_t together = tasks / (problem.batch * problem.key_heads);
  const int64_t grain = std::clamp<int64_t>(tasks / (4 * workers), 1, together);
  detail::run_attention_tasks(
      tasks, grain, kernels.forward_scratch(problem), workers, parallel_for,
      [&](int64_t task, std::byte* scratch) { kernels.forward_task(problem, task, scratch); });
}

// Fills grad_query, grad_key and grad_value; out and lse are the forward's. `chunks` is kernels.backward_chunks(problem),
// and where it is more than one grad_shares is there.
inline void attention_backward(
    const AttentionKernels& kernels, const AttentionProblem& problem, int workers,
    ParallelFor parallel_for = run_on_threads) {
  detail::run_attention_tasks(
      problem.batch * problem.key_heads * problem.chunks, 1, kernels.backward_scratch(problem), workers, parallel_for,
      [&](int64_t task, std::byte* scratch) { kernels.backward_task(problem, task, scratch); });
  if (problem.chunks > 1)
    for_each_task(problem.batch * problem.heads, 1, workers, parallel_for, [&](int64_t task, int) {
      kernels.add_shares(problem, task);
    });
}

}  // namespace gptface
