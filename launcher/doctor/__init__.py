"""`launcher doctor`: whether nodes can hold a deployment, and how many sessions.

`visit` from nodes to plain values · `kernel`, `network` and `software` from values to `findings` ·
`bounds` how many sessions each limit allows · `examine` all of it · `preflight` what of it an
experiment depends on.
"""
