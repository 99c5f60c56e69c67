//! `bizra envelope verify` and `bizra envelope inspect`: work with no node running.
