// Work over threads. The caller brings its own threads (torch's, a pool) as a ParallelFor, or takes std::thread.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace gptface {

// Runs body(worker, context) for worker = 0 … workers - 1, in any order, in parallel or not, and returns when all have.
using ParallelFor = void (*)(int workers, void (*body)(int worker, void* context), void* context);

inline void run_on_threads(int workers, void (*body)(int worker, void* context), void* context) {
  std::vector<std::thread> threads;
  threads.reserve(std::max(0, workers - 1));
  for (int worker = 1; worker < workers; ++worker) threads.emplace_back(body, worker, context);
  body(0, context);
  for (std::thread& thread : threads) thread.join();
}

// task(t, worker) for t = 0 … tasks - 1. Each worker takes the next `grain` tasks when it is done with its last, so
// uneven tasks balance; which worker runs a task must not show in the result. The first exception of a task is thrown
// here, after all workers stopped.
template <class Task>
void for_each_task(int64_t tasks, int64_t grain, int workers, ParallelFor parallel_for, const Task& task) {
  struct Shared {
    const Task* task;
    int64_t tasks, grain;
    std::atomic<int64_t> next{0};
    std::exception_ptr error;
    std::mutex error_mutex;
  } shared{&task, tasks, std::max<int64_t>(grain, 1), {}, {}, {}};
  const auto body = [](int worker, void* context) {
    Shared& s = *static_cast<Shared*>(context);
    try {
      for (int64_t begin; (begin = s.next.fetch_add(s.grain)) < s.tasks;)
        for (int64_t t = begin; t < std::min(begin + s.grain, s.tasks); ++t) (*s.task)(t, worker);
    } catch (...) {
      const std::lock_guard<std::mutex> lock(s.error_mutex);
      if (!s.error) s.error = std::current_exception();
      s.next.store(s.tasks);
    }
  };
  const int64_t useful = (tasks + shared.grain - 1) / shared.grain;
  workers = static_cast<int>(std::min<int64_t>(workers, useful));
  if (workers <= 1)
    body(0, &shared);
  else
    parallel_for(workers, body, &shared);
  if (shared.error) std::rethrow_exception(shared.error);
}

}  // namespace gptface
