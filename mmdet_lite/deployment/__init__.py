"""A whole detector as one file: an image goes in, boxes, scores and labels come out."""
