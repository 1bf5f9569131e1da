"""The networks: causal Wan transformer and KV cache, text encoder, VAEs; and the bundle of them."""
