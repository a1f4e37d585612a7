"""The attention operators as fused Triton kernels, forward and backward.

A row is one query of one head of one image. Rows are numbered with the query running
fastest, so that neighbouring programs sample the same head of the same image. A program
takes a block of rows through their points one by one; a number a row has shape
(block, 1), a row's head dimensions (block, dims), with dims a power of two. The loops
over levels and points are not unrolled: unrolled they need more registers than there
are.

All tensors are contiguous. Offsets within an image are 32-bit, others 64-bit. All is
computed in float32 and stored in the dtype of the result. Softmax has base 2, in which
the hardware computes exponentials; its derivative takes the log-sum-exp that the
forward kernel stores.

The compile-time arguments of all kernels are num_heads, head_dims, num_levels,
num_points, and the block and dims above. Shapes are in the terms of
:mod:`mmdet_lite.ops.functional`.
"""

import triton
import triton.language as tl

_LOG2_OF_E: tl.constexpr = tl.constexpr(1.4426950408889634)
_RUNTIME_SIZES = ["num_rows", "num_queries", "num_tokens"]


@triton.jit
def _block_of_rows(num_rows, num_queries, num_heads: tl.constexpr, block: tl.constexpr):
    """The program's rows: number, whether there is one, image, head, and its place.

    The place is its index among (batch, num_queries, num_heads).
    """
    row = tl.program_id(0) * block + tl.arange(0, block)[:, None]
    query = row % num_queries
    head = (row // num_queries) % num_heads
    image = (row // num_queries // num_heads).to(tl.int64)
    place = (image * num_queries + query) * num_heads + head
    return row, row < num_rows, image, head, place


@triton.jit
def _load_level(spatial_shapes_ptr, level_start_index_ptr, level):
    """Height, width and the first token of a level."""
    height = tl.load(spatial_shapes_ptr + 2 * level).to(tl.int32)
    width = tl.load(spatial_shapes_ptr + 2 * level + 1).to(tl.int32)
    return height, width, tl.load(level_start_index_ptr + level).to(tl.int32)


@triton.jit
def _load_pixel(locations_ptr, point, exists, height, width):
    """Points in pixels, (x, y); those that touch no pixel, NaN too, at (-2, -2)."""
    x = tl.load(locations_ptr + 2 * point, mask=exists, other=-1.0).to(tl.float32)
    y = tl.load(locations_ptr + 2 * point + 1, mask=exists, other=-1.0).to(tl.float32)
    x = x * width - 0.5
    y = y * height - 0.5
    # No comparison holds for NaN; what passes fits into an integer.
    touches = (x > -1.0) & (x < width) & (y > -1.0) & (y < height)
    return tl.where(touches, x, -2.0), tl.where(touches, y, -2.0)


@triton.jit
def _corner(
    x,
    y,
    height,
    width,
    start,
    corner: tl.constexpr,
    num_heads: tl.constexpr,
    head_dims: tl.constexpr,
):
    """One of the four pixels around (x, y): above left, above right, below left, …

    Returns its offset in the tokens of an image, whether it is in the map, its bilinear
    weight, and the weight's derivatives by x and by y.
    """
    is_right: tl.constexpr = corner % 2
    is_below: tl.constexpr = corner // 2
    column = tl.floor(x)
    row = tl.floor(y)
    if is_right:
        along_x = x - column
        sign_x = 1.0
    else:
        along_x = 1.0 - (x - column)
        sign_x = -1.0
    if is_below:
        along_y = y - row
        sign_y = 1.0
    else:
        along_y = 1.0 - (y - row)
        sign_y = -1.0
    column = column.to(tl.int32) + is_right
    row = row.to(tl.int32) + is_below
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    offset = (start + row * width + column) * (num_heads * head_dims)
    return offset, inside, along_x * along_y, sign_x * along_y, sign_y * along_x


@triton.jit
def _sample(
    tokens_ptr,
    x,
    y,
    height,
    width,
    start,
    dim,
    num_heads: tl.constexpr,
    head_dims: tl.constexpr,
):
    """Bilinear samples of one head's tokens, zeros outside: (block, dims)."""
    sample = tl.zeros([x.shape[0], dim.shape[1]], tl.float32)
    for corner in tl.static_range(4):
        offset, inside, weight, _, _ = _corner(
            x, y, height, width, start, corner, num_heads, head_dims
        )
        mask = inside & (dim < head_dims)
        tokens = tl.load(tokens_ptr + offset + dim, mask=mask, other=0.0)
        sample += weight * tokens.to(tl.float32)
    return sample


@triton.jit(do_not_specialize=_RUNTIME_SIZES)
def key_aware_forward(
    query_ptr,
    key_ptr,
    value_ptr,
    spatial_shapes_ptr,
    level_start_index_ptr,
    locations_ptr,
    predicted_logits_ptr,
    output_ptr,
    exact_output_ptr,
    log_sum_ptr,
    num_rows,
    num_queries,
    num_tokens,
    key_is_value: tl.constexpr,
    logits_are_predicted: tl.constexpr,
    output_is_rounded: tl.constexpr,
    for_gradients: tl.constexpr,
    num_heads: tl.constexpr,
    head_dims: tl.constexpr,
    num_levels: tl.constexpr,
    num_points: tl.constexpr,
    block: tl.constexpr,
    dims: tl.constexpr,
):
    """Write the output and, for gradients, what they take besides.

    That is the output in float32, where it is rounded, and log_sum, the log-sum-exp
    (base 2) of the rows' logits: (batch, num_heads, num_queries).
    """
    row, exists, image, head, place = _block_of_rows(
        num_rows, num_queries, num_heads, block
    )
    dim = tl.arange(0, dims)[None, :]
    in_row = exists & (dim < head_dims)
    base = image * num_tokens * (num_heads * head_dims) + head * head_dims
    key_ptr += base
    value_ptr += base

    query = tl.load(query_ptr + place * head_dims + dim, mask=in_row, other=0.0)
    query = query.to(tl.float32) * (_LOG2_OF_E * head_dims**-0.5)
    # Finite: a first logit of -inf less -inf would be NaN.
    largest = tl.full([block, 1], -3e38, tl.float32)
    total = tl.zeros([block, 1], tl.float32)
    output = tl.zeros([block, dims], tl.float32)
    for level in range(num_levels):
        height, width, start = _load_level(
            spatial_shapes_ptr, level_start_index_ptr, level
        )
        for index in range(num_points):
            point = (place * num_levels + level) * num_points + index
            x, y = _load_pixel(locations_ptr, point, exists, height, width)
            value = _sample(
                value_ptr, x, y, height, width, start, dim, num_heads, head_dims
            )
            if key_is_value:
                key = value
            else:
                key = _sample(
                    key_ptr, x, y, height, width, start, dim, num_heads, head_dims
                )
            logit = tl.sum(query * key, axis=1, keep_dims=True)
            if logits_are_predicted:
                predicted = tl.load(
                    predicted_logits_ptr + point, mask=exists, other=0.0
                )
                logit += predicted.to(tl.float32) * _LOG2_OF_E
            raised = tl.maximum(largest, logit)
            shrink = tl.exp2(largest - raised)
            weight = tl.exp2(logit - raised)
            total = total * shrink + weight
            output = output * shrink + weight * value
            largest = raised
    output = output / total
    in_rows = place * head_dims + dim
    tl.store(output_ptr + in_rows, output, mask=in_row)
    if for_gradients:
        tl.store(log_sum_ptr + row, largest + tl.log2(total), mask=exists)
        if output_is_rounded:
            tl.store(exact_output_ptr + in_rows, output, mask=in_row)


@triton.jit(do_not_specialize=_RUNTIME_SIZES)
def key_aware_backward(
    grad_output_ptr,
    output_ptr,
    log_sum_ptr,
    query_ptr,
    key_ptr,
    value_ptr,
    spatial_shapes_ptr,
    level_start_index_ptr,
    locations_ptr,
    predicted_logits_ptr,
    grad_query_ptr,
    grad_key_ptr,
    grad_value_ptr,
    grad_locations_ptr,
    grad_predicted_logits_ptr,
    num_rows,
    num_queries,
    num_tokens,
    key_is_value: tl.constexpr,
    logits_are_predicted: tl.constexpr,
    needs_query: tl.constexpr,
    needs_key: tl.constexpr,
    needs_value: tl.constexpr,
    needs_locations: tl.constexpr,
    needs_logits: tl.constexpr,
    num_heads: tl.constexpr,
    head_dims: tl.constexpr,
    num_levels: tl.constexpr,
    num_points: tl.constexpr,
    block: tl.constexpr,
    dims: tl.constexpr,
):
    """Write the gradients of query, locations and predicted logits, add to the others.

    Those that are needed only. With key_is_value all is added to that of the value.
    """
    row, exists, image, head, place = _block_of_rows(
        num_rows, num_queries, num_heads, block
    )
    dim = tl.arange(0, dims)[None, :]
    in_row = exists & (dim < head_dims)
    base = image * num_tokens * (num_heads * head_dims) + head * head_dims
    key_ptr += base
    value_ptr += base
    grad_key_ptr += base
    grad_value_ptr += base
    in_rows = place * head_dims + dim

    query = tl.load(query_ptr + in_rows, mask=in_row, other=0.0).to(tl.float32)
    grad = tl.load(grad_output_ptr + in_rows, mask=in_row, other=0.0).to(tl.float32)
    output = tl.load(output_ptr + in_rows, mask=in_row, other=0.0)
    # The mean, by the attention weights, of the weights' gradients.
    mean = tl.sum(grad * output, axis=1, keep_dims=True)
    log_sum = tl.load(log_sum_ptr + row, mask=exists, other=0.0)
    scale = head_dims**-0.5
    grad_query = tl.zeros([block, dims], tl.float32)
    for level in range(num_levels):
        height, width, start = _load_level(
            spatial_shapes_ptr, level_start_index_ptr, level
        )
        for index in range(num_points):
            point = (place * num_levels + level) * num_points + index
            x, y = _load_pixel(locations_ptr, point, exists, height, width)
            # Products of the sample, and their derivatives by x and y, are sums over
            # the corners: query · key is the logit, grad · value the gradient of the
            # attention weight.
            logit = tl.zeros([block, 1], tl.float32)
            if logits_are_predicted:
                predicted = tl.load(
                    predicted_logits_ptr + point, mask=exists, other=0.0
                )
                logit += predicted.to(tl.float32)
            logit_by_x = tl.zeros([block, 1], tl.float32)
            logit_by_y = tl.zeros([block, 1], tl.float32)
            grad_weight = tl.zeros([block, 1], tl.float32)
            grad_weight_by_x = tl.zeros([block, 1], tl.float32)
            grad_weight_by_y = tl.zeros([block, 1], tl.float32)
            sampled_key = tl.zeros([block, dims], tl.float32)
            for corner in tl.static_range(4):
                offset, inside, bilinear, by_x, by_y = _corner(
                    x, y, height, width, start, corner, num_heads, head_dims
                )
                mask = inside & (dim < head_dims)
                tokens = offset + dim
                value = tl.load(value_ptr + tokens, mask=mask, other=0.0)
                value = value.to(tl.float32)
                if key_is_value:
                    key = value
                else:
                    key = tl.load(key_ptr + tokens, mask=mask, other=0.0)
                    key = key.to(tl.float32)
                product = tl.sum(query * key, axis=1, keep_dims=True) * scale
                logit += bilinear * product
                logit_by_x += by_x * product
                logit_by_y += by_y * product
                product = tl.sum(grad * value, axis=1, keep_dims=True)
                grad_weight += bilinear * product
                grad_weight_by_x += by_x * product
                grad_weight_by_y += by_y * product
                sampled_key += bilinear * key
            weight = tl.exp2(logit * _LOG2_OF_E - log_sum)
            grad_logit = weight * (grad_weight - mean)
            if needs_logits:
                tl.store(grad_predicted_logits_ptr + point, grad_logit, mask=exists)
            if needs_query:
                grad_query += grad_logit * scale * sampled_key
            if needs_locations:
                grad_x = weight * grad_weight_by_x + grad_logit * logit_by_x
                grad_y = weight * grad_weight_by_y + grad_logit * logit_by_y
                at_point = grad_locations_ptr + 2 * point
                tl.store(at_point, grad_x * width, mask=exists)
                tl.store(at_point + 1, grad_y * height, mask=exists)
            to_value = weight * grad
            to_key = grad_logit * scale * query
            if key_is_value:
                to_value += to_key
            for corner in tl.static_range(4):
                offset, inside, bilinear, _, _ = _corner(
                    x, y, height, width, start, corner, num_heads, head_dims
                )
                mask = inside & (dim < head_dims)
                tokens = offset + dim
                if needs_value:
                    tl.atomic_add(
                        grad_value_ptr + tokens,
                        bilinear * to_value,
                        mask=mask,
                        sem="relaxed",
                    )
                if needs_key:
                    tl.atomic_add(
                        grad_key_ptr + tokens,
                        bilinear * to_key,
                        mask=mask,
                        sem="relaxed",
                    )
    if needs_query:
        tl.store(grad_query_ptr + in_rows, grad_query, mask=in_row)


@triton.jit(do_not_specialize=_RUNTIME_SIZES)
def plain_forward(
    value_ptr,
    spatial_shapes_ptr,
    level_start_index_ptr,
    locations_ptr,
    weights_ptr,
    output_ptr,
    num_rows,
    num_queries,
    num_tokens,
    num_heads: tl.constexpr,
    head_dims: tl.constexpr,
    num_levels: tl.constexpr,
    num_points: tl.constexpr,
    block: tl.constexpr,
    dims: tl.constexpr,
):
    """Write the output of plain attention."""
    _, exists, image, head, place = _block_of_rows(
        num_rows, num_queries, num_heads, block
    )
    dim = tl.arange(0, dims)[None, :]
    value_ptr += image * num_tokens * (num_heads * head_dims) + head * head_dims
    output = tl.zeros([block, dims], tl.float32)
    for level in range(num_levels):
        height, width, start = _load_level(
            spatial_shapes_ptr, level_start_index_ptr, level
        )
        for index in range(num_points):
            point = (place * num_levels + level) * num_points + index
            x, y = _load_pixel(locations_ptr, point, exists, height, width)
            weight = tl.load(weights_ptr + point, mask=exists, other=0.0)
            output += weight.to(tl.float32) * _sample(
                value_ptr, x, y, height, width, start, dim, num_heads, head_dims
            )
    in_row = exists & (dim < head_dims)
    tl.store(output_ptr + place * head_dims + dim, output, mask=in_row)


@triton.jit(do_not_specialize=_RUNTIME_SIZES)
def plain_backward(
    grad_output_ptr,
    value_ptr,
    spatial_shapes_ptr,
    level_start_index_ptr,
    locations_ptr,
    weights_ptr,
    grad_value_ptr,
    grad_locations_ptr,
    grad_weights_ptr,
    num_rows,
    num_queries,
    num_tokens,
    needs_value: tl.constexpr,
    needs_locations: tl.constexpr,
    needs_weights: tl.constexpr,
    num_heads: tl.constexpr,
    head_dims: tl.constexpr,
    num_levels: tl.constexpr,
    num_points: tl.constexpr,
    block: tl.constexpr,
    dims: tl.constexpr,
):
    """Write the gradients of locations and weights, add to that of value.

    Those that are needed only.
    """
    _, exists, image, head, place = _block_of_rows(
        num_rows, num_queries, num_heads, block
    )
    dim = tl.arange(0, dims)[None, :]
    in_row = exists & (dim < head_dims)
    base = image * num_tokens * (num_heads * head_dims) + head * head_dims
    value_ptr += base
    grad_value_ptr += base
    grad = tl.load(grad_output_ptr + place * head_dims + dim, mask=in_row, other=0.0)
    grad = grad.to(tl.float32)
    for level in range(num_levels):
        height, width, start = _load_level(
            spatial_shapes_ptr, level_start_index_ptr, level
        )
        for index in range(num_points):
            point = (place * num_levels + level) * num_points + index
            x, y = _load_pixel(locations_ptr, point, exists, height, width)
            weight = tl.load(weights_ptr + point, mask=exists, other=0.0)
            weighted = weight.to(tl.float32) * grad
            grad_weight = tl.zeros([block, 1], tl.float32)
            by_x = tl.zeros([block, 1], tl.float32)
            by_y = tl.zeros([block, 1], tl.float32)
            for corner in tl.static_range(4):
                offset, inside, bilinear, bilinear_by_x, bilinear_by_y = _corner(
                    x, y, height, width, start, corner, num_heads, head_dims
                )
                mask = inside & (dim < head_dims)
                tokens = offset + dim
                value = tl.load(value_ptr + tokens, mask=mask, other=0.0)
                product = tl.sum(grad * value.to(tl.float32), axis=1, keep_dims=True)
                grad_weight += bilinear * product
                by_x += bilinear_by_x * product
                by_y += bilinear_by_y * product
                if needs_value:
                    tl.atomic_add(
                        grad_value_ptr + tokens,
                        bilinear * weighted,
                        mask=mask,
                        sem="relaxed",
                    )
            if needs_weights:
                tl.store(grad_weights_ptr + point, grad_weight, mask=exists)
            if needs_locations:
                weight = weight.to(tl.float32)
                at_point = grad_locations_ptr + 2 * point
                tl.store(at_point, weight * by_x * width, mask=exists)
                tl.store(at_point + 1, weight * by_y * height, mask=exists)
