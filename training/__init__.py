"""Training of deep sparse networks from a gpsym design; runs from a checkout, on Lightning Fabric.

data     data sets as normalised tensors with a validation split
models   networks, with the activation and the initializer of a design
measure  accuracy, sparsity and variance of a network on data
trainer  one run: config.json, metrics.jsonl, summary.json
"""
