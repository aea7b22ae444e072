// Philox4x32-10 (Salmon, Moraes, Dror, Shaw, SC 2011) and the stream of random words of one sample.
//
// Counter-based: the same counter and key give the same words on any device, so randomness belongs to a sample and
// never to the launch geometry. Needs nothing but the standard library; usable alone, on host and device.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define GPTFACE_HOST_DEVICE __host__ __device__
#else
#define GPTFACE_HOST_DEVICE
#endif

namespace gptface {

// Four words for one counter; passes the Random123 known answers (tests/test_native_library.py).
GPTFACE_HOST_DEVICE inline void philox4x32(
    uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3, uint32_t k0, uint32_t k1, uint32_t (&words)[4]) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = static_cast<uint64_t>(c0) * 0xD2511F53u;
    const uint64_t product1 = static_cast<uint64_t>(c2) * 0xCD9E8D57u;
    c0 = static_cast<uint32_t>(product1 >> 32) ^ c1 ^ k0;
    c1 = static_cast<uint32_t>(product1);
    c2 = static_cast<uint32_t>(product0 >> 32) ^ c3 ^ k1;
    c3 = static_cast<uint32_t>(product0);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  words[0] = c0;
  words[1] = c1;
  words[2] = c2;
  words[3] = c3;
}

// `count` successive blocks at once: their rounds overlap, or share vector registers, where one block waits for its own.
template <int count>
inline void philox4x32_blocks(
    uint32_t first, uint32_t c1, uint32_t c2, uint32_t c3, uint32_t k0, uint32_t k1, uint32_t (&words)[4 * count]) {
  uint32_t a[count], b[count], c[count], d[count];
  for (int i = 0; i < count; ++i) {
    a[i] = first + i;
    b[i] = c1;
    c[i] = c2;
    d[i] = c3;
  }
  for (int round = 0; round < 10; ++round) {
    for (int i = 0; i < count; ++i) {
      const uint64_t product0 = static_cast<uint64_t>(a[i]) * 0xD2511F53u;
      const uint64_t product1 = static_cast<uint64_t>(c[i]) * 0xCD9E8D57u;
      a[i] = static_cast<uint32_t>(product1 >> 32) ^ b[i] ^ k0;
      b[i] = static_cast<uint32_t>(product1);
      c[i] = static_cast<uint32_t>(product0 >> 32) ^ d[i] ^ k1;
      d[i] = static_cast<uint32_t>(product0);
    }
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  for (int i = 0; i < count; ++i) {
    words[4 * i] = a[i];
    words[4 * i + 1] = b[i];
    words[4 * i + 2] = c[i];
    words[4 * i + 3] = d[i];
  }
}

// What a sample's randomness is for; each purpose is a stream of its own.
enum class Purpose : uint32_t { text = 0, image = 1, corruption = 2, replacement = 3 };

// Who the randomness belongs to: (seed, step, sample id) and nothing else.
struct SampleIdentity {
  uint32_t key[2];
  uint32_t step, id_low, id_high;

  GPTFACE_HOST_DEVICE SampleIdentity(uint64_t seed, uint64_t step, uint64_t sample_id)
      // The constants keep these streams apart from other users of Philox under the same seed: "span", "mask".
      : key{static_cast<uint32_t>(seed) ^ 0x7370616Eu, static_cast<uint32_t>(seed >> 32) ^ 0x6D61736Bu},
        step(static_cast<uint32_t>(step)),
        id_low(static_cast<uint32_t>(sample_id)),
        id_high(static_cast<uint32_t>(sample_id >> 32)) {}

  GPTFACE_HOST_DEVICE void block(Purpose purpose, uint32_t index, uint32_t (&words)[4]) const {
    philox4x32(index | static_cast<uint32_t>(purpose) << 28, step, id_low, id_high, key[0], key[1], words);
  }
};

// Word i of a stream is word i % 4 of block i / 4. Copying a stream and drawing again replays it.
class RandomStream {
 public:
  GPTFACE_HOST_DEVICE RandomStream(const SampleIdentity& identity, Purpose purpose)
      : identity_(identity), purpose_(purpose) {}

  // Uniform on [0, 2^32).
  GPTFACE_HOST_DEVICE uint32_t word() {
    const uint32_t lane = drawn_ % kBuffered;
#if defined(__CUDACC__)
    if (lane == 0) identity_.block(purpose_, drawn_ >> 2, words_);
    ++drawn_;
    // Selected and not indexed: an indexed array would live in a GPU thread's local memory.
    const uint32_t low = lane & 1u ? words_[1] : words_[0];
    const uint32_t high = lane & 1u ? words_[3] : words_[2];
    return lane & 2u ? high : low;
#else
    if (lane == 0)
      philox4x32_blocks<kBuffered / 4>(
          drawn_ >> 2 | static_cast<uint32_t>(purpose_) << 28, identity_.step, identity_.id_low, identity_.id_high,
          identity_.key[0], identity_.key[1], words_);
    ++drawn_;
    return words_[lane];
#endif
  }

  // Uniform on 0 … bound - 1, without bias (Lemire 2019: multiply, reject the few words that would tilt it).
  GPTFACE_HOST_DEVICE uint32_t below(uint32_t bound) {
    uint64_t product = static_cast<uint64_t>(word()) * bound;
    if (static_cast<uint32_t>(product) < bound) {
      const uint32_t threshold = (0u - bound) % bound;
      while (static_cast<uint32_t>(product) < threshold) product = static_cast<uint64_t>(word()) * bound;
    }
    return static_cast<uint32_t>(product >> 32);
  }

 private:
#if defined(__CUDACC__)
  static constexpr uint32_t kBuffered = 4;
#else
  static constexpr uint32_t kBuffered = 16;
#endif
  SampleIdentity identity_;
  Purpose purpose_;
  uint32_t drawn_ = 0;
  uint32_t words_[kBuffered] = {};
};

}  // namespace gptface
