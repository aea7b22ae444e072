// Where a task of the forward of masked attention works, what it brings into the cache for the next, and the rows that see
// nothing.
#pragma once

#include <cstring>

#include <gptface/attention_tiles.h>
#include <gptface/prefetch.h>

namespace gptface {

// What a task works on. Neighbouring tasks share a key head: the heads of a group, then the panels, then the groups,
// then the parts.
template <class Isa>
struct AttentionForwardPlace {
  using V = Simd<Isa>;
  const AttentionPart* part;
  int64_t key_head, head, panel, first, queries;
  int vectors;

  AttentionForwardPlace(const AttentionProblem& p, int64_t task) {
    part = &part_of_task(p, task, [&](const AttentionPart& other) { return other.panels_before * p.heads; });
    task -= part->panels_before * p.heads;
    panel = task / p.group() % part->panels;
    key_head = task / p.group() / part->panels;
    head = key_head * p.group() + task % p.group();
    // Vectors spread evenly over the panels.
    const int64_t all = (part->query_end - part->query_begin + V::width - 1) / V::width,
                  begin = panel * all / part->panels;
    vectors = static_cast<int>((panel + 1) * all / part->panels - begin);
    first = part->query_begin + begin * V::width;
    queries = part->query_end - first < vectors * V::width ? part->query_end - first : vectors * V::width;
  }
};

// What this thread will most likely read next, and where it will write: the output of this task, the queries of the
// next, and a share of the keys and values of the key head after this one.
template <class Isa>
void look_ahead(
    const AttentionProblem& p, const AttentionForwardPlace<Isa>& here, int64_t task, RowPrefetcher& ahead) {
  const int64_t size = bytes_of(p.type);
  ahead.add(row_of(p, p.out, here.part->batch, here.first, here.head), p.out.row_stride * size, here.queries);
  const AttentionPart& last = p.parts[p.part_count - 1];
  const int64_t tasks = (last.panels_before + last.panels) * p.heads, together = here.part->panels * p.group();
  if (task + 1 < tasks) {
    const AttentionForwardPlace<Isa> next(p, task + 1);
    ahead.add(row_of(p, p.query, next.part->batch, next.first, next.head), p.query.row_stride * size, next.queries);
  }
  const int64_t order = here.panel * p.group() + here.head % p.group();
  if (task + together - order < tasks) {
    const AttentionForwardPlace<Isa> after(p, task + together - order);
    const AttentionPart& part = *after.part;
    const int64_t keys = part.key_end - part.key_begin, from = order * keys / together, to = (order + 1) * keys / together;
    ahead.add(row_of(p, p.key, part.batch, part.key_begin + from, after.key_head), p.key.row_stride * size, to - from);
    ahead.add(row_of(p, p.value, part.batch, part.key_begin + from, after.key_head), p.value.row_stride * size, to - from);
  }
}

// Rows that see nothing.
template <class Isa>
void write_nothing(const AttentionProblem& p, int64_t batch, int64_t head, int64_t from, int64_t to) {
  for (int64_t i = from; i < to; ++i) {
    std::memset(row_of(p, p.out, batch, i, head), 0, p.width * bytes_of(p.type));
    if (p.lse) p.lse[(batch * p.heads + head) * p.queries + i] = -__builtin_inff();
  }
}

}  // namespace gptface
