"""What the kit is measured beside: other servers, clients and an Envoy, each as its users write it, and
the neutral load and server that are too cheap to be what is measured."""
