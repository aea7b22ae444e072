// What the backward of masked attention brings into the cache while it computes a block of queries.
#pragma once

#include <initializer_list>

#include <gptface/attention_backward_place.h>
#include <gptface/prefetch.h>

namespace gptface {

// The rows that this thread will most likely read next, and those that it will write: the gradient of this block's
// queries; the queries, gradients and outputs of the next block, which after the last is the first of the next task; and a
// share of that task's keys and values and of this one's gradients.
template <class Context, class Place>
RowPrefetcher rows_of_next_block(const Context& c, const Place& here, int64_t task, int64_t block) {
  const AttentionProblem& p = c.p;
  RowPrefetcher ahead(p.width * bytes_of(p.type));
  const auto add = [&](const AttentionTensor& tensor, int64_t batch, int64_t head, int64_t first, int64_t rows) {
    ahead.add(row_of(p, tensor, batch, first, head), tensor.row_stride * bytes_of(p.type), rows);
  };
  if (c.part.chunks == 1) add(p.grad_query, c.batch, c.head, c.first_query, c.queries);
  const AttentionPart& end = p.parts[p.part_count - 1];
  const bool more = task + 1 < (end.chunks_before + end.chunks) * p.key_heads;
  const Place after(p, more ? task + 1 : task);
  const int64_t member = c.head % p.group(), order = member * here.query_blocks + block,
                blocks = p.group() * here.query_blocks;
  const bool last = order + 1 == blocks;
  if (!last || more) {
    const Place& place = last ? after : here;
    const int64_t next = last || block + 1 == here.query_blocks ? 0 : block + 1,
                  head = last ? place.key_head * p.group() : c.head + (next == 0);
    if (place.vectors > 0)
      for (const AttentionTensor* tensor : {&p.query, &p.grad_out, &p.out})
        add(*tensor, place.part->batch, head, place.first_query(next), place.queries(next));
  }
  const auto add_share = [&](const AttentionTensor& tensor, const Place& place) {
    const int64_t keys = p.keys - place.first_key < place.keys ? p.keys - place.first_key : place.keys,
                  from = order * keys / blocks, to = (order + 1) * keys / blocks;
    add(tensor, place.part->batch, place.key_head, place.first_key + from, to - from);
  };
  if (more) add_share(p.key, after), add_share(p.value, after);
  add_share(p.grad_key, here), add_share(p.grad_value, here);
  return ahead;
}

}  // namespace gptface
