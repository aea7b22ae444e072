// Span masks on a GPU: a warp a sample, every sample by csrc/include/gptface/span_mask.h.
//
// The header is the CPU's, which tests check bit for bit against the reference. One lane draws (the draws of a sample
// depend on one another); all lanes fill, count and pack. No synchronisation with the host; safe under CUDA graphs.
#include <type_traits>

#include <cuda_runtime.h>

#include <gptface/built_from.h>
#include <gptface/span_mask.h>

#include <torch/csrc/stable/macros.h>
#include <torch/headeronly/util/Exception.h>

namespace gptface {

namespace {

constexpr int kWarp = 32;
constexpr int kWarpsPerBlock = 4;
constexpr int kScanThreads = 256;

__device__ int64_t global_warp() {
  return static_cast<int64_t>(blockIdx.x) * kWarpsPerBlock + threadIdx.x / kWarp;
}

// `Token` is void where nothing is to be corrupted.
template <typename Token>
__global__ void __launch_bounds__(kWarp* kWarpsPerBlock) sample_kernel(
    const __grid_constant__ SpanMaskBatch batch, int32_t* units, uint64_t* bits,
    const __grid_constant__ CorruptionBatch corruption, const Token* tokens, Token* corrupted) {
  const int64_t sample = global_warp();
  if (sample >= batch.samples) return;
  const int lane = threadIdx.x % kWarp;
  const int32_t positions = batch.positions;
  int32_t* ids = batch.span_ids + sample * positions;
  int32_t* own_units = units + sample * batch.workspace_units();
  for (int32_t p = lane; p < positions; p += kWarp) ids[p] = -1;
  for (int32_t u = lane; u < batch.workspace_units(); u += kWarp) own_units[u] = -1;
  __syncwarp();
  if (lane == 0) sample_span_ids(batch, sample, own_units, bits + sample * batch.workspace_words());
  __syncwarp();
  const SampleIdentity identity(
      batch.seed, batch.device_step ? static_cast<uint64_t>(*batch.device_step) : batch.step,
      static_cast<uint64_t>(batch.sample_ids[sample]));
  int32_t count = 0;
  for (int32_t first = 0; first < positions; first += kWarp) {
    const int32_t p = first + lane;
    const int32_t span = p < positions ? ids[p] : -1;
    const int64_t i = sample * positions + p;
    if (p < positions) batch.mask[i] = span >= 0;
    if constexpr (!std::is_void_v<Token>)
      if (p < positions) {
        Token token = tokens[i];
        if (span >= 0) {
          const uint32_t decision = corruption_decision(corruption, identity, p, span);
          token = static_cast<Token>(corrupt_token(corruption, identity, decision, token, p));
        }
        corrupted[i] = token;
      }
    count += __popc(__ballot_sync(0xFFFFFFFFu, span >= 0));
  }
  if (lane == 0) batch.cu_masked[sample + 1] = count;
}

// Counts become offsets; one block, a chunk of kScanThreads samples at a time.
__global__ void __launch_bounds__(kScanThreads) scan_kernel(int64_t* cu_masked, int64_t samples) {
  __shared__ int64_t sums[kScanThreads];
  int64_t before = 0;
  for (int64_t first = 0; first < samples; first += kScanThreads) {
    const int64_t sample = first + threadIdx.x;
    sums[threadIdx.x] = sample < samples ? cu_masked[sample + 1] : 0;
    __syncthreads();
    for (int offset = 1; offset < kScanThreads; offset *= 2) {
      const int64_t left = static_cast<int>(threadIdx.x) >= offset ? sums[threadIdx.x - offset] : 0;
      __syncthreads();
      sums[threadIdx.x] += left;
      __syncthreads();
    }
    if (sample < samples) cu_masked[sample + 1] = before + sums[threadIdx.x];
    before += sums[kScanThreads - 1];
    __syncthreads();
  }
  if (threadIdx.x == 0) cu_masked[0] = 0;
}

// Warp b packs the positions of sample b; the warps behind the last sample fill what is left with -1.
__global__ void __launch_bounds__(kWarp* kWarpsPerBlock) pack_kernel(const __grid_constant__ SpanMaskBatch batch) {
  const int64_t warp = global_warp();
  const int lane = threadIdx.x % kWarp;
  if (warp < batch.samples) {
    int64_t next = batch.cu_masked[warp];
    for (int32_t first = 0; first < batch.positions; first += kWarp) {
      const int32_t p = first + lane;
      const bool masked = p < batch.positions && batch.mask[warp * batch.positions + p];
      const uint32_t together = __ballot_sync(0xFFFFFFFFu, masked);
      const int64_t place = next + __popc(together & ((1u << lane) - 1u));
      if (masked && place < batch.capacity) batch.indices[place] = warp * batch.positions + p;
      next += __popc(together);
    }
  } else {
    const int64_t warps = static_cast<int64_t>(gridDim.x) * kWarpsPerBlock - batch.samples;
    int64_t place = batch.cu_masked[batch.samples] + (warp - batch.samples) * kWarp + lane;
    for (; place < batch.capacity; place += warps * kWarp) batch.indices[place] = -1;
  }
}

template <typename Token>
__global__ void corrupt_kernel(const __grid_constant__ CorruptionBatch batch, const Token* tokens, Token* corrupted) {
  const int64_t total = batch.samples * batch.positions;
  const uint64_t step = batch.device_step ? static_cast<uint64_t>(*batch.device_step) : batch.step;
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < total; i += stride) {
    int64_t token = tokens[i];
    if (batch.mask[i]) {
      const int64_t sample = i / batch.positions;
      const SampleIdentity identity(batch.seed, step, static_cast<uint64_t>(batch.sample_ids[sample]));
      const int32_t p = static_cast<int32_t>(i - sample * batch.positions);
      token = corrupt_token(batch, identity, corruption_decision(batch, identity, p, batch.span_ids[i]), token, p);
    }
    corrupted[i] = static_cast<Token>(token);
  }
}

void check(cudaError_t status) {
  STD_TORCH_CHECK(status == cudaSuccess, "gptface: CUDA: ", cudaGetErrorString(status));
}

unsigned blocks_for(int64_t warps) { return static_cast<unsigned>((warps + kWarpsPerBlock - 1) / kWarpsPerBlock); }

template <typename Token>
void launch(
    const SpanMaskBatch& batch, int32_t* units, uint64_t* bits, const CorruptionBatch& corruption, const Token* tokens,
    Token* corrupted, void* stream) {
  const cudaStream_t queue = static_cast<cudaStream_t>(stream);
  constexpr int threads = kWarp * kWarpsPerBlock;
  if (batch.samples > 0) {
    sample_kernel<Token>
        <<<blocks_for(batch.samples), threads, 0, queue>>>(batch, units, bits, corruption, tokens, corrupted);
    check(cudaGetLastError());
  }
  scan_kernel<<<1, kScanThreads, 0, queue>>>(batch.cu_masked, batch.samples);
  check(cudaGetLastError());
  if (batch.capacity > 0) {
    // At least one warp is left to fill the tail of `indices`.
    pack_kernel<<<blocks_for(batch.samples + kWarpsPerBlock), threads, 0, queue>>>(batch);
    check(cudaGetLastError());
  }
}

}  // namespace

void sample_span_mask_cuda(const SpanMaskBatch& batch, int32_t* units, uint64_t* bits, void* stream) {
  launch<void>(batch, units, bits, CorruptionBatch{}, nullptr, nullptr, stream);
}

template <typename Token>
void mask_tokens_cuda(
    const SpanMaskBatch& batch, int32_t* units, uint64_t* bits, const CorruptionBatch& corruption, const Token* tokens,
    Token* corrupted, void* stream) {
  launch<Token>(batch, units, bits, corruption, tokens, corrupted, stream);
}

template <typename Token>
void corrupt_tokens_cuda(const CorruptionBatch& batch, const Token* tokens, Token* corrupted, void* stream) {
  const int64_t total = batch.samples * batch.positions;
  if (total == 0) return;
  constexpr int64_t threads = 256, most_blocks = 4096;
  const int64_t wanted = (total + threads - 1) / threads;
  const int64_t blocks = wanted < most_blocks ? wanted : most_blocks;
  corrupt_kernel<Token><<<static_cast<unsigned>(blocks), threads, 0, static_cast<cudaStream_t>(stream)>>>(
      batch, tokens, corrupted);
  check(cudaGetLastError());
}

template void corrupt_tokens_cuda<int32_t>(const CorruptionBatch&, const int32_t*, int32_t*, void*);
template void corrupt_tokens_cuda<int64_t>(const CorruptionBatch&, const int64_t*, int64_t*, void*);
template void mask_tokens_cuda<int32_t>(
    const SpanMaskBatch&, int32_t*, uint64_t*, const CorruptionBatch&, const int32_t*, int32_t*, void*);
template void mask_tokens_cuda<int64_t>(
    const SpanMaskBatch&, int32_t*, uint64_t*, const CorruptionBatch&, const int64_t*, int64_t*, void*);

}  // namespace gptface
