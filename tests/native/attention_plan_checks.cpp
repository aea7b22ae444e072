// Checks of gptface/attention_plan.h on random masks: parts stand by themselves, own every row once, and come in order.
#include <cstdio>
#include <random>

#include <gptface/attention_plan.h>

namespace {

using namespace gptface;

int failures = 0;

void expect(bool holds, const char* what, unsigned seed) {
  if (holds) return;
  ++failures;
  std::printf("%s, seed %u\n", what, seed);
}

// Documents one after another with gaps, now and then in another order of keys; or any intervals at all.
std::vector<int32_t> random_intervals(std::mt19937& random, int64_t queries, int64_t keys, int count) {
  const auto below = [&](int64_t bound) { return static_cast<int64_t>(random() % static_cast<uint64_t>(bound)); };
  std::vector<int32_t> intervals(2 * queries * count);
  const bool documents = below(3) > 0;
  for (int64_t i = 0, begin = 0; i < queries;) {
    const int64_t length = documents ? std::min(1 + below(30), queries - i) : 1, gap = below(4) == 0 ? below(4) : 0;
    const int64_t first = documents ? std::min(begin + gap, keys) : below(keys + 1),
                  after = documents ? std::min(first + length, keys) : below(keys + 1);
    for (int64_t end = i + length; i < end; ++i)
      for (int k = 0; k < count; ++k) {
        int32_t* interval = intervals.data() + 2 * (i * count + k);
        interval[0] = static_cast<int32_t>(k == 0 ? first : (first + after) / 2);
        interval[1] = static_cast<int32_t>(after);
      }
    begin = below(20) == 0 ? 0 : after;
  }
  return intervals;
}

void check(unsigned seed) {
  std::mt19937 random(seed);
  AttentionKernels kernels{};
  kernels.lanes = 16;
  kernels.panel_vectors = 4;
  kernels.key_tile = 64;
  AttentionProblem p{};
  p.batch = 1 + random() % 3;
  p.queries = random() % 8 == 0 ? 0 : 1 + random() % 300;
  p.keys = random() % 8 == 0 ? 0 : 1 + random() % 300;
  p.heads = p.key_heads = 1 + random() % 3;
  p.interval_count = 1 + static_cast<int>(random() % 2);
  std::vector<int32_t> intervals;
  for (int64_t batch = 0; batch < p.batch; ++batch) {
    const std::vector<int32_t> more = random_intervals(random, p.queries, p.keys, p.interval_count);
    intervals.insert(intervals.end(), more.begin(), more.end());
  }
  p.intervals = random() % 4 == 0 ? nullptr : intervals.data();
  p.interval_batch_stride = random() % 2 ? 2 * p.queries * p.interval_count : 0;

  const std::vector<AttentionPart> plan = detail::attention_plan(kernels, p);
  std::vector<int> query_owners(p.batch * p.queries), key_owners(p.batch * p.keys);
  int64_t panels = 0, chunks = 0;
  for (const AttentionPart& part : plan) {
    for (int64_t i = part.owned_query_begin; i < part.owned_query_end; ++i) ++query_owners[part.batch * p.queries + i];
    for (int64_t j = part.owned_key_begin; j < part.owned_key_end; ++j) ++key_owners[part.batch * p.keys + j];
    expect(part.query_begin == part.query_end || part.key_begin < part.key_end, "queries of a part see no key", seed);
    for (int64_t i = part.owned_query_begin; p.intervals && i < part.owned_query_end; ++i)
      for (int k = 0; k < p.interval_count; ++k) {
        const int32_t* interval =
            p.intervals + part.batch * p.interval_batch_stride + 2 * (i * p.interval_count + k);
        if (interval[0] >= interval[1]) continue;
        expect(part.query_begin <= i && i < part.query_end, "a row that sees something is outside of its part", seed);
        expect(part.key_begin <= interval[0] && interval[1] <= part.key_end, "a row sees keys of another part", seed);
      }
    expect(part.panels_before == panels && part.panels >= 1, "panels do not add up", seed);
    expect(part.panels * kernels.panel_vectors * kernels.lanes >= part.query_end - part.query_begin, "too few panels", seed);
    expect(part.chunks_before == chunks && part.chunks >= 1 && part.chunks <= 8, "chunks do not add up", seed);
    panels += part.panels;
    chunks += part.chunks;
  }
  for (const int owners : query_owners) expect(owners == 1, "a query without one owner", seed);
  for (const int owners : key_owners) expect(owners == 1, "a key without one owner", seed);
}

}  // namespace

int main() {
  for (unsigned seed = 0; seed < 500; ++seed) check(seed);
  return failures == 0 ? 0 : 1;
}
