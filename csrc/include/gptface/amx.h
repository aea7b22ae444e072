// The tile unit of Intel's AMX: its instructions, whether this machine lets a process use them, and whether it computes
// what their definition says.
//
// Built with GPTFACE_WITHOUT_AMX, for assemblers that do not know the instructions, there is none anywhere.
#pragma once

#include <gptface/tile.h>

#if defined(__x86_64__) && defined(__linux__) && !defined(GPTFACE_WITHOUT_AMX)
#define GPTFACE_AMX 1
#include <cerrno>
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace gptface {

#if defined(GPTFACE_AMX)

// The instructions as statements that say which memory they read: GCC's intrinsic for a load does not, so that a compiler
// may move a store past it. Eight registers, each a whole tile; the state lasts as long as the object.
class AmxUnit {
 public:
  __attribute__((always_inline)) AmxUnit() {
    struct alignas(64) {
      uint8_t palette = 1, start_row = 0, reserved[14] = {};
      uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    } const shape;
    static_assert(sizeof(shape) == 64);
    __asm__ volatile("ldtilecfg %0" : : "m"(shape));
  }
  __attribute__((always_inline)) ~AmxUnit() { __asm__ volatile("tilerelease"); }
  AmxUnit(const AmxUnit&) = delete;
  AmxUnit& operator=(const AmxUnit&) = delete;

  template <int R>
  __attribute__((always_inline)) void zero() {
    __asm__ volatile("tilezero %%tmm%c0" : : "i"(R));
  }
  template <int R>
  __attribute__((always_inline)) void load(const Tile& tile) {
    __asm__ volatile("tileloadd (%1,%2,1), %%tmm%c0" : : "i"(R), "r"(&tile), "r"(int64_t{64}), "m"(tile));
  }
  template <int R>
  __attribute__((always_inline)) void store(Tile& tile) {
    __asm__ volatile("tilestored %%tmm%c1, (%2,%3,1)" : "=m"(tile) : "i"(R), "r"(&tile), "r"(int64_t{64}));
  }
  // The same of rows `stride` bytes apart.
  template <int R>
  __attribute__((always_inline)) void load_rows(const void* first, int64_t stride) {
    __asm__ volatile("tileloadd (%1,%2,1), %%tmm%c0" : : "i"(R), "r"(first), "r"(stride) : "memory");
  }
  template <int R>
  __attribute__((always_inline)) void store_rows(void* first, int64_t stride) {
    __asm__ volatile("tilestored %%tmm%c0, (%1,%2,1)" : : "i"(R), "r"(first), "r"(stride) : "memory");
  }
  template <int Sum, int A, int B>
  __attribute__((always_inline)) void multiply_add() {
    __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(Sum), "i"(A), "i"(B));
  }
};

namespace detail {

// A product of whole numbers, which no order of sums rounds, on the unit and by its definition: a unit that differs is not
// used.
inline bool amx_agrees_with_definition() {
  Tile a, b, unit, definition;
  uint32_t state = 0x9E3779B9u;
  const auto number = [&] {  // a bfloat16 from -8 to 7
    state = state * 1664525u + 1013904223u;
    const float value = static_cast<float>(static_cast<int>(state >> 28) - 8);
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof(bits));
    return bits >> 16;
  };
  for (int r = 0; r < kTileHeight; ++r)
    for (int w = 0; w < kTileWords; ++w) {
      a.words[r][w] = number() | number() << 16;
      b.words[r][w] = number() | number() << 16;
      unit.words[r][w] = definition.words[r][w] = number() << 16;
    }
  {
    AmxUnit tiles;
    tiles.load<1>(a);
    tiles.load<2>(b);
    tiles.load<0>(unit);
    tiles.multiply_add<0, 1, 2>();
    tiles.multiply_add<0, 1, 2>();
    tiles.store<0>(unit);
  }
  multiply_tiles_by_definition(definition, a, b);
  multiply_tiles_by_definition(definition, a, b);
  return std::memcmp(&unit, &definition, sizeof(Tile)) == 0;
}

inline const char* find_amx_absent() {
  constexpr unsigned kBfloat16 = 1u << 22, kTile = 1u << 24, kVbmi = 1u << 1;
  unsigned a, b, c, d;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & kTile) == 0 || (d & kBfloat16) == 0 || (c & kVbmi) == 0)
    return "this processor has no AMX tiles of bfloat16";
  return nullptr;
}

inline const char* find_amx_missing() {
  if (const char* absent = find_amx_absent()) return absent;
  // Linux hands out the tiles' state to processes that ask (ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA); once for all threads.
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  if (syscall(SYS_arch_prctl, kRequestPermission, kTileData) != 0)
    return errno == EINVAL || errno == EOPNOTSUPP ? "this processor has AMX, but the system does not support it"
                                                  : "this processor has AMX, but the system refused permission to use it";
  if (!amx_agrees_with_definition()) return "this processor has AMX, but its products are not what they should be";
  return nullptr;
}

}  // namespace detail

#endif

// Null where this process may use AMX tiles, else the reason why not. Asks once. Without `trying`, the processor alone is
// looked at: no permission is asked for, and no tile instruction runs.
inline const char* amx_missing(bool trying = true) {
#if defined(GPTFACE_AMX)
  if (!trying) return detail::find_amx_absent();
  static const char* const reason = detail::find_amx_missing();
  return reason;
#elif defined(__x86_64__) && defined(__linux__)
  (void)trying;
  return "the library was built by a compiler that does not know AMX";
#else
  (void)trying;
  return "AMX is known here only on Linux on x86-64";
#endif
}

}  // namespace gptface
