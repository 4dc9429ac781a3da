"""The OCPP-J session with the Central System: connection, RPC, messages, boot, heartbeat, configuration keys.

Owns: OCPP's JSON (nobody else knows it), the WebSocket, and `configuration.db`. Does not: decide about transactions.
"""
