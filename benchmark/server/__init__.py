"""An OpenEnv environment server: many sessions, each one WebSocket with an environment of its own."""
