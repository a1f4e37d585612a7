"""Lite-DINO stated once more: small, slow, float64, under the official code's names.

Written from the papers (Deformable DETR, DINO, Lite DETR) and from the order of the
operations that the published weights need. It shares no code with mmdet or with the
package, so that equal detections mean equal models.
"""

import math
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F

HEADS, POINTS = 8, 4
RESNETS = {  # depth: (blocks of the stages, convolutions of a block)
    18: ((2, 2, 2, 2), 2),
    50: ((3, 4, 6, 3), 3),
}


class FrozenNorm(nn.Module):
    def __init__(self, channels):
        super().__init__()
        for name, value in (
            ("weight", 1.0),
            ("bias", 0.0),
            ("running_mean", 0.0),
            ("running_var", 1.0),
        ):
            self.register_buffer(name, torch.full((channels,), value))

    def forward(self, x):
        def shaped(values):
            return values[:, None, None]

        scale = self.weight / (self.running_var + 1e-5).sqrt()
        return (x - shaped(self.running_mean)) * shaped(scale) + shaped(self.bias)


class Block(nn.Module):
    def __init__(self, inputs, width, stride, convs):
        super().__init__()
        outputs = width * 4 if convs == 3 else width
        channels = [inputs, *[width] * (convs - 1), outputs]
        self.convs = convs
        for index in range(convs):
            # 3x3, but the first and last of a bottleneck; the first 3x3 has the stride.
            spatial = convs == 2 or index == 1
            strided = index == (1 if convs == 3 else 0)
            conv = nn.Conv2d(
                channels[index],
                channels[index + 1],
                3 if spatial else 1,
                stride=stride if strided else 1,
                padding=1 if spatial else 0,
                bias=False,
            )
            setattr(self, f"conv{index + 1}", conv)
            setattr(self, f"bn{index + 1}", FrozenNorm(channels[index + 1]))
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False),
                FrozenNorm(outputs),
            )

    def forward(self, x):
        out = x
        for index in range(1, self.convs + 1):
            out = getattr(self, f"bn{index}")(getattr(self, f"conv{index}")(out))
            if index < self.convs:
                out = out.relu()
        return (out + (x if self.downsample is None else self.downsample(x))).relu()


class Body(nn.Module):
    """ResNet; returns the maps of stride 8, 16 and 32."""

    def __init__(self, depth):
        super().__init__()
        stages, convs = RESNETS[depth]
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = FrozenNorm(64)
        channels = 64
        self.channels = []
        for stage, blocks in enumerate(stages):
            width = 64 * 2**stage
            layers = []
            for block in range(blocks):
                stride = 2 if stage and not block else 1
                layers.append(Block(channels, width, stride, convs))
                channels = width * (4 if convs == 3 else 1)
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layers))
            self.channels.append(channels)

    def forward(self, x):
        x = F.max_pool2d(self.bn1(self.conv1(x)).relu(), 3, stride=2, padding=1)
        maps = []
        for stage in range(1, 5):
            x = getattr(self, f"layer{stage}")(x)
            maps.append(x)
        return maps[1:]


class Attention(nn.Module):
    """Deformable attention, plain or key-aware (Lite DETR, section 4.4)."""

    def __init__(self, dims, levels, key_aware):
        super().__init__()
        samples = HEADS * levels * POINTS
        self.key_aware = key_aware
        self.sampling_offsets = nn.Linear(dims, samples * 2)
        if not key_aware:
            self.attention_weights = nn.Linear(dims, samples)
        self.value_proj = nn.Linear(dims, dims)
        self.query_proj = nn.Linear(dims, dims)  # Exists in both, used in one.
        self.output_proj = nn.Linear(dims, dims)

    def forward(self, query, references, tokens, shapes, padding):
        batch, num_queries, dims = query.shape
        values = self.value_proj(tokens).masked_fill(padding[..., None], 0.0)
        offsets = self.sampling_offsets(query).view(
            batch, num_queries, HEADS, len(shapes), POINTS, 2
        )
        sampled, start = [], 0
        for level, (height, width) in enumerate(shapes):
            grid = values[:, start : start + height * width]
            start += height * width
            maps = grid.reshape(batch, height, width, HEADS, dims // HEADS)
            maps = maps.permute(0, 3, 4, 1, 2).flatten(0, 1)
            centre = references[:, :, None, level, None, :2]
            if references.shape[-1] == 2:
                size = offsets.new_tensor([width, height])
                places = centre + offsets[:, :, :, level] / size
            else:
                box = references[:, :, None, level, None, 2:]
                places = centre + offsets[:, :, :, level] / POINTS * box * 0.5
            places = places.permute(0, 2, 1, 3, 4).flatten(0, 1)
            sampled.append(
                F.grid_sample(maps, 2 * places - 1, "bilinear", "zeros", False)
            )
        # (batch, heads, dims of a head, queries, all samples)
        samples = torch.cat(sampled, -1).unflatten(0, (batch, HEADS))
        if self.key_aware:
            heads = self.query_proj(query).unflatten(-1, (HEADS, -1))
            logits = torch.einsum("bqhd,bhdqs->bhqs", heads, samples)
            logits = logits / math.sqrt(dims // HEADS)
        else:
            logits = self.attention_weights(query).unflatten(-1, (HEADS, -1))
            logits = logits.transpose(1, 2)
        mixed = torch.einsum("bhqs,bhdqs->bqhd", logits.softmax(-1), samples)
        return self.output_proj(mixed.flatten(2))


class EncoderLayer(nn.Module):
    def __init__(self, dims, hidden, levels, key_aware, full):
        super().__init__()
        self.self_attn = Attention(dims, levels, key_aware)
        self.norm1 = nn.LayerNorm(dims)
        self.linear1, self.linear2 = nn.Linear(dims, hidden), nn.Linear(hidden, dims)
        self.norm2 = nn.LayerNorm(dims)
        self.full = full
        if full:
            self.linear12, self.linear22 = nn.Linear(dims, dims), nn.Linear(dims, dims)
            self.norm22 = nn.LayerNorm(dims)

    def forward(self, tokens, position, references, shapes, padding, num_low):
        start = 0 if self.full else num_low
        updated = tokens[:, start:]
        updated = self.norm1(
            updated
            + self.self_attn(
                updated + position[:, start:],
                references[:, start:],
                tokens,
                shapes,
                padding,
            )
        )
        low, high = updated[:, : num_low - start], updated[:, num_low - start :]
        high = self.norm2(high + self.linear2(self.linear1(high).relu()))
        if self.full:
            low = self.norm22(low + self.linear22(self.linear12(low).relu()))
            return torch.cat([low, high], 1)
        return torch.cat([tokens[:, :num_low], high], 1)


class DecoderLayer(nn.Module):
    def __init__(self, dims, hidden, levels, key_aware):
        super().__init__()
        self.cross_attn = Attention(dims, levels, key_aware)
        self.norm1 = nn.LayerNorm(dims)
        self.self_attn = nn.MultiheadAttention(dims, HEADS, batch_first=True)
        self.norm2 = nn.LayerNorm(dims)
        self.linear1, self.linear2 = nn.Linear(dims, hidden), nn.Linear(hidden, dims)
        self.norm3 = nn.LayerNorm(dims)

    def forward(self, target, position, references, memory, shapes, padding):
        query = target + position
        target = self.norm2(target + self.self_attn(query, query, target)[0])
        target = self.norm1(
            target
            + self.cross_attn(target + position, references, memory, shapes, padding)
        )
        return self.norm3(target + self.linear2(self.linear1(target).relu()))


class Perceptron(nn.Module):
    def __init__(self, *widths):
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Linear(inputs, outputs) for inputs, outputs in pairwise(widths)
        )

    def forward(self, x):
        for layer in self.layers[:-1]:
            x = layer(x).relu()
        return self.layers[-1](x)


def sine(values, temperature, dims):
    """(...) -> (..., dims): sine and cosine of the values in turn."""
    index = torch.arange(dims, dtype=torch.float32)
    angles = values[..., None] / temperature ** (2 * (index // 2) / dims)
    pairs = torch.stack([angles[..., 0::2].sin(), angles[..., 1::2].cos()], -1)
    return pairs.flatten(-2)


def inverse_sigmoid(x):
    x = x.clamp(0, 1)
    return (x.clamp(min=1e-3) / (1 - x).clamp(min=1e-3)).log()


class Transformer(nn.Module):
    def __init__(self, kinds, num_high, layers, queries, classes, dims, hidden, aware):
        super().__init__()
        levels = 4
        encoder_aware, decoder_aware = aware
        self.num_high = num_high
        self.level_embed = nn.Parameter(torch.zeros(levels, dims))
        self.encoder = nn.Module()
        self.encoder.layers = nn.ModuleList(
            EncoderLayer(dims, hidden, levels, encoder_aware, kind == "F")
            for kind in kinds
        )
        self.decoder = nn.Module()
        self.decoder.layers = nn.ModuleList(
            DecoderLayer(dims, hidden, levels, decoder_aware) for _ in range(layers)
        )
        self.decoder.norm = nn.LayerNorm(dims)
        self.decoder.ref_point_head = Perceptron(2 * dims, dims, dims)
        self.tgt_embed = nn.Embedding(queries, dims)
        self.enc_output = nn.Linear(dims, dims)
        self.enc_output_norm = nn.LayerNorm(dims)
        self.enc_out_bbox_embed = Perceptron(dims, dims, dims, 4)
        self.enc_out_class_embed = nn.Linear(dims, classes)

    def encode(self, maps, masks):
        dims = self.level_embed.shape[1]
        shapes = [tuple(level.shape[2:]) for level in maps]
        padding = torch.cat([mask.flatten(1) for mask in masks], 1)
        tokens = torch.cat([level.flatten(2).transpose(1, 2) for level in maps], 1)
        positions, ratios = [], []
        for embed, mask in zip(self.level_embed, masks, strict=True):
            rows = (~mask).cumsum(1, dtype=torch.float32)
            columns = (~mask).cumsum(2, dtype=torch.float32)
            rows = rows / (rows[:, -1:] + 1e-6) * (2 * math.pi)
            columns = columns / (columns[:, :, -1:] + 1e-6) * (2 * math.pi)
            code = [sine(axis, 20, dims // 2) for axis in (rows, columns)]
            positions.append(torch.cat(code, -1).flatten(1, 2) + embed)
            # Of the valid width and height; always float32.
            valid = torch.stack([(~mask[:, 0]).sum(1), (~mask[:, :, 0]).sum(1)], -1)
            height, width = mask.shape[1:]
            ratios.append(valid.float() / torch.tensor([width, height]))
        ratios = torch.stack(ratios, 1)  # (batch, levels, 2)
        points = []
        for level, (height, width) in enumerate(shapes):
            y, x = torch.meshgrid(
                torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij"
            )
            size = ratios[:, None, level] * torch.tensor([width, height])
            points.append(torch.stack([x.flatten(), y.flatten()], -1) / size)
        references = torch.cat(points, 1)[:, :, None] * ratios[:, None]
        num_low = sum(height * width for height, width in shapes[: -self.num_high])
        for layer in self.encoder.layers:
            tokens = layer(
                tokens, torch.cat(positions, 1), references, shapes, padding, num_low
            )
        return tokens, shapes, padding, ratios

    def propose(self, memory, shapes, masks):
        """Logits of the best proposals, their boxes before the sigmoid."""
        boxes = []
        for level, ((height, width), mask) in enumerate(
            zip(shapes, masks, strict=True)
        ):
            y, x = torch.meshgrid(
                torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij"
            )
            valid = torch.stack([(~mask[:, 0]).sum(1), (~mask[:, :, 0]).sum(1)], -1)
            centre = torch.stack([x.flatten(), y.flatten()], -1) / valid[:, None]
            size = torch.full_like(centre, 0.05 * 2**level)
            boxes.append(torch.cat([centre, size], -1))
        boxes = torch.cat(boxes, 1)
        bad = torch.cat([mask.flatten(1) for mask in masks], 1)
        bad = bad | ~((boxes > 0.01) & (boxes < 0.99)).all(-1)
        boxes = (boxes / (1 - boxes)).log().masked_fill(bad[..., None], math.inf)
        memory = self.enc_output_norm(
            self.enc_output(memory.masked_fill(bad[..., None], 0.0))
        )
        logits = self.enc_out_class_embed(memory)
        best = logits.max(-1).values.topk(len(self.tgt_embed.weight), dim=1).indices
        moved = self.enc_out_bbox_embed(memory) + boxes
        return moved.gather(1, best[..., None].expand(-1, -1, 4))

    def decode(self, proposals, memory, shapes, padding, ratios, box_head):
        """States after every layer and the references before it."""
        target = self.tgt_embed.weight.expand(len(memory), -1, -1)
        dims = target.shape[-1]
        reference = proposals.sigmoid()
        states, references = [], [reference]
        for layer, head in zip(self.decoder.layers, box_head, strict=True):
            scaled = reference[:, :, None] * torch.cat([ratios, ratios], -1)[:, None]
            x, y, w, h = (scaled[:, :, 0] * (2 * math.pi)).unbind(-1)
            code = [sine(value, 10000, dims // 2) for value in (y, x, w, h)]
            position = self.decoder.ref_point_head(torch.cat(code, -1))
            target = layer(target, position, scaled, memory, shapes, padding)
            reference = (head(target) + inverse_sigmoid(reference)).sigmoid()
            states.append(self.decoder.norm(target))
            references.append(reference)
        return states, references


class OfficialLiteDINO(nn.Module):
    """The official model's names and results, for any depth and for R18 or R50.

    Args:
        kinds: the encoder's layers, H or F each.
        num_high: x of HxLy.
        layers: decoder layers.
        queries: matching queries.
        classes: rows of the class layers.
        hidden: width of the feed-forward networks.
        depth: of the ResNet.
        aware: whether the encoder's and the decoder's attention is key-aware.
    """

    def __init__(
        self,
        kinds="HFHFHF",
        num_high=3,
        layers=2,
        queries=20,
        classes=91,
        hidden=64,
        depth=18,
        aware=(True, True),
    ):
        super().__init__()
        dims = 256
        body = nn.Module()
        body.body = Body(depth)
        self.backbone = nn.ModuleList([body])
        channels = body.body.channels
        convs = [nn.Conv2d(inputs, dims, 1) for inputs in channels[1:]]
        convs.append(nn.Conv2d(channels[-1], dims, 3, stride=2, padding=1))
        self.input_proj = nn.ModuleList(
            nn.Sequential(conv, nn.GroupNorm(32, dims)) for conv in convs
        )
        self.transformer = Transformer(
            kinds, num_high, layers, queries, classes, dims, hidden, aware
        )
        self.label_enc = nn.Embedding(classes + 1, dims)
        # One head for all layers, registered a second time in the decoder.
        self.bbox_embed = nn.ModuleList([Perceptron(dims, dims, dims, 4)] * layers)
        self.class_embed = nn.ModuleList([nn.Linear(dims, classes)] * layers)
        self.transformer.decoder.bbox_embed = self.bbox_embed
        self.transformer.decoder.class_embed = self.class_embed

    def forward(self, images):
        """Detect in images of any sizes, padded to the largest.

        Args:
            images: (3, height, width) each, normalised.

        Returns:
            tuple: for every decoder layer logits (batch, queries, classes) and boxes
            (batch, queries, 4), (cx, cy, w, h) relative to the image.
        """
        canvas = [max(image.shape[axis] for image in images) for axis in (1, 2)]
        batch = images[0].new_zeros(len(images), 3, *canvas)
        mask = torch.ones(len(images), *canvas, dtype=torch.bool)
        for index, image in enumerate(images):
            batch[index, :, : image.shape[1], : image.shape[2]] = image
            mask[index, : image.shape[1], : image.shape[2]] = False
        maps = self.backbone[0].body(batch)
        maps = [
            proj(level)
            for proj, level in zip(self.input_proj, [*maps, maps[-1]], strict=True)
        ]
        masks = [
            F.interpolate(mask[None].float(), size=level.shape[2:])[0].bool()
            for level in maps
        ]
        memory, shapes, padding, ratios = self.transformer.encode(maps, masks)
        proposals = self.transformer.propose(memory, shapes, masks)
        states, references = self.transformer.decode(
            proposals, memory, shapes, padding, ratios, self.bbox_embed
        )
        logits = [
            head(state) for head, state in zip(self.class_embed, states, strict=True)
        ]
        boxes = [
            (head(state) + inverse_sigmoid(reference)).sigmoid()
            for head, state, reference in zip(
                self.bbox_embed, states, references[:-1], strict=True
            )
        ]
        return torch.stack(logits), torch.stack(boxes)


def with_random_weights(model, seed=0):
    """Weights under which every part of the model matters; float64."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        noise = torch.randn(tensor.shape, generator=generator)
        if name.endswith("running_var"):
            tensor.copy_(noise.abs() + 0.5)
        elif name.endswith("sampling_offsets.bias"):
            tensor.copy_(noise * 2)
        elif tensor.dim() == 1:
            tensor.copy_(noise * 0.1 + name.endswith("weight"))
        else:
            fan_in = tensor[0].numel()
            tensor.copy_(noise / fan_in**0.5)
    # Some boxes narrower than a thousandth of the image, where the margin is felt.
    model.transformer.enc_out_bbox_embed.layers[2].weight.data[2] *= 8
    return model.double().eval()
