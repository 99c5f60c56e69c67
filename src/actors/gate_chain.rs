//! gate_chain.
