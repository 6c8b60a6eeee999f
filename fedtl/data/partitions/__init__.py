"""How data becomes clients: one file for each way.

The rules and their draws are those of flwr-datasets 0.6 (its ``IidPartitioner`` and so on, without
their shuffles: who holds what is all that is asked), and tests hold them equal. The package itself
would bring eight others (207 MB, of which pyarrow 176), their ceilings on versions, and 2 s of
imports in a process of 150 MB; its rules are a hundred lines here.
"""
