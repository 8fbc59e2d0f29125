"""An OpenEnv environment server with one environment for each WebSocket session."""
