"""A mask classification network on the encoders: pixel decoder, transformer decoder, N queries (Cheng et al. 2021).

It follows MaskFormer but for what the encoders and this project ask for: the pixel decoder has the encoder's two maps,
attention reads the deep map at the output stride (and not at 32); layers normalise their input and not their output,
and masks' logits are divided by sqrt(D), which lets it train without gradient clipping; dropout is none by default,
and each picture's own where there is some.
"""

from collections.abc import Callable
from math import ceil, pi
from typing import NamedTuple

import torch
from torch import Tensor, nn

from scl_core.models.deeplabv3plus import SegmenterOutput, one_value_told
from scl_core.models.layers import resize
from scl_core.models.passes import network_pass

SMALLEST_MASK = 1e-12
Dropout = Callable[[Tensor], Tensor]


class QueryOutput(NamedTuple):
    """What the queries answer, after each of the L layers; the last is the network's answer."""

    features: Tensor  # [B, D, h, w], the pixel decoder's map, at the size of the encoder's low map
    class_logits: Tensor  # [B, L, N, C + 1], "no object" last
    mask_embeddings: Tensor  # [B, L, N, D]; their products with the features, over sqrt(D), are the masks' logits

    def masks(self, layer: int = -1) -> Tensor:
        """Logits of the masks of one layer, [B, N, h, w]."""
        embeddings = self.mask_embeddings[:, layer] / self.features.shape[1] ** 0.5
        return torch.einsum("bnd,bdhw->bnhw", embeddings, self.features)

    def semantic(self) -> Tensor:
        """The semantic masks of the last layer, [B, C, h, w]."""
        return semantic_masks(self.class_logits[:, -1].softmax(2), self.masks().sigmoid())


class PictureDropout:
    """Dropout at the places of a pass, one after the other, drawn for each picture by a generator of its own.

    So it does not depend on the process, nor on the pictures around; the same `keys` int64 [B] draw the same again.
    """

    def __init__(self, probability: float, keys: Tensor):
        self.probability = probability
        self.generators = [torch.Generator(keys.device).manual_seed(key) for key in keys.tolist()]

    def __call__(self, x: Tensor) -> Tensor:
        """x [B, ...] with some values 0 and the others over 1 - probability."""
        drawn = [torch.rand(x.shape[1:], generator=generator, device=x.device) for generator in self.generators]
        return x * ((torch.stack(drawn) >= self.probability) / (1 - self.probability)).to(x.dtype)


def undropped(x: Tensor) -> Tensor:
    """In the place of dropout where there is none."""
    return x


def semantic_masks(class_probs: Tensor, masks: Tensor) -> Tensor:
    """S_c = sum_q prob_q[c] mask_q over the C classes that are objects: [B, N, C + 1], [B, N, h, w] -> [B, C, h, w]."""
    return torch.einsum("bnc,bnhw->bchw", class_probs[..., :-1], masks)


class QuerySegmenter(nn.Module):
    """Encoder, pixel decoder and transformer decoder; a segmenter like the others, and the queries beneath it."""

    def __init__(self, encoder: nn.Module, num_classes: int, width: int, num_queries: int, num_layers: int, heads: int):
        super().__init__()
        self.encoder = encoder
        self.pixel_decoder = PixelDecoder(encoder.low_channels, encoder.deep_channels, width)
        self.tokens = nn.Conv2d(encoder.deep_channels, width, 1)
        self.query_positions = nn.Parameter(torch.randn(num_queries, width))
        self.layers = nn.ModuleList(DecoderLayer(width, heads) for _ in range(num_layers))
        self.norm = nn.LayerNorm(width)
        self.class_head = nn.Linear(width, num_classes + 1)
        self.mask_head = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)
        )

    @network_pass
    def forward(self, images: Tensor) -> SegmenterOutput:
        """images [B, 3, H, W] -> logits [B, C, H, W], whose softmax are the normalised semantic masks, and features."""
        output = self.queries(images)
        return SegmenterOutput(self.logits(output, images.shape[-2:]), output.features)

    @network_pass
    def queries(self, images: Tensor, keys: Tensor | None = None, dropout: float = 0.0) -> QueryOutput:
        """images [B, 3, H, W] -> what the queries answer after each layer.

        With `keys` int64 [B], one for each picture's draws, `dropout` is that of the transformer decoder's layers.
        """
        with one_value_told(images.shape[-2:]):
            low, deep = self.encoder(images)
        features = self.pixel_decoder(low, deep)
        positions = sine_positions(deep.shape[-2:], self.tokens.out_channels, deep)
        memory = self.tokens(deep).flatten(2).mT
        found = torch.zeros_like(self.query_positions).expand(len(images), -1, -1)
        drop = undropped if keys is None else PictureDropout(dropout, keys)
        answers = []
        for layer in self.layers:
            found = layer(found, self.query_positions, memory, positions, drop)
            answers.append(self.norm(found))
        answers = torch.stack(answers, 1)
        return QueryOutput(features, self.class_head(answers), self.mask_head(answers))

    def logits(self, output: QueryOutput, size: tuple[int, int]) -> Tensor:
        """The logarithms of the semantic masks, resized to `size` (H, W): [B, C, H, W]."""
        return resize(output.semantic(), size).clamp(min=SMALLEST_MASK).log()


class PixelDecoder(nn.Module):
    """Joins the encoder's deep map, enlarged, and its low map: [B, width, h, w] at the low map's size."""

    def __init__(self, low_channels: int, deep_channels: int, width: int):
        super().__init__()
        self.deep = nn.Sequential(nn.Conv2d(deep_channels, width, 3, padding=1, bias=False), *norm_relu(width))
        self.low = nn.Sequential(nn.Conv2d(low_channels, width, 1, bias=False), group_norm(width))
        self.join = nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), *norm_relu(width))
        self.out = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, low: Tensor, deep: Tensor) -> Tensor:
        return self.out(self.join(resize(self.deep(deep), low.shape[-2:]) + self.low(low)))


class DecoderLayer(nn.Module):
    """Queries look at each other, then at the picture, then each goes through two linear layers.

    Dropout is where MaskFormer has it: on what attention weighs by, on what each part adds, and between the two layers.
    """

    gathered_alone = True  # see `scl_core.sharding.shard`

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.among = Attention(width, heads)
        self.picture = Attention(width, heads)
        self.feedforward = nn.Sequential(nn.Linear(width, 8 * width), nn.ReLU(), nn.Linear(8 * width, width))

    def forward(
        self, queries: Tensor, own: Tensor, memory: Tensor, positions: Tensor, drop: Dropout = undropped
    ) -> Tensor:
        """queries [B, N, D] with positions `own` [N, D], the picture [B, T, D] with `positions` [T, D]: [B, N, D]."""
        x = self.norms[0](queries)
        queries = queries + drop(self.among(x + own, x + own, x, drop))
        x = self.norms[1](queries)
        queries = queries + drop(self.picture(x + own, memory + positions, memory, drop))
        widen, activate, narrow = self.feedforward
        return queries + drop(narrow(drop(activate(widen(self.norms[2](queries))))))


class Attention(nn.Module):
    """Multi-head attention as plain products, which are deterministic on every device."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        for part in (self.query, self.key, self.value, self.out):
            nn.init.xavier_uniform_(part.weight)
            nn.init.zeros_(part.bias)

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor, drop: Dropout = undropped) -> Tensor:
        """queries [B, N, D], keys and values [B, T, D] -> [B, N, D]."""
        q, k, v = (
            part(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part, x in ((self.query, queries), (self.key, keys), (self.value, values))
        )
        weights = drop((q @ k.mT / q.shape[-1] ** 0.5).softmax(-1))
        return self.out((weights @ v).transpose(1, 2).flatten(2))


def sine_positions(size: tuple[int, int], width: int, like: Tensor) -> Tensor:
    """Where each of the h x w cells lies, as sines and cosines of its row and column: [h w, width]."""
    count = ceil(width / 4)
    rates = 10000.0 ** -(torch.arange(count, dtype=torch.float64) / count)
    rows, columns = (2 * pi * (torch.arange(n, dtype=torch.float64) + 1).unsqueeze(1) / n * rates for n in size)
    height, breadth = size
    rows = torch.cat([rows.sin(), rows.cos()], 1).unsqueeze(1).expand(-1, breadth, -1)
    columns = torch.cat([columns.sin(), columns.cos()], 1).unsqueeze(0).expand(height, -1, -1)
    return torch.cat([rows, columns], 2).flatten(0, 1)[:, :width].to(like)


def norm_relu(width: int) -> tuple[nn.Module, nn.Module]:
    """Group norm and ReLU, to stand behind a convolution."""
    return group_norm(width), nn.ReLU(inplace=True)


def group_norm(width: int) -> nn.GroupNorm:
    """At most 32 groups of 8 channels or more each."""
    groups = next(n for n in range(min(32, max(width // 8, 1)), 0, -1) if width % n == 0)
    return nn.GroupNorm(groups, width)
