// Which instruction set the CPU kernels use, to be asked and to be set: for diagnoses and tests.
#pragma once

#include <string>

#include <torch/csrc/stable/ops.h>

#include <gptface/cpu_features.h>

namespace gptface::operators {

// `wanted` from now on, where it is not empty; the one in use.
inline std::string cpu_instruction_set(std::string wanted) {
  const char* amx = wanted == "amx" ? amx_missing() : nullptr;
  STD_TORCH_CHECK(
      wanted.empty() || use_instruction_set(wanted.c_str()), "cpu_instruction_set: this machine has no ", wanted,
      amx ? " (" : "", amx ? amx : "", amx ? ")" : "", "; the best here is ",
      kInstructionSetNames[static_cast<int>(detected_instruction_set())]);
  return instruction_set_name();
}

// Why this process has no AMX tiles; empty where it has. They are tried only where they were named.
inline std::string cpu_amx_missing() {
  const char* wanted = std::getenv("GPTFACE_CPU_INSTRUCTION_SET");
  const char* reason = amx_missing((wanted && std::strcmp(wanted, "amx") == 0) || tile_set() == TileSet::amx);
  return reason ? reason : "";
}

}  // namespace gptface::operators
