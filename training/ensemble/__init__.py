"""Many runs of a table as one network: weights stacked, one optimizer step for all.

stack         networks of one shape, each layer one batched product
optimisation  one optimizer, a rate for each member
epochs        the loop
together      the runs of a table, in ensembles
"""
