// The gradients that a query has to itself: of the query, its sampling locations, its
// attention weights and its predicted logits.

#ifndef MMDET_LITE_OPS_CSRC_QUERY_BACKWARD_H_
#define MMDET_LITE_OPS_CSRC_QUERY_BACKWARD_H_

#include <string.h>

#include "kernels.h"
#include "layout.h"
#include "memory.h"
#include "sampling_points.h"
#include "softmax.h"
#include "vectors.h"

namespace mmdet_lite {
namespace {

// Adds one vector's products of the query with the keys of a point's four pixels.
template <typename T>
inline void AddKeyProducts(const Pixels<T>& pixels, const T* query, int64_t offset,
                           Vector<T>* products) {
  const Vector<T> part = Load(query + offset);
  products[4] += Load(pixels.corner0 + offset) * part;
  products[5] += Load(pixels.corner1 + offset) * part;
  products[6] += Load(pixels.corner2 + offset) * part;
  products[7] += Load(pixels.corner3 + offset) * part;
}

// What the backward pass of a query and head needs of the pixels around its points: the
// products of a pixel's value with the incoming gradient and of its key with the query.
// Interpolated at a point these are the gradient of the attention weight and the logit,
// before its scaling; their derivatives by x and y lead to the gradient of the
// location.
template <typename T>
class PixelProducts {
 public:
  explicit PixelProducts(int64_t size)
      : padded_(RoundUp(size, kPointsMultiple)),
        products_(8 * padded_),
        results_(6 * padded_),
        grad_weights_(results_.get()),
        logits_(grad_weights_ + padded_),
        grad_weights_by_x_(logits_ + padded_),
        grad_weights_by_y_(grad_weights_by_x_ + padded_),
        logits_by_x_(grad_weights_by_y_ + padded_),
        logits_by_y_(logits_by_x_ + padded_) {}

  // Where to write the products, eight for each point: of its four pixels' values, then
  // of their keys.
  T* products() const { return products_.get(); }

  // What Interpolate finds at the points.
  T* grad_weights() const { return grad_weights_; }
  T* logits() const { return logits_; }

  void Interpolate(const SamplingPoints<T>& points) const {
    const T* __restrict products_of_points = products_.get();
    const T* __restrict fractions_x = points.fractions_x();
    const T* __restrict fractions_y = points.fractions_y();
    T* __restrict grad_weights = grad_weights_;
    T* __restrict logits = logits_;
    T* __restrict grad_weights_by_x = grad_weights_by_x_;
    T* __restrict grad_weights_by_y = grad_weights_by_y_;
    T* __restrict logits_by_x = logits_by_x_;
    T* __restrict logits_by_y = logits_by_y_;
    MMDET_LITE_INDEPENDENT
    for (int64_t i = 0; i < padded_; ++i) {
      const T* product = products_of_points + 8 * i;
      const T value_above = product[1] - product[0];
      const T value_below = product[3] - product[2];
      const T value_left = product[2] - product[0];
      const T key_above = product[5] - product[4];
      const T key_below = product[7] - product[6];
      const T key_left = product[6] - product[4];
      grad_weights_by_x[i] = value_above + fractions_y[i] * (value_below - value_above);
      grad_weights_by_y[i] = value_left + fractions_x[i] * (value_below - value_above);
      logits_by_x[i] = key_above + fractions_y[i] * (key_below - key_above);
      logits_by_y[i] = key_left + fractions_x[i] * (key_below - key_above);
      grad_weights[i] = product[0] + fractions_y[i] * value_left +
                        fractions_x[i] * grad_weights_by_x[i];
      logits[i] =
          product[4] + fractions_y[i] * key_left + fractions_x[i] * logits_by_x[i];
    }
  }

  // Writes the gradients of the locations, given the gradients of the logits. All
  // arrays have room for whole vectors.
  void Differentiate(const SamplingPoints<T>& points,
                     const T* __restrict attention_weights,
                     const T* __restrict grad_logits,
                     T* __restrict grad_locations) const {
    const T* __restrict widths = points.widths();
    const T* __restrict heights = points.heights();
    const T* __restrict grad_weights_by_x = grad_weights_by_x_;
    const T* __restrict grad_weights_by_y = grad_weights_by_y_;
    const T* __restrict logits_by_x = logits_by_x_;
    const T* __restrict logits_by_y = logits_by_y_;
    MMDET_LITE_INDEPENDENT
    for (int64_t i = 0; i < padded_; ++i) {
      grad_locations[2 * i] = widths[i] * (attention_weights[i] * grad_weights_by_x[i] +
                                           grad_logits[i] * logits_by_x[i]);
      grad_locations[2 * i + 1] =
          heights[i] * (attention_weights[i] * grad_weights_by_y[i] +
                        grad_logits[i] * logits_by_y[i]);
    }
  }

 private:
  int64_t padded_;
  Buffer<T> products_;
  Buffer<T> results_;
  T* const grad_weights_;
  T* const logits_;
  T* const grad_weights_by_x_;
  T* const grad_weights_by_y_;
  T* const logits_by_x_;
  T* const logits_by_y_;
};

template <typename T, int kVectors, Attention kAttention>
void QueryBackwardRange(const Inputs<T>& inputs, const QueryGradients<T>& gradients,
                        int64_t begin, int64_t end) {
  const Sizes sizes = inputs.sizes;
  const int64_t vectors = NumVectors<T, kVectors>(sizes);
  const int64_t dims = vectors * kLanes<T>;
  const int64_t num_points = sizes.num_points;
  const int64_t num_samples = sizes.num_levels * num_points;
  const int64_t padded = RoundUp(num_samples, kPointsMultiple);

  SamplingPoints<T> points(num_samples);
  SetLevels(inputs, &points);
  const SamplingPointsView<T> view = points.view();
  PixelProducts<T> pixel_products(num_samples);
  T* const products_of_points = pixel_products.products();
  Buffer<T> outside_row(dims);
  const T* const outside = outside_row.get();
  Buffer<T> sampled_keys(num_samples * dims);
  T* const keys = sampled_keys.get();
  Buffer<T> attention_weights(padded);
  Buffer<T> grad_logits(padded);
  Buffer<T> grad_locations(2 * padded);
  const T* corners[4];

  for (int64_t item = begin; item < end; ++item) {
    const int64_t row = RowOf(item, sizes);
    const int64_t head_offset = HeadOffset(item, inputs);
    const T* const value = inputs.value + head_offset;
    const T* const key =
        kAttention == Attention::kSeparateKey ? inputs.key + head_offset : nullptr;
    const T* const grad_output = gradients.output + row * dims;
    const T* const query =
        kAttention == Attention::kPlain ? nullptr : inputs.query + row * dims;
    PrefetchQuery(inputs, gradients.output, row + kPrefetchDistance * sizes.num_heads);
    points.Locate(inputs.locations + row * num_samples * 2);

    for (int64_t i = 0; i < num_samples; ++i) {
      Vector<T> products[8] = {};
      view.FindCorners(i, value, outside, corners);
      const Pixels<T> pixels(corners, view.bilinear_weights + 4 * i);
      for (int64_t d = 0; d < dims; d += kLanes<T>) {
        const Vector<T> part = Load(grad_output + d);
        products[0] += Load(pixels.corner0 + d) * part;
        products[1] += Load(pixels.corner1 + d) * part;
        products[2] += Load(pixels.corner2 + d) * part;
        products[3] += Load(pixels.corner3 + d) * part;
        if constexpr (kAttention == Attention::kKeyIsValue) {
          AddKeyProducts(pixels, query, d, products);
          Store(keys + i * dims + d, pixels.Sample(d));
        }
      }
      if constexpr (kAttention == Attention::kSeparateKey) {
        view.FindCorners(i, key, outside, corners);
        const Pixels<T> key_pixels(corners, view.bilinear_weights + 4 * i);
        for (int64_t d = 0; d < dims; d += kLanes<T>) {
          AddKeyProducts(key_pixels, query, d, products);
          Store(keys + i * dims + d, key_pixels.Sample(d));
        }
      }
      SumLanesOf8<T>(products, products_of_points + 8 * i);
    }
    pixel_products.Interpolate(points);

    T* grad_weights = pixel_products.grad_weights();
    if constexpr (kAttention == Attention::kPlain) {
      memcpy(attention_weights.get(), inputs.attention_weights + row * num_samples,
             num_samples * sizeof(T));
      memcpy(gradients.attention_weights + row * num_samples, grad_weights,
             num_samples * sizeof(T));
    } else {
      if (inputs.predicted_logits != nullptr) {
        AddPredicted(inputs.predicted_logits + row * num_samples, inputs.logit_scale,
                     num_samples, pixel_products.logits());
      }
      const T normaliser = ExpOfLogits(pixel_products.logits(), inputs.logit_scale,
                                       num_samples, attention_weights.get());
      Vector<T> sums = {};
      for (int64_t i = 0; i < padded; i += kLanes<T>) {
        const Vector<T> weights = normaliser * Load<T>(attention_weights.get() + i);
        Store(attention_weights.get() + i, weights);
        sums += weights * Load<T>(grad_weights + i);
      }
      const T mean = SumLanes(sums);
      for (int64_t i = 0; i < padded; i += kLanes<T>) {
        Store<T>(grad_logits.get() + i, Load<T>(attention_weights.get() + i) *
                                            (Load<T>(grad_weights + i) - mean) *
                                            inputs.logit_scale);
      }
      WeightedSum(grad_logits.get(), keys, num_samples, vectors, T(1),
                  gradients.query + row * dims);
      if (gradients.predicted_logits != nullptr) {
        DifferentiateSoftmax(attention_weights.get(), grad_weights, mean, num_samples,
                             gradients.predicted_logits + row * num_samples);
      }
    }
    T* to = gradients.locations + row * num_samples * 2;
    if (padded == num_samples) {
      pixel_products.Differentiate(points, attention_weights.get(), grad_logits.get(),
                                   to);
    } else {
      pixel_products.Differentiate(points, attention_weights.get(), grad_logits.get(),
                                   grad_locations.get());
      memcpy(to, grad_locations.get(), 2 * num_samples * sizeof(T));
    }

    const T* locations = inputs.locations + row * num_samples * 2;
    T* points_of_level = gradients.points_by_level + PointsByLevelOffset(item, sizes);
    for (int64_t l = 0; l < sizes.num_levels; ++l) {
      const int64_t first = l * num_points;
      CopyPoints(locations + 2 * first, 2 * num_points, points_of_level);
      CopyPoints(attention_weights.get() + first, num_points,
                 points_of_level + 2 * num_points);
      CopyPoints(grad_logits.get() + first, num_points,
                 points_of_level + 3 * num_points);
      points_of_level += sizes.num_queries * 4 * num_points;
    }
  }
}

}  // namespace
}  // namespace mmdet_lite

#endif  // MMDET_LITE_OPS_CSRC_QUERY_BACKWARD_H_
