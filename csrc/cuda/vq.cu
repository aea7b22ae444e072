// Launcher of gptface/vq_short_kernels.cuh. No synchronisation with the host; safe under CUDA graphs.
#include <gptface/built_from.h>
#include <gptface/vq_short_kernels.cuh>

#include <torch/csrc/stable/macros.h>
#include <torch/headeronly/util/Exception.h>

namespace gptface {

namespace {

void check(cudaError_t status) {
  STD_TORCH_CHECK(status == cudaSuccess, "gptface: CUDA: ", cudaGetErrorString(status));
}

template <int Width, class Element>
void launch(const VQShortProblem& problem, cudaStream_t queue) {
  constexpr int64_t rows = kThreads * rows_of_a_thread(Width);
  const int64_t blocks = (problem.rows + rows - 1) / rows * problem.groups;
  const int64_t decided = (problem.groups * problem.rows + kThreads - 1) / kThreads;
  const dim3 grid(static_cast<unsigned>(blocks), static_cast<unsigned>(problem.shares));
  nominate_kernel<Width, Element><<<grid, kThreads, 0, queue>>>(problem);
  check(cudaGetLastError());
  decide_kernel<Element><<<static_cast<unsigned>(decided), kThreads, 0, queue>>>(problem);
  check(cudaGetLastError());
}

template <class Element>
void launch_for_width(const VQShortProblem& problem, cudaStream_t queue) {
  if (problem.width <= 4)
    launch<4, Element>(problem, queue);
  else if (problem.width <= 8)
    launch<8, Element>(problem, queue);
  else if (problem.width <= 16)
    launch<16, Element>(problem, queue);
  else
    launch<32, Element>(problem, queue);
}

}  // namespace

// Two blocks a multiprocessor are wanted, and two tiles a share at least.
int vq_short_shares(int64_t groups, int64_t rows, int64_t codes, int width) {
  int device = 0, multiprocessors = 0;
  check(cudaGetDevice(&device));
  check(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device));
  const int64_t rows_each = kThreads * rows_of_a_thread(width);
  const int64_t blocks = groups * ((rows + rows_each - 1) / rows_each), tiles = (codes + kTile - 1) / kTile;
  const int64_t wanted = (2 * multiprocessors + blocks - 1) / blocks, most = tiles / 2;
  const int64_t shares = wanted < most ? wanted : most;
  return static_cast<int>(shares < 1 ? 1 : shares > 16 ? 16 : shares);
}

void vq_short_cuda(const VQShortProblem& problem, void* stream) {
  const cudaStream_t queue = static_cast<cudaStream_t>(stream);
  switch (problem.type) {
    case ElementType::bfloat16: return launch_for_width<__nv_bfloat16>(problem, queue);
    case ElementType::float16: return launch_for_width<__half>(problem, queue);
    default: return launch_for_width<float>(problem, queue);
  }
}

}  // namespace gptface
