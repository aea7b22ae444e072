// Memory of a thread's own, allocated when the thread first needs it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

namespace gptface::detail {

// A thread's scratch: on a cache line of its own, the first bytes zero.
class ThreadScratch {
 public:
  std::byte* get(int64_t bytes) {
    if (!memory_) {
      memory_.reset(new (std::align_val_t{64}) std::byte[bytes]);
      std::fill(memory_.get(), memory_.get() + std::min<int64_t>(bytes, 64), std::byte{0});
    }
    return memory_.get();
  }

 private:
  struct Delete {
    void operator()(std::byte* memory) const { ::operator delete[](memory, std::align_val_t{64}); }
  };
  std::unique_ptr<std::byte[], Delete> memory_;
};

}  // namespace gptface::detail
