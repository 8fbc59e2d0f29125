"""An OpenEnv environment server: one WebSocket session, one environment."""
