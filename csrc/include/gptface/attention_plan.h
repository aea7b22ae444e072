// How a call of masked attention is cut up: into parts that stand by themselves, and these into tasks.
//
// A part is a stretch of a sample's queries that see nothing outside a stretch of its keys, which no other queries see:
// a packed document, or the whole sample without its padding. So documents side by side in one row cost what they cost
// as rows of a batch: each has vectors, panels and packed keys of its own.
//
// O(batch · queries), from the problem alone: the cut, and with it every bit of a result, does not depend on threads.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include <gptface/attention_problem.h>

namespace gptface::detail {

// A part's work in keys of a vector of queries: queries come `lanes` at a time, keys by blocks, and to load and store a
// vector costs about as much as a few keys.
inline int64_t part_cost(const AttentionPart& part, int64_t lanes) {
  constexpr int64_t kRest = 16;
  const int64_t vectors = (part.query_end - part.query_begin + lanes - 1) / lanes;
  return vectors * ((part.key_end - part.key_begin + kKeyBlock - 1) / kKeyBlock * kKeyBlock + kRest);
}

inline AttentionPart joined(const AttentionPart& a, const AttentionPart& b) {
  return {a.batch, a.query_begin, b.query_end, std::min(a.key_begin, b.key_begin), std::max(a.key_end, b.key_end)};
}

// The parts of a sample, in the order of their queries and of their keys; none where nothing is seen.
inline std::vector<AttentionPart> parts_of_sample(const AttentionProblem& p, int64_t batch, int64_t lanes) {
  if (p.keys == 0) return {};
  if (!p.intervals) return {{batch, 0, p.queries, 0, p.keys}};
  std::vector<AttentionPart> apart;
  const int32_t* interval = p.intervals + batch * p.interval_batch_stride;
  for (int64_t i = 0; i < p.queries; ++i) {
    // A row that sees what the row before it sees is of its part.
    const int32_t* before = interval - 2 * p.interval_count;
    if (!apart.empty() && apart.back().query_end == i && std::equal(before, interval, interval)) {
      apart.back().query_end = i + 1;
      interval += 2 * p.interval_count;
      continue;
    }
    AttentionPart row{batch, i, i + 1, p.keys, 0};
    for (int k = 0; k < p.interval_count; ++k, interval += 2) {
      const int64_t begin = std::max<int64_t>(interval[0], 0), end = std::min<int64_t>(interval[1], p.keys);
      if (begin >= end) continue;
      row.key_begin = std::min(row.key_begin, begin);
      row.key_end = std::max(row.key_end, end);
    }
    if (row.key_begin >= row.key_end) continue;
    for (; !apart.empty() && row.key_begin < apart.back().key_end; apart.pop_back()) row = joined(apart.back(), row);
    apart.push_back(row);
  }
  // Short ones share vectors where that is less work: hidden scores beside empty lanes.
  std::vector<AttentionPart> parts;
  for (const AttentionPart& part : apart) {
    if (!parts.empty()) {
      const AttentionPart both = joined(parts.back(), part);
      if (part_cost(both, lanes) <= part_cost(parts.back(), lanes) + part_cost(part, lanes)) {
        parts.back() = both;
        continue;
      }
    }
    parts.push_back(part);
  }
  return parts;
}

// All parts of a problem. Rows that see nothing and keys that nobody sees belong to the part before them, or to the
// first: its tasks fill them with zeros.
inline std::vector<AttentionPart> attention_plan(const AttentionKernels& kernels, const AttentionProblem& p) {
  std::vector<AttentionPart> plan, sample;
  for (int64_t batch = 0; batch < p.batch; ++batch) {
    if (batch == 0 || (p.intervals && p.interval_batch_stride != 0)) sample = parts_of_sample(p, batch, kernels.lanes);
    if (sample.empty()) sample.push_back({batch, 0, 0, 0, 0});
    for (size_t i = 0; i < sample.size(); ++i) {
      AttentionPart part = sample[i];
      const bool first = i == 0, last = i + 1 == sample.size();
      part.batch = batch;
      part.owned_query_begin = first ? 0 : part.query_begin;
      part.owned_query_end = last ? p.queries : sample[i + 1].query_begin;
      part.owned_key_begin = first ? 0 : part.key_begin;
      part.owned_key_end = last ? p.keys : sample[i + 1].key_begin;
      plan.push_back(part);
    }
  }

  double work = 0.0;
  const auto pairs = [](const AttentionPart& part) {
    return static_cast<double>(part.query_end - part.query_begin) * static_cast<double>(part.key_end - part.key_begin);
  };
  for (const AttentionPart& part : plan) work += pairs(part);
  int64_t panels = 0, chunks = 0;
  for (AttentionPart& part : plan) {
    const int64_t vectors = (part.query_end - part.query_begin + kernels.lanes - 1) / kernels.lanes;
    part.panels = std::max<int64_t>((vectors + kernels.panel_vectors - 1) / kernels.panel_vectors, 1);
    part.panels_before = panels;
    panels += part.panels;
    // Backward: tasks of about a thirty-second of the work, a tile of keys at least.
    constexpr double kEnoughTasks = 32.0;
    constexpr int64_t kMostChunks = 8;
    const double share = work > 0.0 ? kEnoughTasks * pairs(part) / (work * static_cast<double>(p.key_heads)) : 0.0;
    const int64_t most = (part.key_end - part.key_begin + kernels.key_tile - 1) / kernels.key_tile;
    part.chunks = std::clamp<int64_t>(static_cast<int64_t>(std::ceil(share - 1e-9)), 1, kMostChunks);
    part.chunks = std::max<int64_t>(std::min(part.chunks, most), 1);
    part.chunks_before = chunks;
    chunks += part.chunks;
  }
  return plan;
}

// The problem with its parts; the plan must outlive it.
inline AttentionProblem planned(AttentionProblem problem, const std::vector<AttentionPart>& plan) {
  problem.parts = plan.data();
  problem.part_count = static_cast<int64_t>(plan.size());
  problem.part_keys = problem.chunk_keys = 0;
  for (const AttentionPart& part : plan) {
    const int64_t begin = part.key_begin / kKeyBlock, end = (part.key_end + kKeyBlock - 1) / kKeyBlock;
    problem.part_keys = std::max(problem.part_keys, (end - begin) * kKeyBlock);
    problem.chunk_keys = std::max(problem.chunk_keys, (end - begin + part.chunks - 1) / part.chunks * kKeyBlock);
  }
  return problem;
}

}  // namespace gptface::detail
