"""The socket and everything that touches it: addresses, dialling, frames, the queue out, and the network thread."""
