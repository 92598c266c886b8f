"""What Samtala programs say to each other: identities, TLS channel, frames, messages, links, descriptors."""
