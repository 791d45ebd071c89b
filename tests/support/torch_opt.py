"""transformers' PyTorch OPT with our weights: the reference of the model and training tests."""

from __future__ import annotations

import numpy as np


def torch_opt(config, params, dropout=0.0):
    """An ``OPTForCausalLM`` (eager attention, float32) that holds ``params``."""
    import torch
    from transformers import OPTConfig, OPTForCausalLM

    model = OPTForCausalLM(
        OPTConfig(
            vocab_size=config.vocab_rows,
            hidden_size=config.hidden,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            ffn_dim=config.ffn,
            word_embed_proj_dim=config.embed_dim,
            max_position_embeddings=config.max_positions,
            do_layer_norm_before=config.pre_norm,
            dropout=dropout,
            attention_dropout=0.0,
            attn_implementation="eager",
        )
    )
    tensors = {name: torch.from_numpy(np.array(value)) for name, value in torch_names(config, params).items()}
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    assert not unexpected
    assert set(missing) <= {"lm_head.weight"}
    model.tie_weights()
    return model


def torch_names(config, params):
    """Our tree as a flat dict of numpy arrays under transformers' names."""
    flat = {
        "model.decoder.embed_tokens.weight": params["token_embedding"]["embedding"],
        "model.decoder.embed_positions.weight": params["position_embedding"]["embedding"],
    }
    if config.pre_norm:
        flat["model.decoder.final_layer_norm.weight"] = params["final_norm"]["scale"]
        flat["model.decoder.final_layer_norm.bias"] = params["final_norm"]["bias"]
    if config.embed_dim != config.hidden:
        flat["model.decoder.project_in.weight"] = params["project_in"]["kernel"].T
        flat["model.decoder.project_out.weight"] = params["project_out"]["kernel"].T
    layers, hidden = params["layers"], config.hidden
    for index in range(config.layers):
        prefix = f"model.decoder.layers.{index}."
        for ours, theirs in (("attention_norm", "self_attn_layer_norm"), ("mlp_norm", "final_layer_norm")):
            flat[f"{prefix}{theirs}.weight"] = layers[ours]["scale"][index]
            flat[f"{prefix}{theirs}.bias"] = layers[ours]["bias"][index]
        for ours, theirs in (("query", "q"), ("key", "k"), ("value", "v"), ("output", "out")):
            part = layers["attention"][ours]
            flat[f"{prefix}self_attn.{theirs}_proj.weight"] = part["kernel"][index].reshape(hidden, hidden).T
            flat[f"{prefix}self_attn.{theirs}_proj.bias"] = part["bias"][index].reshape(hidden)
        for ours, theirs in (("up", "fc1"), ("down", "fc2")):
            flat[f"{prefix}{theirs}.weight"] = layers["mlp"][ours]["kernel"][index].T
            flat[f"{prefix}{theirs}.bias"] = layers["mlp"][ours]["bias"][index]
    return {name: np.asarray(value) for name, value in flat.items()}
