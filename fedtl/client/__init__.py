"""Everything that answers a message at a site; an auditor starts here. The layers, in the order in
which a message passes them:

- ``own_data``: whether this is a real site, and the order of the layers.
- ``ledger``: what came in, entered in the site's own ledger.
- ``policy``, with the list in ``run_keys``: which keys of a run the site follows, and which it
  refuses; ``limits``: how long and how much. No other file reads the configuration of a run.
- ``own_site``, ``site_store``, ``private_files``: the site's data made ready, and kept for its user
  only.
- ``layer``: where a simulation has clients drop out or attack; at a site, nothing.
- ``answers``, with ``asked``, ``client_memory`` and, for the scores at the end, ``closing_scores``,
  ``alone``, ``own_mix`` and ``left_out_scores``: the answer. How to learn is the strategy's file.
- ``release``: the one door: only here is a reply with content made.
- ``ledger`` again: what is to leave, entered before it does.
"""
