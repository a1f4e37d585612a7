"""Images of one object each, of the only class that there is."""

from mmdet.testing import demo_mm_inputs


def batch_of(model, shapes, training):
    """A batch of images of these (height, width), for detectors of text as well."""
    data = demo_mm_inputs(
        len(shapes), [[3, *shape] for shape in shapes], num_items=[1] * len(shapes)
    )
    for sample in data["data_samples"]:
        sample.set_metainfo({"text": ("cat",)})
        sample.gt_instances.labels.zero_()
    return model.data_preprocessor(data, training)
