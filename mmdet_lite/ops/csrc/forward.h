// The forward pass, of plain and of key-aware attention.

#ifndef MMDET_LITE_OPS_CSRC_FORWARD_H_
#define MMDET_LITE_OPS_CSRC_FORWARD_H_

#include <string.h>

#include "kernels.h"
#include "layout.h"
#include "memory.h"
#include "sampling_points.h"
#include "softmax.h"
#include "vectors.h"

namespace mmdet_lite {
namespace {

template <typename T, int kVectors>
void PlainForward(const Inputs<T>& inputs, T* output, int64_t begin, int64_t end) {
  const Sizes sizes = inputs.sizes;
  const int64_t vectors = NumVectors<T, kVectors>(sizes);
  const int64_t dims = vectors * kLanes<T>;
  const int64_t num_samples = sizes.num_levels * sizes.num_points;

  SamplingPoints<T> points(num_samples);
  SetLevels(inputs, &points);
  const SamplingPointsView<T> view = points.view();
  Buffer<T> outside_row(dims);
  const T* const outside = outside_row.get();
  Buffer<T> sums(dims);
  const T* corners[4];

  for (int64_t item = begin; item < end; ++item) {
    const int64_t row = RowOf(item, sizes);
    const T* const value = inputs.value + HeadOffset(item, inputs);
    const T* const attention_weights = inputs.attention_weights + row * num_samples;
    PrefetchQuery<T>(inputs, nullptr, row + kPrefetchDistance * sizes.num_heads);
    points.Locate(inputs.locations + row * num_samples * 2);
    Vector<T> registers[kVectors > 0 ? kVectors : 1] = {};
    memset(sums.get(), 0, dims * sizeof(T));
    for (int64_t i = 0; i < num_samples; ++i) {
      view.FindCorners(i, value, outside, corners);
      Pixels<T> pixels(corners, view.bilinear_weights + 4 * i);
      pixels.weight0 *= attention_weights[i];
      pixels.weight1 *= attention_weights[i];
      pixels.weight2 *= attention_weights[i];
      pixels.weight3 *= attention_weights[i];
      for (int64_t v = 0; v < vectors; ++v) {
        const Vector<T> sample = pixels.Sample(v * kLanes<T>);
        if constexpr (kVectors > 0) {
          registers[v] += sample;
        } else {
          T* sum = sums.get() + v * kLanes<T>;
          Store(sum, Load<T>(sum) + sample);
        }
      }
    }
    for (int64_t v = 0; v < vectors; ++v) {
      const int64_t d = v * kLanes<T>;
      Store(output + row * dims + d,
            kVectors > 0 ? registers[kVectors > 0 ? v : 0] : Load<T>(sums.get() + d));
    }
  }
}

template <typename T, int kVectors, bool kSeparateKey>
void KeyAwareForward(const Inputs<T>& inputs, T* output, int64_t begin, int64_t end) {
  const Sizes sizes = inputs.sizes;
  const int64_t vectors = NumVectors<T, kVectors>(sizes);
  const int64_t dims = vectors * kLanes<T>;
  const int64_t num_samples = sizes.num_levels * sizes.num_points;
  const int64_t padded = RoundUp(num_samples, kPointsMultiple);

  // From logits to weights each step waits for the one before it: a block of queries
  // takes them together, so that the machine has others to work on.
  constexpr int64_t kBlock = 4;
  SamplingPoints<T> points(num_samples);
  SetLevels(inputs, &points);
  const SamplingPointsView<T> view = points.view();
  Buffer<T> outside_row(dims);
  const T* const outside = outside_row.get();
  Buffer<T> sampled_values(kBlock * num_samples * dims);
  Buffer<Vector<T>> products_of_points(padded);
  Vector<T>* const products = products_of_points.get();
  Buffer<T> logits(kBlock * padded);
  Buffer<T> exponentials(kBlock * padded);
  T normalisers[kBlock];
  const T* corners[4];

  for (int64_t block = begin; block < end; block += kBlock) {
    const int64_t size = block + kBlock < end ? kBlock : end - block;
    for (int64_t member = 0; member < size; ++member) {
      const int64_t row = RowOf(block + member, sizes);
      const int64_t head_offset = HeadOffset(block + member, inputs);
      const T* const value = inputs.value + head_offset;
      const T* const key = kSeparateKey ? inputs.key + head_offset : nullptr;
      const T* const query = inputs.query + row * dims;
      T* values = sampled_values.get() + member * num_samples * dims;
      PrefetchQuery<T>(inputs, nullptr, row + kPrefetchDistance * sizes.num_heads);
      points.Locate(inputs.locations + row * num_samples * 2);
      for (int64_t i = 0; i < num_samples; ++i) {
        view.FindCorners(i, value, outside, corners);
        const Pixels<T> pixels(corners, view.bilinear_weights + 4 * i);
        Vector<T> product = {};
        for (int64_t d = 0; d < dims; d += kLanes<T>) {
          const Vector<T> sample = pixels.Sample(d);
          Store(values + i * dims + d, sample);
          if (!kSeparateKey) product += sample * Load(query + d);
        }
        if (kSeparateKey) {
          view.FindCorners(i, key, outside, corners);
          const Pixels<T> key_pixels(corners, view.bilinear_weights + 4 * i);
          for (int64_t d = 0; d < dims; d += kLanes<T>) {
            product += key_pixels.Sample(d) * Load(query + d);
          }
        }
        products[i] = product;
      }
      for (int64_t i = 0; i < padded; i += 8) {
        SumLanesOf8<T>(products + i, logits.get() + member * padded + i);
      }
      if (inputs.predicted_logits != nullptr) {
        AddPredicted(inputs.predicted_logits + row * num_samples, inputs.logit_scale,
                     num_samples, logits.get() + member * padded);
      }
    }
    for (int64_t member = 0; member < size; ++member) {
      normalisers[member] =
          ExpOfLogits(logits.get() + member * padded, inputs.logit_scale, num_samples,
                      exponentials.get() + member * padded);
    }
    for (int64_t member = 0; member < size; ++member) {
      WeightedSum(exponentials.get() + member * padded,
                  sampled_values.get() + member * num_samples * dims, num_samples,
                  vectors, normalisers[member],
                  output + RowOf(block + member, sizes) * dims);
    }
  }
}

}  // namespace
}  // namespace mmdet_lite

#endif  // MMDET_LITE_OPS_CSRC_FORWARD_H_
