// The gradient of the tokens, value and key, to which many queries add.

#ifndef MMDET_LITE_OPS_CSRC_TOKEN_BACKWARD_H_
#define MMDET_LITE_OPS_CSRC_TOKEN_BACKWARD_H_

#include <string.h>

#include "kernels.h"
#include "layout.h"
#include "memory.h"
#include "sampling_points.h"
#include "vectors.h"

namespace mmdet_lite {
namespace {

// An item is one level of one head: its owner alone adds to it, in the order of the
// queries, which makes the sum the same for any number of threads.
template <typename T, int kVectors, bool kGradOfValue, bool kGradOfKey>
void TokenBackwardRange(const Inputs<T>& inputs, const T* points_by_level,
                        const T* grad_output, const T* query, T* grad_tokens,
                        int64_t begin, int64_t end) {
  const Sizes sizes = inputs.sizes;
  const int64_t vectors = NumVectors<T, kVectors>(sizes);
  const int64_t dims = vectors * kLanes<T>;
  const int64_t row_stride = sizes.num_heads * dims;
  const int64_t num_points = sizes.num_points;

  int64_t most_tokens = 0;
  for (int64_t l = 0; l < sizes.num_levels; ++l) {
    const int64_t tokens =
        static_cast<int64_t>(inputs.levels[l].height) * inputs.levels[l].width;
    most_tokens = tokens > most_tokens ? tokens : most_tokens;
  }
  // The level's gradient with its tokens side by side, and a row for pixels outside:
  // a head's rows in the result are so far apart that they share few cache sets.
  Buffer<T> level_gradient((most_tokens + 1) * dims);
  T* const sums = level_gradient.get();
  T* const outside = sums + most_tokens * dims;
  // Queries are located several at a time, to fill vectors with a level's few points.
  constexpr int64_t kBlock = 16;
  SamplingPoints<T> points(kBlock * num_points);
  Buffer<T> locations(kBlock * num_points * 2);
  T* corners[4];

  for (int64_t item = begin; item < end; ++item) {
    const int64_t batch = item / (sizes.num_heads * sizes.num_levels);
    const int64_t head = item / sizes.num_levels % sizes.num_heads;
    const Level& level = inputs.levels[item % sizes.num_levels];
    const int64_t tokens = static_cast<int64_t>(level.height) * level.width;
    const T* item_points = points_by_level + item * sizes.num_queries * 4 * num_points;
    const int64_t item_rows =
        (batch * sizes.num_queries * sizes.num_heads + head) * dims;
    for (int64_t i = 0; i < points.size(); ++i) points.SetLevel(i, level, 0, dims);
    const SamplingPointsView<T> view = points.view();
    memset(sums, 0, tokens * dims * sizeof(T));

    for (int64_t block = 0; block < sizes.num_queries; block += kBlock) {
      const int64_t left = sizes.num_queries - block;
      const int64_t size = left < kBlock ? left : kBlock;
      for (int64_t member = 0; member < size; ++member) {
        CopyPoints(item_points + (block + member) * 4 * num_points, 2 * num_points,
                   locations.get() + member * 2 * num_points);
      }
      points.Locate(locations.get());
      for (int64_t member = 0; member < size; ++member) {
        const int64_t row = item_rows + (block + member) * row_stride;
        if (member + kPrefetchDistance < left) {
          const int64_t next = row + kPrefetchDistance * row_stride;
          if (kGradOfValue) Prefetch(grad_output + next, dims);
          if (kGradOfKey) Prefetch(query + next, dims);
        }
        const T* attention_weights =
            item_points + ((block + member) * 4 + 2) * num_points;
        const T* grad_logits = attention_weights + num_points;
        for (int64_t i = 0; i < num_points; ++i) {
          const int64_t point = member * num_points + i;
          view.FindCorners(point, sums, outside, corners);
          const T* of_point = view.bilinear_weights + 4 * point;
          const T weights[4] = {of_point[0], of_point[1], of_point[2], of_point[3]};
          const T attention_weight = attention_weights[i];
          const T grad_logit = grad_logits[i];
          for (int64_t d = 0; d < dims; d += kLanes<T>) {
            Vector<T> sum = {};
            if (kGradOfValue) sum += attention_weight * Load(grad_output + row + d);
            if (kGradOfKey) sum += grad_logit * Load(query + row + d);
            for (int corner = 0; corner < 4; ++corner) {
              T* to = corners[corner] + d;
              Store(to, Load<T>(to) + weights[corner] * sum);
            }
          }
        }
      }
    }

    T* to = grad_tokens + (batch * sizes.num_tokens + level.start) * row_stride +
            head * dims;
    for (int64_t token = 0; token < tokens; ++token) {
      for (int64_t d = 0; d < dims; d += kLanes<T>) {
        Store(to + token * row_stride + d, Load<T>(sums + token * dims + d));
      }
    }
  }
}

}  // namespace
}  // namespace mmdet_lite

#endif  // MMDET_LITE_OPS_CSRC_TOKEN_BACKWARD_H_
