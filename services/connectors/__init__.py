"""The connectors service: state machine, transactions, authorization, charging controllers."""
