"""A model by its name: what it is made from, downloading, converting, loading and saving."""
