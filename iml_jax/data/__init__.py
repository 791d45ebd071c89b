"""What a training step reads: manifest, tokenizer, records, mixing, packing and the loader."""
