"""Training of deep sparse networks from a gpsym design; runs from a checkout, on Lightning Fabric.

config        everything that determines a run
data          data sets as tensors with a validation split; augment: shifts and mirror images
models        networks by name; start: data and network as a run begins
optimisation  optimizers and the rate of each step
measure       accuracy, sparsity, variance and gradients of a network on data
devices       processes on Lightning Fabric: one, copies or shards
checkpoint    files that outlive a crash; records: the files of a run; schema and tensors: what may be in them
epochs        the loop; history: what it came to; trainer: one run, from its configuration or its checkpoint
presets       tables of runs by name; table: all runs of one, and what they come to
ensemble      many runs as one network
cluster       a table's runs on many workers, by Ray; lock: one writer for each folder
interruption  an end by a signal
predict       what a finished run makes of new inputs
"""
