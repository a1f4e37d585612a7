// Sampling points: the four pixels around each, and its bilinear sample.

#ifndef MMDET_LITE_OPS_CSRC_SAMPLING_POINTS_H_
#define MMDET_LITE_OPS_CSRC_SAMPLING_POINTS_H_

#include <string.h>

#include "kernels.h"
#include "memory.h"
#include "vectors.h"

namespace mmdet_lite {
namespace {

template <typename T>
class SamplingPoints;

// What a loop over points reads of them, to be held in registers: the compiler has to
// assume that whatever it stores changes the object's members.
template <typename T>
struct SamplingPointsView {
  // The four pixels of a point in the order of the weights, counted from the first of
  // the tokens; `outside` stands for pixels outside.
  template <typename Row>
  inline void FindCorners(int64_t index, Row* tokens, Row* outside,
                          Row** corners) const;

  const SamplingPoints<T>* points;
  const int64_t* corner_offsets;
  const int64_t* row_strides;
  int64_t token_stride;
  const int32_t* all_inside;
  // Four for each point: above left, above right, below left, below right.
  const T* bilinear_weights;
};

// Where a run of points falls: the pixel above and left of each, and the bilinear
// weights of the four pixels around it.
template <typename T>
class SamplingPoints {
 public:
  explicit SamplingPoints(int64_t size)
      : size_(size),
        padded_(RoundUp(size, kPointsMultiple)),
        numbers_(10 * padded_),
        locations_(numbers_.get()),
        widths_(locations_ + 2 * padded_),
        heights_(widths_ + padded_),
        fractions_x_(heights_ + padded_),
        fractions_y_(fractions_x_ + padded_),
        bilinear_weights_(fractions_y_ + padded_),
        indices_(7 * padded_),
        num_columns_(indices_.get()),
        num_rows_(num_columns_ + padded_),
        level_starts_(num_rows_ + padded_),
        columns_(level_starts_ + padded_),
        rows_(columns_ + padded_),
        tokens_(rows_ + padded_),
        all_inside_(tokens_ + padded_),
        offsets_(2 * padded_),
        corner_offsets_(offsets_.get()),
        row_strides_(corner_offsets_ + padded_) {}

  // Says which level point `index` belongs to, the number of its first token, and how
  // far apart tokens are in memory.
  void SetLevel(int64_t index, const Level& level, int64_t start,
                int64_t token_stride) {
    widths_[index] = static_cast<T>(level.width);
    heights_[index] = static_cast<T>(level.height);
    num_columns_[index] = level.width;
    num_rows_[index] = level.height;
    level_starts_[index] = static_cast<int32_t>(start);
    row_strides_[index] = level.width * token_stride;
    token_stride_ = token_stride;
  }

  // Finds the pixels of the locations (x, y).
  void Locate(const T* from) {
    memcpy(locations_, from, 2 * size_ * sizeof(T));
    const T* __restrict locations = locations_;
    const T* __restrict widths = widths_;
    const T* __restrict heights = heights_;
    T* __restrict fractions_x = fractions_x_;
    T* __restrict fractions_y = fractions_y_;
    T* __restrict bilinear_weights = bilinear_weights_;
    const int32_t* __restrict num_columns = num_columns_;
    const int32_t* __restrict num_rows = num_rows_;
    const int32_t* __restrict level_starts = level_starts_;
    int32_t* __restrict columns = columns_;
    int32_t* __restrict rows = rows_;
    int32_t* __restrict tokens = tokens_;
    int32_t* __restrict all_inside = all_inside_;
    int64_t* __restrict corner_offsets = corner_offsets_;
    const int64_t token_stride = token_stride_;
    MMDET_LITE_INDEPENDENT
    for (int64_t i = 0; i < padded_; ++i) {
      T x = locations[2 * i] * widths[i] - T(0.5);
      T y = locations[2 * i + 1] * heights[i] - T(0.5);
      // A point outside goes where all its pixels are outside and an integer can hold
      // it. The comparison is false for NaN: such a point counts as outside.
      x = (x > T(-1)) & (x < widths[i]) ? x : T(-2);
      y = (y > T(-1)) & (y < heights[i]) ? y : T(-2);
      columns[i] = Floor(x);
      rows[i] = Floor(y);
      fractions_x[i] = x - static_cast<T>(columns[i]);
      fractions_y[i] = y - static_cast<T>(rows[i]);
    }
    MMDET_LITE_INDEPENDENT
    for (int64_t i = 0; i < padded_; ++i) {
      tokens[i] = level_starts[i] + rows[i] * num_columns[i] + columns[i];
      all_inside[i] = (columns[i] >= 0) & (columns[i] + 1 < num_columns[i]) &
                      (rows[i] >= 0) & (rows[i] + 1 < num_rows[i]);
    }
    MMDET_LITE_INDEPENDENT
    for (int64_t i = 0; i < padded_; ++i) corner_offsets[i] = tokens[i] * token_stride;
    MMDET_LITE_INDEPENDENT
    for (int64_t i = 0; i < padded_; ++i) {
      bilinear_weights[4 * i] = (1 - fractions_x[i]) * (1 - fractions_y[i]);
      bilinear_weights[4 * i + 1] = fractions_x[i] * (1 - fractions_y[i]);
      bilinear_weights[4 * i + 2] = (1 - fractions_x[i]) * fractions_y[i];
      bilinear_weights[4 * i + 3] = fractions_x[i] * fractions_y[i];
    }
  }

  int64_t size() const { return size_; }
  const T* widths() const { return widths_; }
  const T* heights() const { return heights_; }

  // How far from the pixel on the left to that on the right a point is, and from the
  // one above to the one below.
  const T* fractions_x() const { return fractions_x_; }
  const T* fractions_y() const { return fractions_y_; }

  // Which of a point's pixels are inside the map: a bit for each, in the order of the
  // weights.
  __attribute__((noinline)) int PixelsInside(int64_t index) const {
    const int64_t width = num_columns_[index];
    const int64_t height = num_rows_[index];
    int inside = 0;
    for (int corner = 0; corner < 4; ++corner) {
      const int64_t x = columns_[index] + corner % 2;
      const int64_t y = rows_[index] + corner / 2;
      inside |= (x >= 0 && x < width && y >= 0 && y < height) << corner;
    }
    return inside;
  }

  SamplingPointsView<T> view() const {
    return {this,          corner_offsets_, row_strides_,
            token_stride_, all_inside_,     bilinear_weights_};
  }

 private:
  int64_t size_;
  // The size rounded up to whole vectors; every array goes on to there.
  int64_t padded_;
  int64_t token_stride_ = 0;

  // Parts of one buffer lie side by side in the cache.
  Buffer<T> numbers_;
  T* const locations_;  // (x, y) of each point
  T* const widths_;     // of the levels
  T* const heights_;
  T* const fractions_x_;
  T* const fractions_y_;
  T* const bilinear_weights_;  // four for each point

  Buffer<int32_t> indices_;
  int32_t* const num_columns_;  // the levels' widths and heights
  int32_t* const num_rows_;
  int32_t* const level_starts_;  // the levels' first tokens
  int32_t* const columns_;       // of the pixels above and left
  int32_t* const rows_;
  int32_t* const tokens_;
  int32_t* const all_inside_;  // whether a point's four pixels are

  Buffer<int64_t> offsets_;
  int64_t* const corner_offsets_;  // from the first token to the pixels above and left
  int64_t* const row_strides_;     // from a row of the map to the next
};

template <typename T>
template <typename Row>
inline void SamplingPointsView<T>::FindCorners(int64_t index, Row* tokens, Row* outside,
                                               Row** corners) const {
  Row* above = tokens + corner_offsets[index];
  Row* below = above + row_strides[index];
  corners[0] = above;
  corners[1] = above + token_stride;
  corners[2] = below;
  corners[3] = below + token_stride;
  if (__builtin_expect(all_inside[index], 1)) return;
  const int inside = points->PixelsInside(index);
  for (int corner = 0; corner < 4; ++corner) {
    if (!(inside >> corner & 1)) corners[corner] = outside;
  }
}

// The points of one query and head, level by level.
template <typename T>
inline void SetLevels(const Inputs<T>& inputs, SamplingPoints<T>* points) {
  for (int64_t i = 0; i < points->size(); ++i) {
    const Level& level = inputs.levels[i / inputs.sizes.num_points];
    points->SetLevel(i, level, level.start, inputs.token_stride);
  }
}

// The four pixels around a point and their bilinear weights. Copies, because a store to
// memory would have the compiler read them again.
template <typename T>
struct Pixels {
  Pixels(const T* const* corners, const T* weights)
      : corner0(corners[0]),
        corner1(corners[1]),
        corner2(corners[2]),
        corner3(corners[3]),
        weight0(weights[0]),
        weight1(weights[1]),
        weight2(weights[2]),
        weight3(weights[3]) {}

  // One vector of the sample.
  Vector<T> Sample(int64_t offset) const {
    return weight0 * Load(corner0 + offset) + weight1 * Load(corner1 + offset) +
           weight2 * Load(corner2 + offset) + weight3 * Load(corner3 + offset);
  }

  const T* corner0;
  const T* corner1;
  const T* corner2;
  const T* corner3;
  T weight0;
  T weight1;
  T weight2;
  T weight3;
};

}  // namespace
}  // namespace mmdet_lite

#endif  // MMDET_LITE_OPS_CSRC_SAMPLING_POINTS_H_
