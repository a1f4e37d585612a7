"""A language model of a few words, for Grounding DINO without BERT's files."""

import re
from collections import OrderedDict
from zlib import crc32

import torch
from mmdet.models.language_models.bert import (
    generate_masks_with_special_tokens_and_transfer_map,
)
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import nn

PADDING, BEGIN, END, STOP = range(4)
VOCABULARY = 100


class Tokenized(dict):
    """Token numbers and mask of a batch, and where the first text's tokens lie."""

    def __init__(self, texts):
        words = [list(re.finditer(r"\w+|\.", text)) for text in texts]
        ids = [
            torch.tensor([BEGIN, *(token_id(match[0]) for match in matches), END])
            for matches in words
        ]
        ids = nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=PADDING)
        super().__init__(input_ids=ids, attention_mask=ids != PADDING)
        self.input_ids = ids
        self.spans = [match.span() for match in words[0]]

    def char_to_token(self, place):
        for index, (start, end) in enumerate(self.spans):
            if start <= place < end:
                return index + 1  # The first token is BEGIN.
        return None


def token_id(word):
    return STOP if word == "." else STOP + 1 + crc32(word.encode()) % (VOCABULARY - 4)


class WordEmbedding(nn.Module):
    """Embeds words and their place in the phrase."""

    def __init__(self, language_dim):
        super().__init__()
        self.language_dim = language_dim
        self.words = nn.Embedding(VOCABULARY, language_dim)
        self.places = nn.Embedding(8, language_dim)

    def forward(self, input_ids, position_ids):
        return self.words(input_ids) + self.places(position_ids)


@MODELS.register_module()
class TinyLanguageModel(BaseModule):
    """Has what Grounding DINO uses of mmdet's ``BertModel`` and returns the same."""

    def __init__(self, language_dim=16):
        super().__init__()
        self.pad_to_max = False
        self.max_tokens = 256
        body = WordEmbedding(language_dim)
        self.language_backbone = nn.Sequential(OrderedDict(body=body))

    @staticmethod
    def tokenizer(texts, **kwargs):
        return Tokenized(texts)

    def forward(self, captions):
        tokenized = self.tokenizer(captions)
        masks, position_ids = generate_masks_with_special_tokens_and_transfer_map(
            tokenized, [BEGIN, END, STOP]
        )
        hidden = self.language_backbone.body(tokenized.input_ids, position_ids)
        return {
            "embedded": hidden,
            "masks": masks,
            "hidden": hidden,
            "position_ids": position_ids,
            "text_token_mask": tokenized["attention_mask"],
        }
