"""The peers of the kit: other servers, clients and an Envoy, each as its users write it, and a neutral load
and server that are too cheap to be the bottleneck."""
